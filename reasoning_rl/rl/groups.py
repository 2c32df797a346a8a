"""Which groups of rollouts can teach: those neither all right nor all wrong.

A group whose rollouts earned the same has outcome advantages of exactly 0.
DAPO: An Open-Source LLM Reinforcement Learning System at Scale (2503.14476)
drops such groups before the update and samples others in their place.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mixed_group_mask(rewards: Float[Array, "B G"]) -> Bool[Array, " B"]:
  """Returns True for problems whose rollouts did not all earn the same."""
  return jnp.max(rewards, axis=-1) > jnp.min(rewards, axis=-1)
