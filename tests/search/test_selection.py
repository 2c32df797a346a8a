"""The selection rules on hand-worked numbers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import selection

# A root visited 9 times at mean value 0.5, and its children.
VISITS = [9, 5, 3, 0, 0]
VALUES = [0.5, 0.6, 0.2, 0.7, 0.9]
REWARDS = [0.0, 0.1, 0.0, 0.05, 0.0]
DISCOUNTS = [0.0, 0.5, 1.0, 1.0, 1.0]
VALID = [True, True, True, True, False]
CHILDREN = jnp.array([[1, 2, 3, 4]])
ROOT = jnp.array([0])
# Of the valid ones: 1/2, 1/4, 1/4. The last candidate repeats a sibling.
PRIORS = [0.5, 0.25, 0.25]
LOGITS = [0.0, *np.log([4.0, 2.0, 2.0]), 9.0]
# √9 (1.25 + log((9 + 19652 + 1) / 19652)), to be shared by the priors.
WEIGHT = 3 * (1.25 + math.log(19_662 / 19_652))


def _tree(**changes):
  row = lambda x, dtype=jnp.float32: jnp.asarray([x], dtype)
  root = tree_lib.Root(
    problem_id=jnp.zeros(1, jnp.int32),
    prompt_length=jnp.ones(1, jnp.int32),
    hidden=jnp.zeros((1, 0)),
    values=jnp.zeros(1),
    prompts=(),
  )
  tree = tree_lib.plant(root, len(VISITS), thought_size=1, pool_size=0)
  fields = {
    "node_visits": row(VISITS, jnp.int32),
    "node_values": row(VALUES),
    "rewards": row(REWARDS),
    "discounts": row(DISCOUNTS),
    "valid_mask": row(VALID, bool),
    "prior_logits": row(LOGITS),
    "children_start": row([1, -1, -1, -1, -1], jnp.int32),
  }
  return tree.replace(**fields | changes)


PUCT_SCORES = jax.jit(selection.puct_scores, static_argnums=3)


def _scores(tree, **config):
  config = selection.PUCTConfig(**config)
  return np.asarray(PUCT_SCORES(tree, ROOT, CHILDREN, config))[0]


def test_children_are_consecutive_from_the_first():
  tree = _tree(children_start=jnp.array([[-1, 2, -1, -1, -1]]))
  children = selection.children_of(tree, jnp.array([1]), 3)
  np.testing.assert_array_equal(children, [[2, 3, 4]])


def test_score_is_the_own_estimate_before_a_visit_and_the_mean_after():
  # q = reward + discount · value: 0.1 + 0.5 · 0.6, 0.2, 0.05 + 0.7.
  expected = [
    0.4 + WEIGHT * PRIORS[0] / 6,
    0.2 + WEIGHT * PRIORS[1] / 4,
    0.75 + WEIGHT * PRIORS[2] / 1,
  ]
  np.testing.assert_allclose(_scores(_tree())[:3], expected, rtol=1e-6)


def test_siblings_are_rescaled_between_the_parent_and_the_visited():
  # Parent 0.5, visited 0.4 and 0.2: low 0.2, high 0.5; the third counts as low.
  expected = [
    (0.4 - 0.2) / 0.3 + WEIGHT * PRIORS[0] / 6,
    0.0 + WEIGHT * PRIORS[1] / 4,
    0.0 + WEIGHT * PRIORS[2] / 1,
  ]
  scores = _scores(_tree(), value_kind="siblings")
  np.testing.assert_allclose(scores[:3], expected, rtol=1e-5)


@pytest.mark.parametrize("value_kind", ["score", "siblings"])
def test_a_candidate_that_is_not_valid_is_never_chosen(value_kind):
  wild = jnp.array([[0.5, 0.6, 0.2, 0.7, jnp.inf]])
  tree = _tree(node_values=wild)
  np.testing.assert_array_equal(
    _scores(tree, value_kind=value_kind)[:3],
    _scores(_tree(), value_kind=value_kind)[:3],
  )
  assert _scores(tree, value_kind=value_kind)[3] == -np.inf


def test_exploration_grows_with_the_constants():
  # c₁ = 2 and log((9 + 9 + 1) / 9).
  weight = 3 * (2 + math.log(19 / 9))
  scores = _scores(_tree(), pb_c_init=2.0, pb_c_base=9.0)
  expected = 0.75 + weight * 0.25
  np.testing.assert_allclose(scores[2], expected, rtol=1e-6)


def test_nothing_visited_gives_finite_scores():
  zeros = jnp.zeros((1, 5), jnp.int32)
  with jax.debug_nans(True):
    siblings = _scores(_tree(node_visits=zeros), value_kind="siblings")
    scores = _scores(_tree(node_visits=zeros))
  np.testing.assert_array_equal(siblings[:3], 0.0)
  np.testing.assert_allclose(scores[:3], [0.4, 0.2, 0.75], rtol=1e-6)


def test_equal_values_rescale_to_nothing():
  tree = _tree(
    node_values=jnp.full((1, 5), 0.5),
    rewards=jnp.zeros((1, 5)),
    discounts=jnp.ones((1, 5)),
  )
  visits = np.asarray(VISITS)[1:4]
  expected = WEIGHT * np.asarray(PRIORS) / (visits + 1)
  scores = _scores(tree, value_kind="siblings")
  np.testing.assert_allclose(scores[:3], expected, rtol=1e-6)


def test_an_unknown_kind_of_value_is_refused():
  with pytest.raises(ValueError, match="use 'score' or 'siblings'"):
    selection.PUCTConfig(value_kind="sibling")
