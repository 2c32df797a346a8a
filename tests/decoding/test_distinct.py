"""Drawing without replacement, against all sequences counted out."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import decode, distinct, sampling, stops
from reasoning_rl.decoding import prompts as prompts_lib

SIZE, END, ROWS = 3, 1, 12
TWO = sampling.SamplingConfig(temperature=1.5, top_k=2)


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _draw(network, params, prompts, ids, joint, size, config):
  tokens, lengths = prompts
  keys_values, hidden = prompts_lib.read_whole(network, params, tokens, lengths)
  return decode.decode(
    network,
    params,
    decode.row_rngs(jax.random.key(0), ids, ROWS),
    decode.Context(
      (decode.prompt_segment(keys_values, lengths),),
      jnp.repeat(hidden, ROWS, axis=0),
      jnp.repeat(lengths, ROWS),
    ),
    jnp.ones(len(ids) * ROWS, bool),
    config,
    max_tokens=SIZE,
    stops=stops.Stops((END,)),
    groups=distinct.Groups(joint, size),
  )


def draw(tiny, prompts, size=ROWS, joint=False, ids=None, config=TWO):
  """Returns the rows as [problems, ROWS, ...] and their groups."""
  count = len(prompts[1])
  ids = jnp.arange(count) if ids is None else ids
  joint = jnp.broadcast_to(jnp.asarray(joint), count)
  out = _draw(tiny.network, tiny.params, prompts, ids, joint, size, config)
  cut = lambda x: np.asarray(x).reshape(count, ROWS, *x.shape[1:])
  return jax.tree.map(cut, out)


def said(out, problem):
  """Returns what each row of a problem says, () for nothing."""
  pairs = zip(out.tokens[problem], out.length[problem], strict=True)
  return [tuple(tokens[:length].tolist()) for tokens, length in pairs]


def every_sequence(tiny, prompt, config=TWO):
  """Returns all sequences that can be sampled, with their probabilities."""
  found, open_ones = {}, {(): 1.0}
  for _ in range(SIZE):
    rows = [[*prompt, *tokens] for tokens in open_ones]
    logits = np.stack([x[-1] for x in tiny.logits(rows)])
    chances = jax.nn.softmax(sampling.behavior_logits(logits, config))
    longer = {}
    for (tokens, chance), row in zip(open_ones.items(), chances, strict=True):
      for token in np.flatnonzero(np.asarray(row) > 1e-9).tolist():
        where = found if token == END else longer
        where[*tokens, token] = chance * float(row[token])
    open_ones = longer
  return found | open_ones


def test_as_many_rows_as_sequences_hold_them_all(tiny, prompts):
  out = draw(tiny, prompts)
  for problem in range(4):
    prompt = prompts[0][problem, : prompts[1][problem]]
    expected = every_sequence(tiny, prompt)
    rows = [row for row in said(out, problem) if row]
    assert sorted(rows) == sorted(expected) and len(rows) <= 8
    total = out.behavior_logprobs[problem].sum(axis=-1)
    for row, logprob in zip(said(out, problem), total, strict=True):
      chance = expected[row] if row else 1.0
      np.testing.assert_allclose(np.exp(logprob), chance, rtol=1e-4)
  # A row without a sequence says nothing at all.
  empty = out.length == 0
  assert empty.any() and not out.stopped_mask[empty].any()
  assert not out.tokens[empty].any() and not out.policy_logprobs[empty].any()


def test_nothing_is_drawn_from_outside_the_nucleus(tiny, prompts):
  nucleus = sampling.SamplingConfig(top_p=0.3)
  out = draw(tiny, prompts, config=nucleus)
  for problem in range(4):
    prompt = prompts[0][problem, : prompts[1][problem]]
    expected = every_sequence(tiny, prompt, nucleus)
    rows = {row for row in said(out, problem) if row}
    assert rows <= expected.keys()
    assert len(rows) == min(ROWS, len(expected))


def test_two_rows_are_drawn_without_replacement(tiny, prompts):
  count = 1024
  prompt = prompts[0][:1], prompts[1][:1]
  many = tuple(np.repeat(x, count, axis=0) for x in prompt)
  out = draw(tiny, many, size=2)
  pairs = [
    rows[at : at + 2]
    for rows in (said(out, problem) for problem in range(count))
    for at in range(0, ROWS, 2)
  ]
  expected = every_sequence(tiny, prompt[0][0, : prompt[1][0]])
  seen = dict.fromkeys(itertools.permutations(expected, 2), 0)
  for pair in pairs:
    seen[tuple(pair)] += 1
  # The first is an ordinary sample, the second a sample of the rest.
  for (first, second), times in seen.items():
    rest = 1 - expected[first]
    chance = expected[first] * expected[second] / rest
    error = np.sqrt(chance * (1 - chance) / len(pairs))
    assert abs(times / len(pairs) - chance) < 4.5 * error
  assert len(expected) > 3


@pytest.fixture(scope="module")
def grouped(tiny, prompts):
  """Problems whose rows are one group, and ones with three groups of four."""
  joint = np.array([True, False, True, False])
  return joint, draw(tiny, prompts, 4, joint, config=sampling.SamplingConfig())


def test_rows_differ_inside_their_group_alone(grouped):
  joint, out = grouped
  for problem in range(4):
    rows = said(out, problem)
    size = ROWS if joint[problem] else 4
    for at in range(0, ROWS, size):
      group = rows[at : at + size]
      assert all(group) and len(set(group)) == size


def test_rows_are_what_a_full_forward_pass_says(tiny, prompts, grouped):
  _, out = grouped
  at = [
    (problem, row)
    for problem in range(4)
    for row in range(ROWS)
    if out.length[problem, row]
  ]
  prefixes = [list(prompts[0][p, : prompts[1][p]]) for p, _ in at]
  thoughts = [list(said(out, p)[row]) for p, row in at]
  logprobs = tiny.logprobs(prefixes, thoughts)
  whole = [p + t for p, t in zip(prefixes, thoughts, strict=True)]
  hidden = tiny.hidden(whole)
  for index, place in enumerate(at):
    length = out.length[place]
    np.testing.assert_allclose(
      out.policy_logprobs[place][:length], logprobs[index], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
      out.hidden[place], hidden[index][-1], rtol=1e-4, atol=1e-4
    )


def test_shared_tokens_are_counted_once(grouped):
  _, out = grouped
  spent, kept = out.spent.sum(axis=1), out.length.sum(axis=1)
  assert (out.spent <= SIZE).all()
  # What a group's sequences share is decoded once.
  assert (spent <= kept).all() and (spent < kept).any()


def test_neighbours_change_nothing(tiny, prompts, grouped):
  joint, out = grouped
  tokens, lengths = prompts
  other = np.array([True, False, True, True])
  changed = np.where(other[:, None], (tokens + 5) % 12, tokens), lengths
  alone = draw(
    tiny, changed, 4, joint & ~other, config=sampling.SamplingConfig()
  )
  for x, y in zip(jax.tree.leaves(alone), jax.tree.leaves(out), strict=True):
    np.testing.assert_array_equal(x[1], y[1])


def test_greedy_has_one_sequence_to_offer(tiny, prompts):
  out = draw(tiny, prompts, config=sampling.GREEDY)
  assert (np.count_nonzero(out.length, axis=1) == 1).all()
