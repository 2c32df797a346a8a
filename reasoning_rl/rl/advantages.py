"""Advantages: how much better a rollout is than the others of its problem.

All rollouts of a problem stand in one group, and a problem's baseline comes
from its own group only. Four kinds of credit (`CreditConfig.kind`), never
combined with one another:

  outcome    every token is paid the normalised outcome (GRPO, DeepSeekMath
             4.1.2)
  process    the normalised thought rewards at or after it (GRPO, 4.1.3)
  pure       the normalised outcome plus the min-form process return (PURE)
  rejection  1 if the rollout is right and 0 if not, without a baseline

A standard deviation here is that of the group as a population (divided by n):
the paper writes std of the group's own rewards, and a group of one right and
one wrong then gets +1 and −1. TRL and verl divide by n − 1 and add a constant
to the divisor, which shrinks all advantages of a group by a common factor
(√(15/16) at 16 rollouts). Here nothing is added: a group without spread is
recognised and gets exactly 0.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from reasoning_rl import masking
from reasoning_rl.rl import credit

KINDS = ("outcome", "process", "pure", "rejection")
BASELINES = ("total", "thought")

# A spread of this many float32 roundings of the largest value is no spread.
_ROUNDINGS = 8.0


@dataclasses.dataclass(frozen=True)
class CreditConfig:
  """How rollouts are turned into advantages.

  Attributes:
    kind: One of `KINDS`.
    alpha: Weight of the process part beside the outcome part, for "pure".
    tau: Temperature of the min-form weights, for "pure".
    baseline: One of `BASELINES`, for "pure": see `pure`.
    normalize_std: Whether to divide by the group's standard deviation, for all
      kinds but "rejection". False is what Dr. GRPO (2503.20783) does.
  """

  kind: str = "pure"
  alpha: float = 1.0
  tau: float = 0.1
  baseline: str = "total"
  normalize_std: bool = True

  def __post_init__(self):
    """Checks the values; one clear sentence for each mistake."""
    _check_choice("credit kind", self.kind, KINDS)
    _check_choice("process baseline", self.baseline, BASELINES)
    if not self.tau > 0:
      raise ValueError(f"tau must be above 0, and is {self.tau}.")


def thought_advantages(
  config: CreditConfig,
  outcome_reward: Float[Array, "B G"],
  thought_rewards: Float[Array, "B G T"],
  mask: Bool[Array, "B G T"],
  rollout_mask: Bool[Array, "B G"] | None = None,
) -> Float[Array, "B G T"]:
  """Returns the advantage of each thought by the configured kind of credit.

  Args:
    config: Which credit, and its constants.
    outcome_reward: The verifier's verdict on each rollout.
    thought_rewards: PRM score of each thought; not read by "outcome" and
      "rejection".
    mask: True at real thoughts.
    rollout_mask: True at rollouts that have a verdict; None: all have. The
      others are no part of the outcome's group, and get nothing of it.

  Returns:
    Advantages. Outcome and rejection credit fill all slots, so that a rollout
    without thoughts is credited too; process credit is 0 under the mask.
  """
  if config.kind == "process":
    return grpo_process(thought_rewards, mask, config.normalize_std)
  if config.kind == "outcome":
    advantages = grpo_outcome(
      outcome_reward, config.normalize_std, rollout_mask
    )
    return jnp.broadcast_to(advantages[..., None], mask.shape)
  if config.kind == "rejection":
    advantages = rejection(outcome_reward)
    if rollout_mask is not None:
      advantages = jnp.where(rollout_mask, advantages, 0.0)
    return jnp.broadcast_to(advantages[..., None], mask.shape)
  return pure(
    thought_rewards,
    mask,
    outcome_reward,
    alpha=config.alpha,
    tau=config.tau,
    baseline=config.baseline,
    normalize_std=config.normalize_std,
    rollout_mask=rollout_mask,
  )


def grpo_outcome(
  rewards: Float[Array, "B G"],
  normalize_std: bool = True,
  rollout_mask: Bool[Array, "B G"] | None = None,
) -> Float[Array, "B G"]:
  """Returns GRPO's outcome advantages, Aᵢ = (rᵢ − mean(r)) / std(r).

  DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
  Models (2402.03300), section 4.1.2.

  Args:
    rewards: One reward per rollout.
    normalize_std: Whether to divide by the group's standard deviation.
    rollout_mask: True at rollouts of the group; None: all are.

  Returns:
    Advantages; exactly 0 for a group whose rewards are all the same, and under
    the mask.
  """
  if rollout_mask is None:
    rollout_mask = jnp.ones(rewards.shape, bool)
  return _normalize(rewards, rollout_mask, -1, normalize_std)


def rejection(rewards: Float[Array, "B G"]) -> Float[Array, "B G"]:
  """Returns 1 for right rollouts, paid more than 1/2, and 0 for wrong ones.

  This is fine-tuning on one's own right samples (RFT, 2308.01825) written as a
  policy gradient: while the policy is the sampler, the gradient is that of the
  supervised loss on the right rollouts, but for the divisor, which counts the
  wrong ones too. There is no baseline, so nothing is pushed down, and a group
  that is all right still teaches.

  Args:
    rewards: The verifier's verdict on each rollout.

  Returns:
    Advantages, 1 or 0.
  """
  return (rewards > 0.5).astype(jnp.float32)


def grpo_process(
  thought_rewards: Float[Array, "B G T"],
  mask: Bool[Array, "B G T"],
  normalize_std: bool = True,
) -> Float[Array, "B G T"]:
  """Returns GRPO's process advantages.

  r̃ = (r − mean(R)) / std(R) with R all thought rewards of the whole group, and
  Aᵢₜ = Σ_{j≥t} r̃ᵢⱼ (DeepSeekMath, section 4.1.3).

  This is a sum: above-average thoughts pay for being many. `pure` does not.

  Args:
    thought_rewards: PRM score of each thought.
    mask: True at real thoughts.
    normalize_std: Whether to divide by the group's standard deviation.

  Returns:
    Advantages; 0 under the mask.
  """
  rewards = _normalize(thought_rewards, mask, (-2, -1), normalize_std)
  return jnp.where(mask, credit.returns_to_go(rewards, mask), 0.0)


def leave_one_out(rewards: Float[Array, "B G"]) -> Float[Array, "B G"]:
  """Returns rᵢ minus the mean of the other rollouts' rewards.

  Back to Basics: Revisiting REINFORCE Style Optimization for Learning from
  Human Feedback in LLMs (RLOO, 2402.14740).

  Raises:
    ValueError: If a group has a single rollout.
  """
  return rewards - _mean_of_others(rewards)


def pure(
  thought_rewards: Float[Array, "B G T"],
  mask: Bool[Array, "B G T"],
  outcome_reward: Float[Array, "B G"],
  alpha: float = 1.0,
  tau: float = 0.1,
  baseline: str = "total",
  normalize_std: bool = True,
  rollout_mask: Bool[Array, "B G"] | None = None,
) -> Float[Array, "B G T"]:
  """Returns the outcome advantage plus alpha times the min-form process credit.

  Gᵢₜ = Σ_{j≥t} r*ᵢⱼ with `credit.min_form_rewards`, minus a baseline from the
  other rollouts, over the standard deviation of these differences among all
  thoughts of the group. The two parts are scaled apart, so alpha is their ratio
  whatever the scale of the PRM. The deviation is that of all thoughts, not of
  the rollouts' totals: totals that all but agree would magnify every thought.

  With "total" the baseline is the mean of the others' totals, one number for a
  whole rollout. Late thoughts have less return to come than the total, so their
  credit is lower throughout, which costs variance and, as any baseline that
  does not look at the action, no bias. With "thought" it is the mean of the
  others' returns from the same thought on, which has not that offset; a rollout
  that has ended has 0 to come.

  Args:
    thought_rewards: PRM score of each thought.
    mask: True at real thoughts.
    outcome_reward: The verifier's verdict on each rollout.
    alpha: Weight of the process part.
    tau: Temperature of the min-form weights.
    baseline: One of `BASELINES`.
    normalize_std: Whether to divide each part by its standard deviation.
    rollout_mask: True at rollouts that have a verdict; None: all have.

  Returns:
    Advantages. The process part is 0 under the mask, and everywhere in a group
    whose rollouts all earned the same; the outcome part fills all slots.

  Raises:
    ValueError: If a group has a single rollout, or `baseline` is unknown.
  """
  _check_choice("process baseline", baseline, BASELINES)
  returns = credit.returns_to_go(
    credit.min_form_rewards(thought_rewards, mask, tau), mask
  )
  earned = returns if baseline == "thought" else returns[..., :1]
  process = jnp.where(mask, returns - _mean_of_others(earned, axis=-2), 0.0)
  if normalize_std:
    process = process / _deviation(process, mask, (-2, -1))
  same = jnp.all(
    _spread(returns, jnp.ones(mask.shape, bool), -2)
    <= _tolerance(returns, mask, (-2, -1)),
    axis=-1,
    keepdims=True,
  )
  process = jnp.where(same, 0.0, process)
  outcome = grpo_outcome(outcome_reward, normalize_std, rollout_mask)
  return outcome[..., None] + alpha * process


def _normalize(
  x: Float[Array, "..."],
  mask: Bool[Array, "..."],
  axis: int | tuple[int, ...],
  normalize_std: bool,
) -> Float[Array, "..."]:
  """Subtracts the mean and divides by the deviation, 0 where none is spread."""
  x = jnp.where(mask, x.astype(jnp.float32), 0.0)
  mean = jnp.expand_dims(masking.masked_mean(x, mask, axis), axis)
  centred = jnp.where(mask, x - mean, 0.0)
  if normalize_std:
    centred = centred / _deviation(centred, mask, axis)
  same = _spread(x, mask, axis) <= _tolerance(x, mask, axis)
  return jnp.where(same, 0.0, centred)


def _deviation(
  x: Float[Array, "..."],
  mask: Bool[Array, "..."],
  axis: int | tuple[int, ...],
) -> Float[Array, "..."]:
  """Returns the population standard deviation, 1 where it is 0; keeps dims."""
  mean = jnp.expand_dims(masking.masked_mean(x, mask, axis), axis)
  variance = masking.masked_mean(jnp.square(x - mean), mask, axis)
  deviation = jnp.expand_dims(jnp.sqrt(variance), axis)
  return jnp.where(deviation > 0, deviation, 1.0)


def _spread(
  x: Float[Array, "..."],
  mask: Bool[Array, "..."],
  axis: int | tuple[int, ...],
) -> Float[Array, "..."]:
  """Returns max − min under the mask, −∞ where nothing is; keeps dims.

  Not the deviation: that of sixteen rewards of 0.7 is not 0 in float32.
  """
  highest = jnp.max(jnp.where(mask, x, -jnp.inf), axis=axis, keepdims=True)
  lowest = jnp.min(jnp.where(mask, x, jnp.inf), axis=axis, keepdims=True)
  return highest - lowest


def _tolerance(
  x: Float[Array, "..."],
  mask: Bool[Array, "..."],
  axis: int | tuple[int, ...],
) -> Float[Array, "..."]:
  """Returns the spread that rounding alone could make; keeps dims."""
  size = jnp.max(jnp.where(mask, jnp.abs(x), 0.0), axis=axis, keepdims=True)
  return _ROUNDINGS * jnp.finfo(jnp.float32).eps * size


def _mean_of_others(
  x: Float[Array, "..."], axis: int = -1
) -> Float[Array, "..."]:
  """Returns, for each entry along `axis`, the mean of the others."""
  count = x.shape[axis]
  if count < 2:
    raise ValueError(
      "A leave-one-out baseline needs at least two rollouts per problem; "
      "sample more, or use outcome credit."
    )
  return (jnp.sum(x, axis=axis, keepdims=True) - x) / (count - 1)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
  if value not in choices:
    raise ValueError(
      f"Unknown {name} {value!r}; use one of {', '.join(choices)}."
    )
