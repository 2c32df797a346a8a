"""Monte-Carlo labels against hand-worked numbers."""

import jax.numpy as jnp
import numpy as np

from reasoning_rl.labels import monte_carlo

# Thought 0: 3 of 4 right. 1: 1 of 2 (the others were not made). 2: 0 of 4.
# 3: no rollouts at all.
CORRECT = jnp.array(
  [[[1, 1, 0, 1], [1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]], bool
)
MADE = jnp.array(
  [[[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]], bool
)


def test_soft_label_is_the_share_of_right_rollouts_that_were_made():
  labels, label_mask = monte_carlo.soft_labels(CORRECT, MADE)
  np.testing.assert_array_equal(labels, [[0.75, 0.5, 0.0, 0.0]])
  np.testing.assert_array_equal(label_mask, [[True, True, True, False]])


def test_hard_label_needs_one_right_rollout_of_the_thought():
  labels, label_mask = monte_carlo.soft_labels(CORRECT, MADE)
  hard = monte_carlo.hard_labels(labels, label_mask, jnp.zeros(1))
  np.testing.assert_array_equal(hard, [[1.0, 1.0, 0.0, 0.0]])


def test_hard_label_counts_what_completes_later_thoughts_and_the_solution():
  labels = jnp.array([[0.0, 0.5, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 1.0]])
  mask = jnp.array([[1, 1, 1], [1, 1, 0], [1, 0, 1]], bool)
  hard = monte_carlo.hard_labels(labels, mask, jnp.zeros(3))
  # What is not labelled says nothing of the thoughts before it.
  np.testing.assert_array_equal(hard, [[1, 1, 0], [0, 0, 0], [1, 0, 1]])
  hard = monte_carlo.hard_labels(labels, mask, jnp.array([0.0, 1.0, 0.0]))
  np.testing.assert_array_equal(hard[1], [1, 1, 0])


def test_labels_do_not_depend_on_the_order_of_rollouts():
  order = jnp.array([2, 0, 3, 1])
  labels, _ = monte_carlo.soft_labels(CORRECT, MADE)
  shuffled, _ = monte_carlo.soft_labels(CORRECT[..., order], MADE[..., order])
  np.testing.assert_array_equal(labels, shuffled)


def test_labels_after_the_first_error_are_dropped():
  labels = jnp.array([[0.5, 0.0, 1.0, 0.0], [1.0, 0.2, 0.9, 0.4]])
  mask = jnp.ones((2, 4), bool)
  np.testing.assert_array_equal(
    monte_carlo.until_first_error(labels, mask),
    [[True, True, False, False], [True, True, True, True]],
  )
  np.testing.assert_array_equal(
    monte_carlo.until_first_error(labels, mask, keep_first_error=False),
    [[True, False, False, False], [True, True, True, True]],
  )
  np.testing.assert_array_equal(
    monte_carlo.until_first_error(labels, mask, threshold=0.2),
    [[True, True, False, False], [True, True, False, False]],
  )


def test_a_thought_without_a_label_is_not_an_error():
  labels = jnp.array([[0.0, 1.0, 0.0, 1.0]])
  mask = jnp.array([[False, True, True, True]])
  np.testing.assert_array_equal(
    monte_carlo.until_first_error(labels, mask), [[False, True, True, False]]
  )


def test_terminal_thought_is_labelled_with_the_outcome():
  labels = jnp.full((3, 3), 0.5)
  mask = jnp.array([[True, False, False]] * 3)
  labels, mask = monte_carlo.with_outcome(
    labels, mask, jnp.array([2, 3, 0]), jnp.array([1.0, 0.0, 1.0])
  )
  np.testing.assert_array_equal(
    labels, [[0.5, 1.0, 0.5], [0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]
  )
  np.testing.assert_array_equal(
    mask, [[True, True, False], [True, False, True], [True, False, False]]
  )


def test_a_bare_solution_is_one_completion_of_each_of_its_prefixes():
  labels = np.array([[0.5, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)
  mask = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
  count, outcome = np.array([3, 2, 3, 0]), np.array([1, 1, 0, 1], np.float32)
  found, real = monte_carlo.from_outcome(labels, mask, count, outcome)
  np.testing.assert_array_equal(
    found, [[0.5, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
  )
  np.testing.assert_array_equal(
    real, [[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]
  )
