"""Advantages worked by hand, and what must leave them unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.rl import advantages, losses

# One compilation each is faster than one for every operation.
_thought_advantages = jax.jit(advantages.thought_advantages, static_argnums=0)
_grpo_outcome = jax.jit(advantages.grpo_outcome, static_argnums=1)
_grpo_process = jax.jit(advantages.grpo_process)
_pure = jax.jit(
  advantages.pure,
  static_argnames=("alpha", "tau", "baseline", "normalize_std"),
)

# Two problems, three rollouts, up to four thoughts; NaN lies under the mask.
_RNG = np.random.default_rng(0)
COUNTS = jnp.array([[4, 2, 1], [3, 0, 4]])
MASK = jnp.arange(4)[None, None] < COUNTS[..., None]
REWARDS = jnp.where(MASK, jnp.asarray(_RNG.random((2, 3, 4))), jnp.nan)
OUTCOME = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
CONFIGS = [
  advantages.CreditConfig(kind="outcome"),
  advantages.CreditConfig(kind="process"),
  advantages.CreditConfig(kind="pure", alpha=0.5),
  advantages.CreditConfig(kind="pure", alpha=0.5, baseline="thought"),
]

# PURE by hand, with τ = 0.1 / ln 2, so that 0.1 more reward is half the weight.
#   rollout 0: r = (0.2, 0.3), weights (2/3, 1/3), r* = (0.4/3, 0.1),
#              returns (0.7/3, 0.1), total 0.7/3
#   rollout 1: r = (0.4), r* = (0.4), returns (0.4), total 0.4
PURE_REWARDS = jnp.array([[[0.2, 0.3], [0.4, jnp.nan]]])
PURE_MASK = jnp.array([[[True, True], [True, False]]])
PURE_TAU = float(0.1 / np.log(2.0))


def _pure_process(baseline, normalize_std):
  """The process part alone: a constant outcome has no advantage."""
  return _pure(
    PURE_REWARDS,
    PURE_MASK,
    jnp.ones((1, 2)),
    tau=PURE_TAU,
    baseline=baseline,
    normalize_std=normalize_std,
  )


def test_grpo_outcome_is_as_worked_by_hand():
  # (1, 0, 0, 1): mean 1/2, std 1/2. (1, 0, 0, 0): mean 1/4, std √3/4.
  result = _grpo_outcome(
    jnp.array([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
  )
  third = 1 / np.sqrt(3)
  np.testing.assert_allclose(
    result,
    [[1, -1, -1, 1], [np.sqrt(3), -third, -third, -third]],
    rtol=1e-6,
  )


def test_without_the_deviation_only_the_group_mean_is_subtracted():
  result = _grpo_outcome(jnp.array([[1.0, 0.0, 0.0, 0.0]]), False)
  np.testing.assert_allclose(result, [[0.75, -0.25, -0.25, -0.25]])


@pytest.mark.parametrize("reward", [0.0, 0.1, 0.7, 1.0, 1e6])
@pytest.mark.parametrize("normalize_std", [True, False])
def test_a_group_of_equal_rewards_gets_exactly_zero(reward, normalize_std):
  result = _grpo_outcome(jnp.full((2, 16), reward), normalize_std)
  np.testing.assert_array_equal(result, np.zeros((2, 16)))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind + c.baseline)
def test_equal_rollouts_get_exactly_zero_for_every_kind_of_credit(config):
  thought_rewards = jnp.full((1, 16, 3), 0.7)
  if config.kind != "process":  # There, equal rollouts still have a shape.
    thought_rewards = thought_rewards.at[..., 1].set(0.3)
  result = _thought_advantages(
    config, jnp.full((1, 16), 0.7), thought_rewards, jnp.ones((1, 16, 3), bool)
  )
  np.testing.assert_array_equal(result, np.zeros((1, 16, 3)))


def test_grpo_process_is_as_worked_by_hand():
  # R = {0.2, 0.8, 0.2, 0.2}: mean 0.35, variance (3·0.15² + 0.45²)/4 = 0.0675,
  # std 0.15·√3. Normalised: (−1/√3, √3) and (−1/√3, −1/√3); then summed from
  # the right.
  result = _grpo_process(
    jnp.array([[[0.2, 0.8, jnp.nan], [0.2, 0.2, -100.0]]]),
    jnp.array([[[True, True, False], [True, True, False]]]),
  )
  root, third = np.sqrt(3), 1 / np.sqrt(3)
  np.testing.assert_allclose(
    result, [[[root - third, root, 0], [-2 * third, -third, 0]]], rtol=1e-5
  )


def test_grpo_process_with_one_thought_each_is_grpo_outcome():
  rewards = jnp.array([[0.1, 0.9, 0.4], [0.7, 0.7, 0.7]])
  result = _grpo_process(rewards[..., None], jnp.ones((2, 3, 1), bool))
  np.testing.assert_allclose(result[..., 0], _grpo_outcome(rewards), rtol=1e-6)


def test_leave_one_out_is_as_worked_by_hand():
  result = advantages.leave_one_out(jnp.array([[1.0, 0.0, 0.5]]))
  np.testing.assert_allclose(result, [[0.75, -0.75, 0.0]])


def test_leave_one_out_of_a_single_rollout_is_refused():
  with pytest.raises(ValueError, match="at least two rollouts"):
    advantages.leave_one_out(jnp.ones((1, 1)))


def test_pure_with_the_total_baseline_is_as_worked_by_hand():
  # Rollout 0: (0.7/3, 0.1) − 0.4. Rollout 1: 0.4 − 0.7/3.
  sixth = 1 / 6
  result = _pure_process("total", normalize_std=False)
  np.testing.assert_allclose(result, [[[-sixth, -0.3], [sixth, 0]]], rtol=1e-5)
  # (−1/6, −0.3, 1/6): mean −0.1, std 0.196261.
  expected = np.array([[[-sixth, -0.3], [sixth, 0]]]) / 0.196261
  result = _pure_process("total", normalize_std=True)
  np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_pure_with_the_thought_baseline_is_as_worked_by_hand():
  # The second thought of rollout 0 has no counterpart: 0.1 − 0.
  sixth = 1 / 6
  result = _pure_process("thought", normalize_std=False)
  np.testing.assert_allclose(result, [[[-sixth, 0.1], [sixth, 0]]], rtol=1e-5)


def test_pure_adds_alpha_times_the_process_part_to_grpo_outcome():
  def pure(outcome, alpha):
    return _pure(PURE_REWARDS, PURE_MASK, outcome, alpha=alpha, tau=PURE_TAU)

  outcome = jnp.array([[0.0, 1.0]])
  np.testing.assert_array_equal(
    pure(outcome, 0.0), [[[-1.0, -1.0], [1.0, 1.0]]]
  )
  np.testing.assert_allclose(
    pure(outcome, 0.5),
    pure(outcome, 0.0) + 0.5 * pure(jnp.zeros((1, 2)), 1.0),
    rtol=1e-6,
  )


@pytest.mark.parametrize("baseline", advantages.BASELINES)
def test_pure_with_one_thought_each_is_two_grpo_outcomes(baseline):
  rewards = jnp.array([[0.1, 0.9, 0.4, 0.2]])
  outcome = jnp.array([[0.0, 1.0, 1.0, 0.0]])
  result = _pure(
    rewards[..., None],
    jnp.ones((1, 4, 1), bool),
    outcome,
    alpha=0.3,
    baseline=baseline,
  )
  expected = _grpo_outcome(outcome) + 0.3 * _grpo_outcome(rewards)
  np.testing.assert_allclose(result[..., 0], expected, rtol=1e-5)


def test_rejection_pays_every_slot_of_right_rollouts_and_nothing_else():
  config = advantages.CreditConfig(kind="rejection")
  result = _thought_advantages(config, OUTCOME, REWARDS, MASK)
  expected = np.repeat(np.asarray(OUTCOME)[..., None], 4, axis=-1)
  np.testing.assert_array_equal(result, expected)
  # No baseline: a group that is all right teaches too.
  np.testing.assert_array_equal(
    advantages.rejection(jnp.ones((1, 3))), [[1] * 3]
  )


def test_rejection_on_policy_has_the_gradient_of_the_loss_on_right_samples():
  # Thoughts stand for tokens: 4 + 4 of the 14 belong to right rollouts.
  logprobs = -jnp.asarray(_RNG.random((2, 3, 4)))
  credit = advantages.rejection(OUTCOME)[..., None] * jnp.ones(MASK.shape)
  right = MASK & (OUTCOME[..., None] == 1)

  @jax.jit
  @jax.grad
  def policy_gradient(policy):
    return losses.clipped_policy_loss(policy, logprobs, credit, MASK)[0]

  @jax.jit
  @jax.grad
  def supervised_gradient(policy):
    return losses.supervised_loss(policy, right)[0]

  np.testing.assert_allclose(
    policy_gradient(logprobs) * 14 / 8, supervised_gradient(logprobs), rtol=1e-6
  )


@pytest.mark.parametrize(
  "config",
  [*CONFIGS, advantages.CreditConfig(kind="rejection")],
  ids=lambda c: c.kind + c.baseline,
)
def test_padding_permutation_and_neighbours_change_nothing(config):
  expected = _thought_advantages(config, OUTCOME, REWARDS, MASK)
  assert np.all(np.isfinite(expected))

  widths = ((0, 0), (0, 0), (0, 2))
  padded = _thought_advantages(
    config,
    OUTCOME,
    jnp.pad(REWARDS, widths, constant_values=7.0),
    jnp.pad(MASK, widths),
  )
  np.testing.assert_allclose(padded[..., :4], expected, atol=1e-6)

  order = jnp.array([2, 0, 1])
  permuted = _thought_advantages(
    config, OUTCOME[:, order], REWARDS[:, order], MASK[:, order]
  )
  np.testing.assert_allclose(permuted, expected[:, order], atol=1e-6)

  alone = _thought_advantages(config, OUTCOME[:1], REWARDS[:1], MASK[:1])
  np.testing.assert_allclose(alone, expected[:1], atol=1e-6)


@pytest.mark.parametrize("kind", ["outcome", "pure"])
def test_a_rollout_without_thoughts_keeps_its_outcome_credit(kind):
  result = _thought_advantages(
    advantages.CreditConfig(kind=kind), OUTCOME, REWARDS, MASK
  )
  expected = _grpo_outcome(OUTCOME)[1, 1]
  np.testing.assert_array_equal(result[1, 1], np.full(4, expected))


def test_advantages_of_the_outcome_do_not_depend_on_its_scale():
  np.testing.assert_allclose(
    _grpo_outcome(OUTCOME),
    _grpo_outcome(3.0 * OUTCOME - 1.0),
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"kind": "sum"}, "Unknown credit kind 'sum'; use one of outcome"),
    ({"baseline": "mean"}, "Unknown process baseline 'mean'"),
    ({"tau": 0.0}, "tau must be above 0"),
  ],
)
def test_a_bad_credit_config_is_refused_in_one_sentence(values, message):
  with pytest.raises(ValueError, match=message):
    advantages.CreditConfig(**values)
