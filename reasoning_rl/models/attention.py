"""Attention over segments of keys and values that rows may share.

A row attends to several segments at once: its problem's prompt (stored once per
problem), the thoughts above it in a search tree (once per leaf), and its own
tokens. The segments share one softmax, whose sums are taken segment by segment
over a common maximum m, so nothing is concatenated:

  softmax([s₁, s₂]) · [v₁; v₂] = (eˢ¹⁻ᵐ v₁ + eˢ²⁻ᵐ v₂) / (Σ eˢ¹⁻ᵐ + Σ eˢ²⁻ᵐ)

A segment that several rows share is never replicated: the rows become further
queries of one matrix product.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Finite, so that a wholly masked segment gets weight exactly 0 and no NaN
# reaches the gradient.
MASKED_SCORE = -1e30


@flax.struct.dataclass
class KeysValues:
  """Keys and values of some tokens, one entry per layer.

  Heads stand before positions: one row's product with its own keys is then one
  contiguous matrix, which XLA's CPU backend multiplies 13 times faster.

  Attributes:
    k: Rotated keys of each layer.
    v: Values of each layer.
  """

  k: tuple[Float[Array, "B J M K"], ...]
  v: tuple[Float[Array, "B J M K"], ...]


@flax.struct.dataclass
class Segment:
  """Keys and values that consecutive rows share, and who may see what.

  With `R` rows of queries and `B` rows of keys, row r reads keys r // (R / B).

  Attributes:
    keys_values: What is attended to.
    mask: True where a query may attend: axis 1 is the row within those that
      share, axis 2 the query position; either may be 1 and is then broadcast.
  """

  keys_values: KeysValues
  mask: Bool[Array, "B G L M"]


def rotate(
  x: Float[Array, "B L H K"],
  positions: Int[Array, "B L"],
  base: float,
) -> Float[Array, "B L H K"]:
  """Applies rotary position embedding (arXiv:2104.09864), halves convention."""
  half = x.shape[-1] // 2
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = (
    positions[..., None, None].astype(jnp.float32)
    * frequency[None, None, None, :]
  )
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  first, second = x[..., :half], x[..., half:]
  rotated = jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
  return rotated.astype(x.dtype)


def attend(
  q: Float[Array, "R L H K"],
  segments: tuple[tuple[Array, Array, Array], ...],
) -> Float[Array, "R L H K"]:
  """Attends to all `segments` at once.

  Args:
    q: Queries of every row.
    segments: (keys [B, J, M, K], values, mask [B, G, L, M]) of each; `B` may
      differ between segments and divides the number of rows.

  Returns:
    The attended values. Every query must see at least one position.
  """
  scores = [_scores(q, k, mask) for k, _, mask in segments]
  highest = _by_row(scores[0].max(axis=-1), q)
  for part in scores[1:]:
    highest = jnp.maximum(highest, _by_row(part.max(axis=-1), q))
  highest = jax.lax.stop_gradient(highest)
  output, total = 0.0, 0.0
  for part, (_, v, _) in zip(scores, segments, strict=True):
    owners, kv_heads, share, length, queries, _ = part.shape
    shift = highest.reshape(owners, share, length, kv_heads, queries)
    weights = jnp.exp(part - shift.transpose(0, 3, 1, 2, 4)[..., None])
    total = total + _by_row(weights.sum(axis=-1), q)
    # In the order in which it is multiplied: turning the weights around costs
    # more than turning the result.
    attended = jnp.einsum("BJGLHM,BJMK->BJGLHK", weights.astype(v.dtype), v)
    output = output + attended.transpose(0, 2, 3, 1, 4, 5).reshape(q.shape)
  return (output / total[..., None]).astype(q.dtype)


def _scores(
  q: Float[Array, "R L H K"],
  k: Float[Array, "B J M K"],
  mask: Bool[Array, "B _ _ M"],
) -> Float[Array, "B J G L _ M"]:
  """Returns the scaled scores of each owner's rows, hidden ones lowest."""
  rows, length, heads, head_size = q.shape
  owners, kv_heads, _, _ = k.shape
  share, queries = rows // owners, heads // kv_heads
  q = q.reshape(owners, share, length, kv_heads, queries, head_size)
  wide = dict(preferred_element_type=jnp.float32)
  # XLA's CPU backend rearranges the second operand: let it be the smaller.
  if share * length * queries < k.shape[2]:
    scores = jnp.einsum("BJMK,BGLJHK->BJMGLH", k, q, **wide)
    scores = jnp.moveaxis(scores, 2, -1)
  else:
    scores = jnp.einsum("BGLJHK,BJMK->BJGLHM", q, k, **wide)
  visible = mask[:, None, :, :, None, :]
  return jnp.where(visible, scores * head_size**-0.5, MASKED_SCORE)


def _by_row(
  x: Float[Array, "B J G L _"], q: Float[Array, "R L H K"]
) -> Float[Array, "R L H"]:
  """Brings a number per query from the owners' layout to the rows'."""
  return x.transpose(0, 2, 3, 1, 4).reshape(q.shape[:-1])
