"""Aggregation of thought scores."""

import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.prm import aggregate as aggregate_lib

REWARDS = jnp.array([[0.5, 0.2, 0.8, jnp.nan], [0.0, 1.0, 0.5, 0.25]])
MASK = jnp.array([[True, True, True, False], [True, True, True, True]])


@pytest.mark.parametrize(
  ("how", "expected"),
  [
    ("min", [0.2, 0.0]),
    ("product", [0.08, 0.0]),
    ("last", [0.8, 0.25]),
    ("mean", [0.5, 0.4375]),
  ],
)
def test_aggregates_are_as_worked_by_hand(how, expected):
  score = aggregate_lib.aggregate(REWARDS, MASK, how)
  np.testing.assert_allclose(score, expected, rtol=1e-6)


@pytest.mark.parametrize("how", aggregate_lib.METHODS)
def test_a_solution_without_thoughts_scores_zero(how):
  score = aggregate_lib.aggregate(
    jnp.full((2, 3), jnp.nan), jnp.zeros((2, 3), bool), how
  )
  np.testing.assert_array_equal(score, [0.0, 0.0])


@pytest.mark.parametrize("how", aggregate_lib.METHODS)
def test_a_single_thought_is_its_own_score(how):
  score = aggregate_lib.aggregate(jnp.array([0.3]), jnp.array([True]), how)
  np.testing.assert_allclose(score, 0.3, rtol=1e-6)


@pytest.mark.parametrize("how", aggregate_lib.METHODS)
def test_padding_and_leading_axes_change_nothing(how):
  padded = jnp.pad(REWARDS, ((0, 0), (0, 2)), constant_values=-100.0)
  padded_mask = jnp.pad(MASK, ((0, 0), (0, 2)))
  expected = aggregate_lib.aggregate(REWARDS, MASK, how)
  score = aggregate_lib.aggregate(padded[None], padded_mask[None], how)
  np.testing.assert_allclose(score[0], expected, rtol=1e-6)


def test_an_unknown_method_is_named_with_the_known_ones():
  with pytest.raises(ValueError, match="'max'; use one of min, product"):
    aggregate_lib.aggregate(REWARDS, MASK, "max")
