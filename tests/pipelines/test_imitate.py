"""Tests of what imitation learns from."""

import numpy as np

from reasoning_rl.pipelines import collect, imitate


def test_different_right_solutions_are_imitated_beside_the_seeds(collected):
  source = imitate.solutions(collected, [0])
  rows = [[1, 1, 2, 2, 2], [3, 3, 5, 6, 7]]
  np.testing.assert_array_equal(source.tokens[:, :5], rows)
  np.testing.assert_array_equal(source.loss_mask[1, :5], [0, 0, 1, 1, 1])
  assert not source.loss_mask[:, 5:].any()


def test_what_was_forced_is_not_imitated(collected, monkeypatch):
  found = collect.load(collected, [0])
  forced = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]], bool)
  found = found.replace(forced_mask=forced)
  monkeypatch.setattr(collect, "load", lambda stage, names: found)
  source = imitate.solutions(collected, [0])
  # Of two equal solutions the later stands for both.
  np.testing.assert_array_equal(source.loss_mask[1, :5], [0, 0, 1, 1, 1])
  found = found.replace(forced_mask=forced[[1, 0, 2, 3]])
  source = imitate.solutions(collected, [0])
  np.testing.assert_array_equal(source.tokens[1, :5], [3, 3, 5, 6, 7])
  np.testing.assert_array_equal(
    source.loss_mask[:, :5],
    [
      [0, 0, 1, 1, 1],
      [0, 0, 1, 0, 1],
    ],
  )
