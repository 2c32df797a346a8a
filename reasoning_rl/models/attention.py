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

import dataclasses
import math

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
    positions: Position of each key in its sequence; where `B` is 1, in every
      row's. Only layers that slide read them, and can't do without.
  """

  keys_values: KeysValues
  mask: Bool[Array, "B G L M"]
  positions: Int[Array, "B M"] | None = None


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """How rotary frequencies are changed for a context longer than trained on.

  Attributes:
    kind: "linear": all are divided by `factor` (arXiv:2306.15595). "llama3":
      slow ones are, fast ones stay, and those between are interpolated (The
      Llama 3 Herd of Models, arXiv:2407.21783, section 3.4.2, as published
      with Llama 3.1).
    factor: How much slower the slowest turn.
    low_frequency_factor: Wavelengths above `original_positions` divided by
      this are slow.
    high_frequency_factor: Those below `original_positions` divided by this
      are fast.
    original_positions: Context length before.
  """

  kind: str
  factor: float
  low_frequency_factor: float = 1.0
  high_frequency_factor: float = 4.0
  original_positions: int = 8192

  def __post_init__(self):
    """Refuses values that cannot work."""
    if self.kind not in ("linear", "llama3"):
      raise ValueError(f"kind is {self.kind!r}; use 'linear' or 'llama3'.")
    if not self.factor > 0:
      raise ValueError(f"factor is {self.factor}; it must be positive.")
    if not 0 < self.low_frequency_factor < self.high_frequency_factor:
      raise ValueError(
        f"low_frequency_factor {self.low_frequency_factor} must be positive"
        f" and below high_frequency_factor {self.high_frequency_factor}."
      )
    if self.original_positions < 1:
      raise ValueError("original_positions must be at least 1.")


def _scaled(
  frequency: Float[Array, " K"], scaling: RopeScaling
) -> Float[Array, " K"]:
  """Returns rotary frequencies as `scaling` changes them."""
  slow = frequency / scaling.factor
  if scaling.kind == "linear":
    return slow
  turns = scaling.original_positions * frequency / (2 * math.pi)
  low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
  fast_share = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
  return fast_share * frequency + (1 - fast_share) * slow


def rotate(
  x: Float[Array, "B L H K"],
  positions: Int[Array, "B L"],
  base: float,
  scaling: RopeScaling | None = None,
) -> Float[Array, "B L H K"]:
  """Applies rotary position embedding (arXiv:2104.09864), halves convention."""
  half = x.shape[-1] // 2
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  if scaling is not None:
    frequency = _scaled(frequency, scaling)
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


def within_window(
  segments: tuple[Segment, ...], positions: Int[Array, "R L"], window: int
) -> tuple[Segment, ...]:
  """Returns `segments` in which a query sees `window` positions at most.

  Its own is the last of them.

  Args:
    segments: What comes before the queries.
    positions: Of the queries, in their sequences.
    window: Positions in sight.
  """
  narrowed = []
  for segment in segments:
    if segment.positions is None:
      raise ValueError("a layer that slides needs its segments' positions.")
    owners = segment.mask.shape[0]
    query = positions.reshape(owners, -1, positions.shape[1])[..., None]
    near = query - segment.positions[:, None, None] < window
    narrowed.append(segment.replace(mask=segment.mask & near))
  return tuple(narrowed)


def attend(
  q: Float[Array, "R L H K"],
  segments: tuple[tuple[Array, Array, Array], ...],
  scale: float | None = None,
) -> Float[Array, "R L H K"]:
  """Attends to all `segments` at once.

  Args:
    q: Queries of every row.
    segments: (keys [B, J, M, K], values, mask [B, G, L, M]) of each; `B` may
      differ between segments and divides the number of rows.
    scale: Of the scores; 1 / √K by default.

  Returns:
    The attended values. Every query must see at least one position.
  """
  scale = q.shape[-1] ** -0.5 if scale is None else scale
  scores = [_scores(q, k, mask, scale) for k, _, mask in segments]
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
    attended = jnp.einsum(
      "BJGLHM,BJMK->BJGLHK",
      weights.astype(v.dtype),
      v,
      preferred_element_type=jnp.float32,
    )
    output = output + attended.transpose(0, 2, 3, 1, 4, 5).reshape(q.shape)
  return (output / total[..., None]).astype(q.dtype)


def _scores(
  q: Float[Array, "R L H K"],
  k: Float[Array, "B J M K"],
  mask: Bool[Array, "B _ _ M"],
  scale: float,
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
  return jnp.where(visible, scores * scale, MASKED_SCORE)


def _by_row(
  x: Float[Array, "B J G L _"], q: Float[Array, "R L H K"]
) -> Float[Array, "R L H"]:
  """Brings a number per query from the owners' layout to the rows'."""
  return x.transpose(0, 2, 3, 1, 4).reshape(q.shape[:-1])
