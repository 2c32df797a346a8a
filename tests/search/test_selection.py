"""The selection rules on hand-worked numbers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.search import mcts, selection

# A root visited 9 times at mean value 0.5, and its children.
VISITS = [9, 5, 3, 0, 0]
VALUES = [0.5, 0.6, 0.2, 0.7, 0.9]
REWARDS = [0.0, 0.1, 0.0, 0.05, 0.0]
DISCOUNTS = [0.0, 0.5, 1.0, 1.0, 1.0]
VALID = [True, True, True, True, False]
# Of the valid ones: 1/2, 1/4, 1/4. The last candidate repeats a sibling.
PRIORS = [0.5, 0.25, 0.25]
LOGITS = [0.0, *np.log([4.0, 2.0, 2.0]), 9.0]
# √9 (1.25 + log((9 + 19652 + 1) / 19652)), to be shared by the priors.
WEIGHT = 3 * (1.25 + math.log(19_662 / 19_652))


def _scores(rule=None, **changes):
  """Returns a rule's scores of the root's children."""
  values = np.asarray(changes.pop("values", VALUES))
  rewards = np.asarray(changes.pop("rewards", REWARDS))
  discounts = np.asarray(changes.pop("discounts", DISCOUNTS))
  visits = np.asarray(changes.pop("visits", VISITS), np.int32)
  valid = np.asarray(VALID)
  family = selection.Family(
    visits=jnp.asarray(visits[0]),
    value=jnp.float32(values[0]),
    raw_value=jnp.float32(0.3),
    children_visits=jnp.asarray(visits[1:]),
    qvalues=jnp.float32((rewards + discounts * values)[1:]),
    prior_logits=jnp.float32(np.where(valid, LOGITS, -np.inf)[1:]),
    eligible_mask=jnp.asarray(changes.pop("eligible", valid))[1:],
  )
  assert not changes
  return np.asarray(SCORES(rule or selection.PUCTConfig(), family))


SCORES = jax.jit(lambda rule, family: rule.scores(family), static_argnums=0)
SIBLINGS = selection.PUCTConfig(value_kind="siblings")


def test_score_is_the_own_estimate_before_a_visit_and_the_mean_after():
  # q = reward + discount · value: 0.1 + 0.5 · 0.6, 0.2, 0.05 + 0.7.
  expected = [
    0.4 + WEIGHT * PRIORS[0] / 6,
    0.2 + WEIGHT * PRIORS[1] / 4,
    0.75 + WEIGHT * PRIORS[2] / 1,
  ]
  np.testing.assert_allclose(_scores()[:3], expected, rtol=1e-6)


def test_siblings_are_rescaled_between_the_parent_and_the_visited():
  # Parent 0.5, visited 0.4 and 0.2: low 0.2, high 0.5; the third counts as low.
  expected = [
    (0.4 - 0.2) / 0.3 + WEIGHT * PRIORS[0] / 6,
    0.0 + WEIGHT * PRIORS[1] / 4,
    0.0 + WEIGHT * PRIORS[2] / 1,
  ]
  scores = _scores(SIBLINGS)
  np.testing.assert_allclose(scores[:3], expected, rtol=1e-5)


@pytest.mark.parametrize("value_kind", ["score", "siblings"])
def test_a_candidate_that_is_not_valid_is_never_chosen(value_kind):
  rule = selection.PUCTConfig(value_kind=value_kind)
  wild = _scores(rule, values=[0.5, 0.6, 0.2, 0.7, np.inf])
  np.testing.assert_array_equal(wild[:3], _scores(rule)[:3])
  assert wild[3] == -np.inf


def test_exploration_grows_with_the_constants():
  # c₁ = 2 and log((9 + 9 + 1) / 9).
  weight = 3 * (2 + math.log(19 / 9))
  scores = _scores(selection.PUCTConfig(pb_c_init=2.0, pb_c_base=9.0))
  expected = 0.75 + weight * 0.25
  np.testing.assert_allclose(scores[2], expected, rtol=1e-6)


def test_nothing_visited_gives_finite_scores():
  with jax.debug_nans(True):
    siblings = _scores(SIBLINGS, visits=[0] * 5)
    scores = _scores(visits=[0] * 5)
  np.testing.assert_array_equal(siblings[:3], 0.0)
  np.testing.assert_allclose(scores[:3], [0.4, 0.2, 0.75], rtol=1e-6)


def test_no_valid_candidate_gives_no_nan():
  nothing = np.zeros(5, bool)
  with jax.debug_nans(True):
    for rule in (SIBLINGS, selection.UCTConfig()):
      assert np.all(_scores(rule, eligible=nothing) == -np.inf)


def test_equal_values_rescale_to_nothing():
  visits = np.asarray(VISITS)[1:4]
  expected = WEIGHT * np.asarray(PRIORS) / (visits + 1)
  scores = _scores(
    SIBLINGS, values=[0.5] * 5, rewards=[0.0] * 5, discounts=[1.0] * 5
  )
  np.testing.assert_allclose(scores[:3], expected, rtol=1e-6)


def test_uct_of_the_worked_example_of_rstar():
  # Outcomes +1, +1, −1, +1 give q = 2 and Q = 0.5; N = 10, n = 4, c = 2.
  scores = _scores(
    selection.UCTConfig(2.0),
    visits=[10, 4, 3, 0, 0],
    values=[0, 0.5, 0, 0, 0],
    rewards=[0] * 5,
    discounts=[1] * 5,
  )
  np.testing.assert_allclose(scores[0], 2.017, atol=5e-4)


def test_uct_enters_every_child_before_one_again_the_best_estimate_first():
  visits = [10**6, 1, 10**6, 0, 0]
  scores = _scores(selection.UCTConfig(2.0), visits=visits)
  assert scores[2] == max(scores) and scores[2] > 90
  better = _scores(
    selection.UCTConfig(2.0), visits=[5, 4, 0, 0, 0], values=[0, 1, 0.3, 0.2, 1]
  )
  assert better[1] > better[2] > better[0]


def test_rest_mcts_adds_one_to_an_unvisited_child():
  # V + ε √(2 ln N / n) with ε = 0.7, and V + 1 where n = 0.
  rule = mcts.rest_mcts(3).rule
  expected = 0.2 + 0.7 * math.sqrt(2 * math.log(9) / 3)
  np.testing.assert_allclose(_scores(rule)[1], expected, rtol=1e-5)
  np.testing.assert_allclose(_scores(rule)[2], 0.75 + 1, rtol=1e-6)


def test_estimates_and_outcomes_share_a_scale():
  rule = selection.UCTConfig(scaled=True)
  np.testing.assert_allclose(
    rule.first_value(np.array([0, 0.5, 1])), [-1, 0, 1]
  )
  blind = selection.UCTConfig(scaled=True, prior_value=False)
  np.testing.assert_allclose(blind.first_value(np.array([0.0, 0.9])), [0, 0])
  # Before a visit the estimate decides: 0.75 becomes 0.5.
  score = _scores(rule, visits=[9, 5, 3, 0, 0])[2]
  np.testing.assert_allclose(score - selection.UNVISITED_FIRST, 0.5, atol=1e-5)


def test_an_unknown_kind_of_value_is_refused():
  with pytest.raises(ValueError, match="use 'score' or 'siblings'"):
    selection.PUCTConfig(value_kind="sibling")
