"""The keys and values of the tokens that rows are decoding.

Where sequences move from row to row at every token (see `distinct`), moving
their caches along would read and write all of them each time. So a problem's
rows attend to all that they have made together, and it is the mask that moves:
a row sees what its sequence has left behind, in whichever row that was. Each
query then passes over all rows' tokens, which pays while they are few.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from reasoning_rl.models import attention as attention_lib

# Most tokens that a row looks through for its own. At 26 M parameters on a CPU
# moving the caches costs as much as looking through about so many.
MAX_SHARED = 512


@flax.struct.dataclass
class OwnCache:
  """What `R` rows have made, kept by `B` owners: each row, or each problem.

  Attributes:
    keys_values: [B, J, C · R / B, K], of each position the owner's rows.
    holders: Which of its owner's rows holds each token of the sequence that is
      now in the row.
  """

  keys_values: attention_lib.KeysValues
  holders: Int[Array, "R C"]

  @property
  def share(self) -> int:
    """Rows per owner."""
    return self.holders.shape[0] // self.keys_values.k[0].shape[0]


def start(
  empty: attention_lib.KeysValues, max_tokens: int, problems: int | None
) -> OwnCache:
  """Returns the cache of rows without a token.

  Args:
    empty: Keys and values [R, J, 0, K] of no token.
    max_tokens: Most tokens in a row, C.
    problems: Problems that the rows belong to, if sequences move between those
      of one problem.
  """
  rows = empty.k[0].shape[0]
  share = rows // problems if problems else 1
  if share * max_tokens > MAX_SHARED:
    share = 1
  kept = lambda x: jnp.zeros(
    (rows // share, x.shape[1], share * max_tokens, x.shape[3]), x.dtype
  )
  holders = jnp.zeros((rows, max_tokens), jnp.int32)
  return OwnCache(jax.tree.map(kept, empty), holders)


def segment(
  own: OwnCache, index: Int[Array, ""], first: Int[Array, " R"]
) -> attention_lib.Segment:
  """Returns the first `index` tokens of each row's sequence as a segment.

  Args:
    own: The cache.
    index: Tokens that are there.
    first: Position of each row's first token. It is the same in all rows
      between which sequences move.
  """
  share, (rows, size) = own.share, own.holders.shape
  said = (jnp.arange(size) < index)[None, :, None]
  held = own.holders[..., None] == jnp.arange(share)[None, None]
  mask = (held & said).reshape(rows // share, share, 1, size * share)
  # Slot after slot, of each position the owner's rows.
  positions = first.reshape(-1, 1, share) + jnp.arange(size)[None, :, None]
  return attention_lib.Segment(
    own.keys_values, mask, positions.reshape(rows // share, size * share)
  )


def move(own: OwnCache, source: Int[Array, " R"]) -> OwnCache:
  """Returns the cache once each row holds what row `source` has held."""
  moved = own.replace(holders=own.holders[source])
  if own.share > 1:
    return moved
  keys_values = jax.tree.map(lambda x: x[source], own.keys_values)
  return moved.replace(keys_values=keys_values)


def append(
  own: OwnCache, index: Int[Array, ""], new: attention_lib.KeysValues
) -> OwnCache:
  """Returns the cache with token `index` of every row.

  Args:
    own: The cache.
    index: Tokens that are there.
    new: Keys and values [R, J, 1, K] of the next.
  """
  share, rows = own.share, own.holders.shape[0]

  def put(kept, new):
    owners, heads, _, head_size = kept.shape
    new = new.reshape(owners, share, heads, head_size).swapaxes(1, 2)
    return jax.lax.dynamic_update_slice(kept, new, (0, 0, index * share, 0))

  here = (jnp.arange(rows, dtype=jnp.int32) % share)[:, None]
  return OwnCache(
    jax.tree.map(put, own.keys_values, new),
    jax.lax.dynamic_update_slice(own.holders, here, (0, index)),
  )


def of_rows(own: OwnCache) -> attention_lib.KeysValues:
  """Returns the keys and values [R, J, C, K] of each row's sequence."""
  share, (rows, size) = own.share, own.holders.shape
  if share == 1:
    return own.keys_values
  slots = jnp.arange(size)[None] * share + own.holders
  slots = slots.reshape(rows // share, 1, share * size, 1)

  def collect(kept):
    heads, head_size = kept.shape[1], kept.shape[3]
    found = jnp.take_along_axis(kept, slots, axis=2)
    found = found.reshape(-1, heads, share, size, head_size).swapaxes(1, 2)
    return found.reshape(rows, heads, size, head_size)

  return jax.tree.map(collect, own.keys_values)
