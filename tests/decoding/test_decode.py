"""The decoding loop against full forward passes, its stops and its rows."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode, sampling, stops
from reasoning_rl.decoding import prompts as prompts_lib

GROUP, SIZE = 3, 8
END, THOUGHT_END = 1, 3
SAMPLED = sampling.SamplingConfig(temperature=0.8, top_k=7)
TOLERANCE = dict(rtol=1e-4, atol=1e-4)
IDS = jnp.array([4, 0, 7, 2])


@functools.partial(jax.jit, static_argnums=(0, 5, 6, 7))
def _decode(network, params, prompts, ids, row_mask, config, stop_ids, limit):
  tokens, lengths = prompts
  keys_values, hidden = prompts_lib.read_whole(network, params, tokens, lengths)
  context = decode.Context(
    (decode.prompt_segment(keys_values, lengths),),
    jnp.repeat(hidden, GROUP, axis=0),
    jnp.repeat(lengths, GROUP),
  )
  return decode.decode(
    network,
    params,
    decode.row_rngs(jax.random.key(0), ids, GROUP),
    context,
    row_mask,
    config,
    max_tokens=SIZE,
    stops=stops.Stops(
      stop_ids, boundaries.single(THOUGHT_END), max_thought_tokens=limit
    ),
  )


def run(
  tiny, prompts, config=SAMPLED, ids=IDS, row_mask=None, stop=(END,), limit=4
):
  if row_mask is None:
    row_mask = np.ones(len(prompts[1]) * GROUP, bool)
  out = _decode(
    tiny.network, tiny.params, prompts, ids, row_mask, config, stop, limit
  )
  return jax.tree.map(np.asarray, out)


def rows_of(prompts, out):
  """Returns each row's prompt and what it said, as lists."""
  tokens, lengths = prompts
  prefixes = [tokens[r // GROUP, : lengths[r // GROUP]] for r in range(12)]
  said = [t[:n] for t, n in zip(out.tokens, out.length, strict=True)]
  return prefixes, said


@pytest.fixture(scope="module")
def sampled(tiny, prompts):
  return run(tiny, prompts)


def test_cached_decoding_is_the_full_forward_pass(either_tiny, prompts):
  tiny, sampled = either_tiny, run(either_tiny, prompts)
  prefixes, said = rows_of(prompts, sampled)
  expected = tiny.logprobs(prefixes, said)
  whole = [[*p, *s] for p, s in zip(prefixes, said, strict=True)]
  hidden = tiny.hidden(whole)
  for row, length in enumerate(sampled.length):
    np.testing.assert_allclose(
      sampled.policy_logprobs[row, :length], expected[row], **TOLERANCE
    )
    np.testing.assert_allclose(
      sampled.hidden[row], hidden[row][-1], **TOLERANCE
    )
  assert len(set(sampled.length)) > 2


def test_behavior_logprobs_are_of_the_distribution_sampled(
  tiny, prompts, sampled
):
  logits = tiny.next_logits(*rows_of(prompts, sampled))
  for row, length in enumerate(sampled.length):
    scaled = logits[row].astype(np.float64) / SAMPLED.temperature
    kept = np.sort(scaled, axis=-1)[:, -SAMPLED.top_k :]
    chosen = scaled[np.arange(length), sampled.tokens[row, :length]]
    assert (chosen >= kept[:, 0] - 1e-4).all()
    expected = chosen - np.log(np.exp(kept).sum(axis=-1))
    np.testing.assert_allclose(
      sampled.behavior_logprobs[row, :length], expected, **TOLERANCE
    )


def test_greedy_decoding_is_the_argmax_of_the_full_forward_pass(tiny, prompts):
  # By causality, one pass over the result is the pass at every step.
  out = run(tiny, prompts, sampling.GREEDY, stop=(), limit=None)
  logits = tiny.next_logits(*rows_of(prompts, out))
  np.testing.assert_array_equal(out.tokens, np.argmax(logits, axis=-1))
  np.testing.assert_array_equal(out.length, SIZE)
  assert not out.stopped_mask.any()


def test_rows_end_at_a_stop_token_and_at_either_limit(tiny, prompts, sampled):
  # A token depends on the row's key and on what came before, so the rows are
  # the beginnings of rows that nothing ends.
  endless = run(tiny, prompts, stop=(), limit=None)
  np.testing.assert_array_equal(endless.length, SIZE)
  assert not endless.stopped_mask.any()
  reasons = []
  for row, tokens in enumerate(endless.tokens):
    length, in_thought, reason = 0, 0, "tokens"
    for token in tokens:
      length, in_thought = length + 1, in_thought + 1
      if token == END:
        reason = "stop"
        break
      if token == THOUGHT_END:
        in_thought = 0
      if in_thought == 4:
        reason = "thought"
        break
    reasons.append(reason)
    assert sampled.length[row] == length
    assert sampled.stopped_mask[row] == (reason == "stop")
    for name in ("tokens", "policy_logprobs", "behavior_logprobs"):
      said, all_said = getattr(sampled, name)[row], getattr(endless, name)[row]
      np.testing.assert_array_equal(said[:length], all_said[:length])
      assert not said[length:].any()
  assert set(reasons) == {"stop", "thought", "tokens"}
  # A thought's end starts the count anew.
  assert (sampled.length > 4).any()


def test_rows_do_not_depend_on_their_neighbours(tiny, prompts, sampled):
  tokens, lengths = prompts
  others = np.arange(4) != 2
  changed = (
    np.where(others[:, None], (tokens + 1) % 12, tokens),
    np.where(others, 4, lengths),
  )
  row_mask = np.arange(12) % 3 != 1
  row_mask[6:9] = True
  out = run(
    tiny, changed, ids=jnp.where(others, IDS + 10, IDS), row_mask=row_mask
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[6:9], y[6:9]), out, sampled
  )
  assert (out.tokens != sampled.tokens).any()


def test_masked_rows_say_nothing(tiny, prompts):
  row_mask = np.arange(12) % 2 == 0
  out = run(tiny, prompts, row_mask=row_mask)
  for x in (out.length, out.stopped_mask, out.tokens, out.policy_logprobs):
    assert not x[~row_mask].any()
  assert (out.length[row_mask] > 0).all()


def test_padding_of_the_prompts_is_never_read(tiny, prompts, sampled):
  tokens, lengths = prompts
  junk = np.where(np.arange(6) < lengths[:, None], tokens, 11 - tokens)
  assert (junk != tokens).any()
  out = run(tiny, (junk, lengths))
  np.testing.assert_array_equal(out.tokens, sampled.tokens)
  np.testing.assert_array_equal(out.policy_logprobs, sampled.policy_logprobs)


def test_a_rows_key_is_a_function_of_its_problem_and_indices_alone():
  rng = jax.random.key(3)
  data = lambda ids, *counts: np.asarray(
    jax.random.key_data(decode.row_rngs(rng, jnp.asarray(ids), *counts))
  )
  keys = data([5, 8], 2, 3).reshape(2, 2, 3, -1)
  assert len(np.unique(keys.reshape(12, -1), axis=0)) == 12
  np.testing.assert_array_equal(
    data([8, 1, 5], 4, 5).reshape(3, 4, 5, -1)[[2, 0], :2, :3], keys
  )


def test_the_loop_copies_no_cache(tiny, prompts):
  """A token is written in place: copying would cost O(length) at each one."""
  mask = np.ones(len(prompts[1]) * GROUP, bool)
  arguments = tiny.params, prompts, IDS, mask, SAMPLED, (END,), 4
  text = _decode.lower(tiny.network, *arguments).compile().as_text()
  config = tiny.network.config
  rows = len(mask), config.num_kv_heads, SIZE, config.head_size
  cache = f"f32[{','.join(map(str, rows))}]"
  loop = max(text.split("\n\n"), key=lambda part: part.count(" fusion("))
  assert cache in loop
  copies = [x for x in loop.splitlines() if cache in x and " copy(" in x]
  assert not copies
