"""Which groups of rollouts can teach: those neither all right nor all wrong.

A group whose rollouts earned the same has outcome advantages of exactly 0.
DAPO: An Open-Source LLM Reinforcement Learning System at Scale (2503.14476)
drops such groups before the update and samples others in their place.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mixed_group_mask(
  rewards: Float[Array, "B G"], rollout_mask: Bool[Array, "B G"] | None = None
) -> Bool[Array, " B"]:
  """Returns True for problems whose rollouts did not all earn the same.

  Args:
    rewards: One reward per rollout.
    rollout_mask: True at rollouts that count; None: all do.
  """
  if rollout_mask is None:
    return jnp.max(rewards, axis=-1) > jnp.min(rewards, axis=-1)
  highest = jnp.max(jnp.where(rollout_mask, rewards, -jnp.inf), axis=-1)
  lowest = jnp.min(jnp.where(rollout_mask, rewards, jnp.inf), axis=-1)
  return highest > lowest
