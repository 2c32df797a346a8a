"""Rollouts of prompts and of every prefix of a solution."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import masking
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import rollouts, sampling, scoring

END, THOUGHT_END = 1, 3
CONFIG = rollouts.RolloutConfig(
  num_rollouts=3,
  max_tokens=7,
  max_thought_tokens=5,
  boundary=boundaries.single(THOUGHT_END),
  end_ids=(END,),
  sampling=sampling.SamplingConfig(temperature=1.3, top_k=9, top_p=0.95),
)
IDS = jnp.array([4, 0, 7, 2])
TOLERANCE = dict(rtol=1e-4, atol=1e-4)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _call(function, network, config, params, *arrays):
  return function(network, params, jax.random.key(0), *arrays, config)


def from_prompts(tiny, prompts, ids=IDS, config=CONFIG):
  out = _call(
    rollouts.from_prompts, tiny.network, config, tiny.params, *prompts, ids
  )
  return jax.tree.map(np.asarray, out)


def from_thoughts(tiny, solutions, config=CONFIG):
  out = _call(
    rollouts.from_thoughts, tiny.network, config, tiny.params, *solutions
  )
  return jax.tree.map(np.asarray, out)


@pytest.fixture(scope="module")
def solutions():
  """Returns two solutions, their thoughts' ends, what is wanted, and names."""
  tokens = np.random.default_rng(5).integers(0, 12, (2, 12)).astype(np.int32)
  thought_end = np.array([[3, 6, 10], [2, 4, 0]], np.int32)
  thought_mask = np.array([[True, False, True], [True, True, False]])
  return tokens, thought_end, thought_mask, jnp.array([9, 4])


def said(out):
  return [t[:n] for t, n in zip(out.tokens, out.length, strict=True)]


@pytest.fixture(params=["learned", "sliding"])
def any_tiny(request, make_tiny):
  return make_tiny(request.param, ("language", "thought", "outcome"), 0)


def test_rollouts_of_prompts_are_the_full_forward_pass(any_tiny, prompts):
  tiny, out = any_tiny, from_prompts(any_tiny, prompts)
  tokens, lengths = prompts
  prefixes = [tokens[r // 3, : lengths[r // 3]] for r in range(12)]
  for row, expected in enumerate(tiny.logprobs(prefixes, said(out))):
    np.testing.assert_allclose(
      out.policy_logprobs[row, : out.length[row]], expected, **TOLERANCE
    )
  assert len({tuple(t) for t in out.tokens}) > 8


def test_a_rollout_ends_at_the_end_token_alone(tiny, prompts):
  out = from_prompts(tiny, prompts)
  last = np.array([t[-1] for t in said(out)])
  np.testing.assert_array_equal(out.stopped_mask, last == END)
  assert not any((t[:-1] == END).any() for t in said(out))
  # Thoughts' ends do not stop a row.
  assert any((t[:-1] == THOUGHT_END).any() for t in said(out))


def test_scoring_replays_the_log_probabilities_of_the_sampler(
  any_tiny, prompts
):
  tiny, out = any_tiny, from_prompts(any_tiny, prompts)
  score = jax.jit(scoring.completion_logprobs, static_argnums=(0, 5))
  logprobs, entropy = score(
    tiny.network,
    tiny.params,
    *prompts,
    out.tokens.reshape(4, 3, -1),
    CONFIG.sampling,
  )
  real = np.asarray(masking.length_mask(out.length, CONFIG.max_tokens))
  np.testing.assert_allclose(
    np.asarray(logprobs).reshape(real.shape)[real],
    out.behavior_logprobs[real],
    **TOLERANCE,
  )
  assert np.isfinite(logprobs).all() and np.isfinite(entropy).all()
  assert np.abs(out.behavior_logprobs - out.policy_logprobs).max() > 0.1


def test_a_rollout_does_not_depend_on_how_many_there_are(tiny, prompts):
  three = from_prompts(tiny, prompts)
  five = from_prompts(
    tiny, prompts, config=dataclasses.replace(CONFIG, num_rollouts=5)
  )
  np.testing.assert_array_equal(
    five.tokens.reshape(4, 5, -1)[:, :3], three.tokens.reshape(4, 3, -1)
  )


def test_a_problem_takes_its_rollouts_along_when_problems_change_places(
  tiny, prompts
):
  order = np.array([2, 0, 3, 1])
  moved = from_prompts(tiny, [x[order] for x in prompts], IDS[order])
  out = from_prompts(tiny, prompts)
  np.testing.assert_array_equal(
    moved.tokens.reshape(4, 3, -1), out.tokens.reshape(4, 3, -1)[order]
  )


def test_rollouts_of_prefixes_are_the_full_forward_pass(any_tiny, solutions):
  tiny, out = any_tiny, from_thoughts(any_tiny, solutions)
  tokens, thought_end, thought_mask, _ = solutions
  ends = np.repeat(thought_end.reshape(-1), 3)
  prefixes = [tokens[row // 9, : end + 1] for row, end in enumerate(ends)]
  expected = tiny.logprobs(prefixes, said(out))
  wanted = np.repeat(thought_mask.reshape(-1), 3)
  for row, length in enumerate(out.length):
    assert (length > 0) == wanted[row]
    np.testing.assert_allclose(
      out.policy_logprobs[row, :length], expected[row], **TOLERANCE
    )
  assert not out.tokens[~wanted].any() and not out.stopped_mask[~wanted].any()


def test_rollouts_of_a_prefix_do_not_see_what_follows_it(tiny, solutions):
  tokens, thought_end, *rest = solutions
  later = np.arange(12) > thought_end[:, :1]
  changed = np.where(later, 11 - tokens, tokens)
  one = from_thoughts(tiny, solutions)
  other = from_thoughts(tiny, (changed, thought_end, *rest))
  for a, b in zip(
    (one.tokens, one.policy_logprobs),
    (other.tokens, other.policy_logprobs),
    strict=True,
  ):
    a, b = a.reshape(2, 3, -1), b.reshape(2, 3, -1)
    np.testing.assert_array_equal(a[:, 0], b[:, 0])
    assert (a[:, 1:] != b[:, 1:]).any()
