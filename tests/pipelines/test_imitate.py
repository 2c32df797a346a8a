"""Tests of what imitation learns from."""

import numpy as np

from reasoning_rl.pipelines import imitate


def test_different_right_solutions_are_imitated_beside_the_seeds(collected):
  source = imitate.solutions(collected, [0])
  rows = [[1, 1, 2, 2, 2], [3, 3, 5, 6, 7]]
  np.testing.assert_array_equal(source.tokens[:, :5], rows)
  np.testing.assert_array_equal(source.loss_mask[1, :5], [0, 0, 1, 1, 1])
  assert not source.loss_mask[:, 5:].any()
