"""Functions of a large vocabulary's logits, a few positions at a time.

Logits in float32 are by far the largest buffer of a language model's loss: 49 k
words at 4 x 512 positions are 400 MB, and their gradient as much again. Where
that matters, positions are taken in chunks, and the backward pass computes a
chunk's logits again instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

# Logits that are made at once where there are more: 256 MiB in float32.
MAX_LOGITS = 1 << 26


def by_position(
  fn: Callable[..., PyTree],
  hidden: Float[Array, "R L D"],
  *others: Shaped[Array, "R L"],
  vocab_size: int,
  max_logits: int | None = None,
) -> PyTree:
  """Returns `fn(hidden, *others)`, in chunks if its logits are many.

  Rows stay whole, for they may lie on different devices.

  Args:
    fn: What treats all positions alike: it returns arrays [R, L, ...].
    hidden: Hidden vectors.
    *others: Further arguments, by row and position.
    vocab_size: Logits of one position.
    max_logits: Most logits to be made at once; `MAX_LOGITS` when None.
  """
  if max_logits is None:
    max_logits = MAX_LOGITS
  rows, length, _ = hidden.shape
  count = -(-rows * length * vocab_size // max_logits)
  if count <= 1:
    return fn(hidden, *others)
  count = min(count, length)
  size = -(-length // count)
  count = -(-length // size)
  padding = count * size - length

  def cut(x):
    x = jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))
    return x.reshape(rows, count, size, *x.shape[2:]).swapaxes(0, 1)

  def paste(x):
    x = x.swapaxes(0, 1).reshape(rows, count * size, *x.shape[3:])
    return x[:, :length]

  chunk = jax.checkpoint(lambda args: fn(*args), prevent_cse=False)
  found = jax.lax.map(chunk, jax.tree.map(cut, (hidden, *others)))
  return jax.tree.map(paste, found)
