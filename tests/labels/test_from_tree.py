"""Labels from a tree against a plain loop over its nodes."""

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl.labels import from_tree

_COUNTS = jax.jit(from_tree.descendant_outcomes)


def _reference(parents, terminal_mask, outcome, node_mask):
  """Adds every finished node to each of its ancestors, one at a time."""
  correct, total = np.zeros(parents.shape), np.zeros(parents.shape)
  for row in range(parents.shape[0]):
    for node in range(parents.shape[1]):
      if not (terminal_mask[row, node] and node_mask[row, node]):
        continue
      ancestor = node
      while ancestor >= 0:
        correct[row, ancestor] += outcome[row, node]
        total[row, ancestor] += 1
        ancestor = parents[row, ancestor]
  return correct, total


def _random_trees(rng, rows, size):
  parents = np.full((rows, size), -1, np.int32)
  for node in range(1, size):
    parents[:, node] = rng.integers(0, node, rows)
  used = rng.integers(1, size + 1, (rows, 1))
  node_mask = np.arange(size) < used
  terminal_mask = rng.random((rows, size)) < 0.5
  outcome = rng.integers(0, 2, (rows, size)).astype(np.float32)
  return np.where(node_mask, parents, -1), terminal_mask, outcome, node_mask


def test_counts_of_a_hand_worked_tree():
  #        0
  #      1   2*      * finished: 2 wrong, 3 right, 5 wrong
  #    3*  4
  #        5*        6 is an unused slot
  correct, total = _COUNTS(
    jnp.array([[-1, 0, 0, 1, 1, 4, -1]]),
    jnp.array([[0, 0, 1, 1, 0, 1, 1]], bool),
    jnp.array([[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]]),
    jnp.array([[1, 1, 1, 1, 1, 1, 0]], bool),
  )
  np.testing.assert_array_equal(correct, [[1, 1, 0, 1, 0, 0, 0]])
  np.testing.assert_array_equal(total, [[3, 2, 1, 1, 1, 1, 0]])
  labels, label_mask = from_tree.node_labels(correct, total)
  np.testing.assert_allclose(labels[0, 1:], [0.5, 0, 1, 0, 0, 0])
  np.testing.assert_array_equal(label_mask, [[0, 1, 1, 1, 1, 1, 0]])


def test_counts_equal_a_loop_over_random_trees():
  trees = _random_trees(np.random.default_rng(0), rows=16, size=21)
  correct, total = _COUNTS(*map(jnp.asarray, trees))
  expected_correct, expected_total = _reference(*trees)
  np.testing.assert_array_equal(correct, expected_correct)
  np.testing.assert_array_equal(total, expected_total)


def test_a_chain_as_deep_as_the_tree_is_large_reaches_the_root():
  for size in (1, 9):
    parents = np.arange(size)[None] - 1
    terminal_mask = np.arange(size)[None] == size - 1
    ones = np.ones((1, size), np.float32)
    correct, total = _COUNTS(parents, terminal_mask, ones, ones > 0)
    np.testing.assert_array_equal(correct, ones)
    np.testing.assert_array_equal(total, ones)
