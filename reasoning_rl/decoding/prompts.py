"""Prompts read once: what all of them begin with, once for all rows.

Worked examples and instructions are the same in every prompt of a task, and are
most of it. Their keys and values do not depend on what follows, so one row of
them serves all others: in sampling, in scoring, and in learning, where the
gradient of that row is the sum over all that read it.

`shared` is how many tokens these are. All rows of a call must begin with the
same ones and go on after them; the caller has compared them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib

Segments = tuple[attention_lib.Segment, ...]


def read_shared(
  network: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B _"],
  shared: int,
) -> tuple[Segments, Float[Array, "1 D"] | None]:
  """Reads the tokens that all rows begin with.

  Returns:
    A segment with one owner, and the trunk's output at its last token; () and
    None if nothing is shared.
  """
  if not shared:
    return (), None
  hidden, keys_values = network.apply(params, tokens[:1, :shared])
  mask = jnp.ones((1, 1, 1, shared), bool)
  segment = attention_lib.Segment(keys_values, mask, jnp.arange(shared)[None])
  return (segment,), hidden[:, -1]


def read_own(
  network: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B _"],
  shared: int,
  before: Segments,
) -> tuple[Float[Array, "B _ D"], attention_lib.KeysValues]:
  """Reads what follows the shared tokens, `before`, in each row."""
  if not shared:
    return network.apply(params, tokens)
  own = tokens[:, shared:]
  positions = jnp.arange(shared, tokens.shape[1])[None]
  positions = jnp.broadcast_to(positions, own.shape)
  return network.apply(params, own, positions, before)


def read(
  network: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  shared: int = 0,
) -> tuple[Segments, Float[Array, "B D"]]:
  """Reads the prompts.

  Returns:
    The segments that what follows attends to, the shared one last; and the
    trunk's output at each prompt's last token.
  """
  before, _ = read_shared(network, params, prompt, shared)
  hidden, keys_values = read_own(network, params, prompt, shared, before)
  own = decode_lib.prompt_segment(keys_values, prompt_length - shared, shared)
  rows = jnp.arange(prompt.shape[0])
  return (own, *before), hidden[rows, prompt_length - shared - 1]


def read_whole(
  network: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  shared: int = 0,
) -> tuple[attention_lib.KeysValues, Float[Array, "B D"]]:
  """Reads the prompts as `read`, for who must have each one's in one piece."""
  (own, *before), hidden = read(network, params, prompt, prompt_length, shared)
  keys_values = own.keys_values
  for segment in before:
    keys_values = jax.tree.map(_in_front, segment.keys_values, keys_values)
  return keys_values, hidden


def _in_front(
  one: Float[Array, "1 J _ K"], each: Float[Array, "B J _ K"]
) -> Float[Array, "B J _ K"]:
  """Returns each row with the one row in front of it."""
  first = jnp.broadcast_to(one, (each.shape[0], *one.shape[1:]))
  return jnp.concatenate([first, each], axis=2)
