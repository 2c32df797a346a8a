"""From rewards to credit: what each thought and each token is paid for.

Rewards sit at an instant (the end of a thought, or of the completion), credit
is the reward that was still to come, and tokens take the credit of the thought
they are in. No baseline and no normalisation here: see `advantages`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from reasoning_rl import masking


def outcome_rewards_at_end(
  outcome_reward: Float[Array, "*B"],
  length: Int[Array, "*B"],
  size: int,
) -> Float[Array, "*B L"]:
  """Puts the outcome on the last real token, and 0 everywhere else.

  Args:
    outcome_reward: The verifier's verdict on the completion.
    length: Real tokens. An empty completion has no token to pay.
    size: Positions L of the result.

  Returns:
    Rewards per token, in float32 whatever the verdict's type.
  """
  last = masking.length_mask(length, size) & ~masking.length_mask(
    length - 1, size
  )
  return jnp.where(last, outcome_reward.astype(jnp.float32)[..., None], 0.0)


def min_form_rewards(
  thought_rewards: Float[Array, "*B T"],
  mask: Bool[Array, "*B T"],
  tau: float = 0.1,
) -> Float[Array, "*B T"]:
  """Weighs thought rewards so that their sum is close to their minimum.

  r*ₜ = softmax(−r/τ)ₜ · rₜ, from Stop Summation: Min-Form Credit Assignment Is
  All Process Reward Model Needs for Reasoning (PURE, 2504.15275). A policy
  cannot raise this sum by adding thoughts that score well, as it can a plain
  sum; the whole credit goes to the worst thought and to those before it.

  Args:
    thought_rewards: PRM score of each thought.
    mask: True at real thoughts.
    tau: Temperature above 0; the minimum is exact as it falls to 0.

  Returns:
    The weighted rewards; 0 under the mask.
  """
  thought_rewards = thought_rewards.astype(jnp.float32)
  lowest = jnp.min(
    jnp.where(mask, thought_rewards, jnp.inf), axis=-1, keepdims=True
  )
  excess = jnp.where(mask, thought_rewards - lowest, 0.0)
  weights = jnp.where(mask, jnp.exp(-excess / tau), 0.0)
  # The worst thought weighs 1, so the total is below 1 only without thoughts.
  total = jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1.0)
  return jnp.where(mask, weights / total * thought_rewards, 0.0)


def returns_to_go(
  rewards: Float[Array, "*B T"], mask: Bool[Array, "*B T"]
) -> Float[Array, "*B T"]:
  """Returns the undiscounted sum of the rewards at or after each index.

  Args:
    rewards: Rewards in time order; anything where the mask is False.
    mask: True at rewards that count.
  """
  rewards = jnp.where(mask, rewards.astype(jnp.float32), 0.0)
  return jax.lax.cumsum(rewards, axis=rewards.ndim - 1, reverse=True)


def thoughts_to_tokens(
  values: Float[Array, "*B T"],
  thought_end: Int[Array, "*B T"],
  thought_count: Int[Array, "*B"],
  length: Int[Array, "*B"],
  size: int,
) -> Float[Array, "*B L"]:
  """Gives every token the value of the thought it belongs to.

  A token belongs to the first thought that does not end before it. Tokens after
  the last thought (an end token, or a thought that was cut off) belong to the
  last one, and in a completion without thoughts all belong to thought 0.

    thought_end [1, 4], length 6:  token    0 1 2 3 4 5 6
                                   thought  0 0 1 1 1 1 -

  Args:
    values: One value per thought.
    thought_end: Index of the last token of each thought, increasing.
    thought_count: Real thoughts; what lies beyond them is not read.
    length: Real tokens.
    size: Positions L of the result.

  Returns:
    One value per token; 0 from `length` on.
  """
  real = masking.length_mask(thought_count, values.shape[-1])
  position = jnp.arange(size).reshape((1,) * length.ndim + (size, 1))
  ended = real[..., None, :] & (thought_end[..., None, :] < position)
  thought = jnp.sum(ended, axis=-1, dtype=jnp.int32)
  last = jnp.maximum(thought_count - 1, 0)[..., None]
  tokens = jnp.take_along_axis(values, jnp.minimum(thought, last), axis=-1)
  return jnp.where(masking.length_mask(length, size), tokens, 0.0)
