"""Masks and masked means on hand-worked numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl import masking


def test_length_mask_is_true_at_the_first_positions():
  mask = masking.length_mask(jnp.array([0, 2, 3, 5]), 3)
  expected = [[0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
  np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_length_mask_takes_any_number_of_axes():
  np.testing.assert_array_equal(
    masking.length_mask(jnp.asarray(1), 2), [True, False]
  )
  length = np.array([[0, 1], [2, 1]])
  mask = masking.length_mask(length, 2)
  np.testing.assert_array_equal(mask.sum(axis=-1), length)
  np.testing.assert_array_equal(mask[:, :, 0], length > 0)


def test_causal_mask_hides_what_comes_after():
  expected = [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
  np.testing.assert_array_equal(
    masking.causal_mask(3), np.array(expected, bool)
  )


def test_masked_mean_counts_only_what_is_used():
  x = jnp.array([[1.0, 2.0, 9.0], [5.0, 9.0, 9.0]])
  mask = masking.length_mask(jnp.array([2, 1]), 3)
  # All three: (1 + 2 + 5) / 3; by row: 3 / 2 and 5; by column: 3, 2, none.
  np.testing.assert_allclose(masking.masked_mean(x, mask), 8 / 3, rtol=1e-6)
  np.testing.assert_allclose(masking.masked_mean(x, mask, axis=1), [1.5, 5.0])
  np.testing.assert_allclose(
    masking.masked_mean(x, mask, axis=0), [3.0, 2.0, 0.0]
  )
  np.testing.assert_allclose(
    masking.masked_mean(x, mask, axis=(0, 1)), 8 / 3, rtol=1e-6
  )


def test_masked_mean_of_nothing_is_zero_and_so_is_its_gradient():
  nothing = jnp.zeros((2, 3), bool)
  mean, gradient = jax.value_and_grad(masking.masked_mean)(
    jnp.ones((2, 3)), nothing
  )
  assert mean == 0
  np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


def test_masked_mean_ignores_nan_under_the_mask():
  x = jnp.array([2.0, jnp.nan, jnp.inf, 4.0])
  mask = jnp.array([True, False, False, True])
  mean, gradient = jax.value_and_grad(masking.masked_mean)(x, mask)
  assert mean == 3
  np.testing.assert_array_equal(gradient, [0.5, 0, 0, 0.5])


def test_masked_mean_of_everything_is_the_mean():
  x = jax.random.normal(jax.random.key(0), (4, 5))
  mask = jnp.ones((4, 5), bool)
  np.testing.assert_allclose(masking.masked_mean(x, mask), x.mean(), rtol=1e-6)
