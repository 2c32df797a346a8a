"""How sure the policy was: what a thought head reads of it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from reasoning_rl.decoding import certainty, scoring


def test_the_numbers_are_the_mean_and_the_least_of_each_thought_by_hand():
  logprobs = np.array(
    [[-1, -3, -2, -8, -4, 0], [-9, -9, -1, -5, -2, -7]], np.float32
  )
  # The second row begins with two tokens of a prompt and has one thought.
  before, end = np.array([-1, 1]), np.array([[1, 4], [3, 0]])
  found = certainty.of_thoughts(logprobs, before, end)
  np.testing.assert_allclose(
    found, [[[-2, -3], [-14 / 3, -8]], [[-3, -5], [0, 0]]], rtol=1e-6
  )


@pytest.mark.parametrize("shared", [0, 2])
def test_a_joined_row_is_read_thought_by_thought(make_tiny, shared):
  model = make_tiny("learned", ("language", "thought", "certainty"), 3)
  rng = np.random.default_rng(5)
  rows = rng.integers(2, 12, (3, 12)).astype(np.int32)
  rows[:, :2] = rows[0, :2]
  start = np.array([3, 5, 4], np.int32)
  end = np.array([[5, 9], [6, 11], [7, 0]], np.int32)
  read = jax.jit(scoring.thought_logits, static_argnums=(0, 5))
  logits = read(model.network, model.params, rows, start, end, shared)
  scores = np.asarray(jax.nn.sigmoid(logits))
  first = [
    (row[:s], row[s : e[0] + 1])
    for row, s, e in zip(rows, start, end, strict=True)
  ]
  second = [
    (row[: e[0] + 1], row[e[0] + 1 : e[1] + 1])
    for row, e in zip(rows[:2], end[:2], strict=True)
  ]
  for actual, pairs in ((scores[:, 0], first), (scores[:2, 1], second)):
    expected = model.certain_scores(*zip(*pairs, strict=True))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
  # How sure the policy was makes a difference.
  without = np.zeros((3, 2), np.float32)
  hidden = [h[-1] for h in model.hidden([p + t for p, t in _lists(first)])]
  plain = model.network.scalar(
    model.params, np.concatenate([np.array(hidden), without], 1), "thought"
  )
  assert np.abs(jax.nn.sigmoid(plain) - scores[:, 0]).max() > 0.01


def _lists(pairs):
  return [(list(p), list(t)) for p, t in pairs]
