"""How sure a policy was of its thoughts, for a thought head that reads it.

A language model is less sure of a step that it gets wrong ("Language Models
(Mostly) Know What They Know", arXiv:2207.05221), and between solutions of one
problem this tells more than what the trunk has to say at their ends. Where the
PRM is a head on the policy, the log-probabilities are there already: they were
computed to sample the thought.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl.models import network as network_lib


def reads(network: network_lib.Network) -> bool:
  """Returns whether the network's thought head reads confidence."""
  return "confidence" in network.config.heads


def of_thoughts(
  logprobs: Float[Array, "R L"],
  before: Int[Array, " R"],
  end: Int[Array, "R T"],
) -> Float[Array, "R T 2"]:
  """Returns the mean and the least log-probability of each thought's tokens.

  Args:
    logprobs: Of each token under the policy.
    before: Position of the last token before the first thought; -1 if none is.
    end: Position of each thought's last token. One that does not come after
      that of the thought before it has no tokens; its numbers are 0.
  """
  begin = jnp.concatenate([before[:, None], end[:, :-1]], axis=1)
  position = jnp.arange(logprobs.shape[1])[None, None]
  inside = (position > begin[..., None]) & (position <= end[..., None])
  each = jnp.where(inside, logprobs[:, None], 0.0)
  mean = each.sum(axis=-1) / jnp.maximum(inside.sum(axis=-1), 1)
  return jnp.stack([mean, each.min(axis=-1)], axis=-1)


def joined(
  hidden: Float[Array, "*B D"], numbers: Float[Array, "*B 2"]
) -> Float[Array, "*B _"]:
  """Returns what a thought head reads of thoughts."""
  return jnp.concatenate([hidden, numbers.astype(hidden.dtype)], axis=-1)
