"""Thoughts as spans of token ids, found on the device.

A thought ends at a delimiter (see `boundaries`; here the newline token) or at
the last real token. The token that ends a completion belongs to the last
thought:

  tokens       a  nl  b  c  nl  end        length 6
  span         0  0   1  1  1   1
  thought_end     1             5          thought_count 2

Nothing is decoded to text and encoded again.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from reasoning_rl import masking
from reasoning_rl.data import boundaries


def thought_spans(
  tokens: Int[Array, "B L"],
  length: Int[Array, " B"],
  boundary: boundaries.Boundary,
  end_ids: tuple[int, ...],
  max_thoughts: int,
) -> tuple[Int[Array, "B T"], Int[Array, " B"]]:
  """Returns where each thought ends and how many there are.

  Args:
    tokens: Completions, right-padded.
    length: Real tokens; 0 gives no thought.
    boundary: What ends a thought, and belongs to it.
    end_ids: End a completion; directly after a boundary such a token joins the
      thought that ended there.
    max_thoughts: Static size T; when there are more thoughts, the last span
      covers the rest.

  Returns:
    The index of the last token of each thought, 0 past the last thought, and
    the number of thoughts.
  """
  position = jnp.arange(tokens.shape[1])[None]
  last = length[:, None] - 1
  is_delimiter = boundaries.ends(boundary, tokens) & (position < last)
  final_token = jnp.take_along_axis(tokens, jnp.maximum(last, 0), axis=1)
  ended = jnp.isin(final_token, jnp.asarray(end_ids))
  joins = ended & (position == last - 1)
  is_end = (is_delimiter & ~joins) | (position == last)
  ends_so_far = jnp.cumsum(is_end, axis=1, dtype=jnp.int32)
  count = jnp.minimum(ends_so_far[:, -1], max_thoughts)
  # The t-th end lies after exactly those positions that saw at most t ends.
  index = jnp.arange(max_thoughts)[None]
  thought_end = jnp.sum(
    ends_so_far[:, None, :] <= index[:, :, None], axis=-1, dtype=jnp.int32
  )
  thought_end = jnp.where(index == count[:, None] - 1, last, thought_end)
  thought_mask = masking.length_mask(count, max_thoughts)
  return jnp.where(thought_mask, thought_end, 0), count


def span_of_position(
  thought_end: Int[Array, "B T"],
  thought_count: Int[Array, " B"],
  length: Int[Array, " B"],
  size: int,
) -> Int[Array, "B L"]:
  """Returns the index of the thought that each of `size` positions is in.

  Positions past `length` get 0, a valid index: mask what is gathered there.
  """
  position = jnp.arange(size)[None]
  real = masking.length_mask(thought_count, thought_end.shape[1])
  before = real[:, None, :] & (thought_end[:, None, :] < position[:, :, None])
  span = jnp.sum(before, axis=-1, dtype=jnp.int32)
  span = jnp.minimum(span, jnp.maximum(thought_count[:, None] - 1, 0))
  return jnp.where(masking.length_mask(length, size), span, 0)


def at_thought_end(
  values: Shaped[Array, "B L *D"], thought_end: Int[Array, "B T"]
) -> Shaped[Array, "B T *D"]:
  """Returns the value at the last token of each thought."""
  return jax.vmap(lambda row, index: row[index])(values, thought_end)


def at_positions(
  thought_values: Shaped[Array, "B T"], span: Int[Array, "B L"]
) -> Shaped[Array, "B L"]:
  """Returns at each position the value of the thought that it is in."""
  return jnp.take_along_axis(thought_values, span, axis=1)
