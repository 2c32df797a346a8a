"""A network whose thoughts all have one length.

Whatever the network wrapped would say, every thought ends after `thought_size`
tokens and no solution ends: all searches decode the same number of tokens, with
parameters that nobody has trained.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from reasoning_rl.decoding import sampling
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer


@dataclasses.dataclass(frozen=True)
class FixedThoughts(network_lib.Network):
  """A `Network` that another one does the work of.

  Its hidden vectors are one number longer, which is 1 where the next token is
  the last of its thought.

  Attributes:
    network: The network wrapped; `config` is its own.
    thought_size: Tokens in a thought. Prompts must be a multiple of it long.
    thought_end_id: The last of them, which stands nowhere else.
    end_id: Never said.
  """

  network: network_lib.Network
  thought_size: int
  thought_end_id: int
  end_id: int

  def init(self, rng: Key[Array, ""]) -> network_lib.Params:
    """Returns the wrapped network's parameters; `rng` is consumed."""
    return self.network.init(rng)

  def apply(
    self,
    params: network_lib.Params,
    tokens: Int[Array, "R L"],
    positions: Int[Array, "R L"] | None = None,
    segments: tuple[attention_lib.Segment, ...] = (),
  ) -> tuple[Float[Array, "R L D"], attention_lib.KeysValues]:
    """Runs the trunk and notes where thoughts must end."""
    if positions is None:
      positions = transformer.default_positions(tokens)
    hidden, keys_values = self.network.apply(
      params, tokens, positions, segments
    )
    last = (positions + 2) % self.thought_size == 0
    last = last[..., None].astype(hidden.dtype)
    return jnp.concatenate([hidden, last], axis=-1), keys_values

  def logits(
    self, params: network_lib.Params, hidden: Float[Array, "*B D"]
  ) -> Float[Array, "*B V"]:
    """Returns the wrapped network's logits, with ends where they must be."""
    logits = self.network.logits(params, hidden[..., :-1])
    ids = jnp.arange(logits.shape[-1])
    ids = ids.reshape((1,) * (logits.ndim - 1) + ids.shape)
    is_end = ids == self.thought_end_id
    free = jnp.where(
      is_end | (ids == self.end_id), sampling.EXCLUDED_LOGIT, logits
    )
    forced = jnp.where(is_end, 0.0, sampling.EXCLUDED_LOGIT)
    return jnp.where(hidden[..., -1:] > 0, forced, free)

  def scalar(
    self, params: network_lib.Params, hidden: Float[Array, "*B D"], head: str
  ) -> Float[Array, " *B"]:
    """Returns what the wrapped network's head says."""
    return self.network.scalar(params, hidden[..., :-1], head)


def wrap(
  network: network_lib.Network,
  thought_size: int,
  thought_end_id: int,
  end_id: int,
) -> FixedThoughts:
  """Returns `network` with thoughts of `thought_size` tokens."""
  return FixedThoughts(
    network.config, network, thought_size, thought_end_id, end_id
  )
