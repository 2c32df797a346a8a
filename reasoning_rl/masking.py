"""The one home of masks and of means that respect them."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def length_mask(length: Int[Array, " *B"], size: int) -> Bool[Array, "*B L"]:
  """Returns True at the first `length` of `size` positions."""
  length = jnp.asarray(length)[..., None]
  position = jnp.arange(size).reshape((1,) * (length.ndim - 1) + (size,))
  return position < length


def causal_mask(size: int) -> Bool[Array, "L L"]:
  """Returns True where the key position (axis 1) is not after the query's."""
  return jnp.tril(jnp.ones((size, size), bool))


def masked_mean(
  x: Float[Array, "*B"],
  mask: Bool[Array, "*B"],
  axis: int | tuple[int, ...] | None = None,
) -> Float[Array, "..."]:
  """Returns the mean of `x` where `mask` is True, and 0 where nothing is.

  `x` may hold anything, NaN included, where the mask is False.
  """
  total = jnp.sum(jnp.where(mask, x, 0.0), axis=axis)
  count = jnp.sum(mask, axis=axis)
  return total / jnp.maximum(count, 1)
