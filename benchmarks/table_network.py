"""A network whose every output is looked up in a table: exact in any layout.

Each token adds an integer to a sum over all that comes before, read through the
same segments and masks as attention reads. The sum modulo the table's size says
which row of the table holds the logits and the score. Integers this small are
exact in float32, whatever the order of summation, so two searches that differ
only in how they batch, cache and gather agree on every number; and a prefix
whose cache is wrong in one place leads to another row.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer

ROWS = 4093  # Of the table; a prime. 2 · ROWS · 256 positions < 2²⁴.


@dataclasses.dataclass(frozen=True)
class TableNetwork(network_lib.Network):
  """A `Network` without arithmetic; its parameters are its tables."""

  def init(self, rng: Key[Array, ""]) -> network_lib.Params:
    """Returns random tables; `rng` is consumed."""
    rngs = jax.random.split(rng, 4)
    vocab_size = self.config.vocab_size
    number = lambda key: jax.random.randint(key, (vocab_size,), 1, ROWS)
    return {
      "keys": number(rngs[0]),
      "values": number(rngs[1]),
      "logits": 1.5 * jax.random.normal(rngs[2], (ROWS, vocab_size)),
      "scores": 2.0 * jax.random.normal(rngs[3], (ROWS,)),
    }

  def apply(
    self,
    params: network_lib.Params,
    tokens: Int[Array, "R L"],
    positions: Int[Array, "R L"] | None = None,
    segments: tuple[attention_lib.Segment, ...] = (),
  ) -> tuple[Float[Array, "R L 1"], attention_lib.KeysValues]:
    """Returns each position's row of the table, and the tokens' numbers."""
    if positions is None:
      positions = transformer.default_positions(tokens)
    # A key tells where its token stands, a value does not.
    k = params["keys"][tokens] * (positions + 1) % ROWS
    v = params["values"][tokens]
    total = jnp.cumsum((k + v).astype(jnp.float32), axis=1)
    for segment in segments:
      total += _visible_sum(segment, total.shape)
    as_cache = lambda x: (x.astype(jnp.float32)[:, None, :, None],)
    keys_values = attention_lib.KeysValues(as_cache(k), as_cache(v))
    return (total % ROWS)[..., None], keys_values

  def logits(
    self, params: network_lib.Params, hidden: Float[Array, "*B 1"]
  ) -> Float[Array, "*B V"]:
    """Returns the row's logits."""
    return params["logits"][hidden[..., 0].astype(jnp.int32)]

  def scalar(
    self, params: network_lib.Params, hidden: Float[Array, "*B 1"], head: str
  ) -> Float[Array, " *B"]:
    """Returns the row's score, whatever the head."""
    del head
    return params["scores"][hidden[..., 0].astype(jnp.int32)]


def make(vocab_size: int, *heads: str) -> TableNetwork:
  """Returns a table network with caches of one number per token."""
  return TableNetwork(
    transformer.NetworkConfig(
      vocab_size=vocab_size,
      num_layers=1,
      num_heads=1,
      num_kv_heads=1,
      head_size=1,
      heads=heads,
    )
  )


def _visible_sum(segment, shape) -> Float[Array, "R L"]:
  """Sums what each query sees of a segment that `R / B` rows share."""
  rows, length = shape
  cache = segment.keys_values
  numbers = (cache.k[0] + cache.v[0])[:, 0, :, 0]
  seen = jnp.where(segment.mask, numbers[:, None, None], 0.0).sum(axis=-1)
  owners = seen.shape[0]
  seen = jnp.broadcast_to(seen, (owners, rows // owners, length))
  return seen.reshape(rows, length)
