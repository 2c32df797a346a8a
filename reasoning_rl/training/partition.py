"""Parameters that learn apart from those that stay, the base.

Where adapters learn, gradients, moments, donated buffers and checkpoints are of
the adapters alone: both parts are trees of their own, with the paths that their
leaves have in the whole. The base is an argument of every step, never copied
and never saved; a checkpoint names it by its fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt

from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib


def split(
  params: Mapping[str, Any], trainable: optimizer_lib.Trainable
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the parameters that learn, and the others, as nested dicts.

  Args:
    params: Nested dicts of arrays.
    trainable: A regular expression that must match a leaf's whole path, or a
      function of that path.

  Raises:
    ValueError: If none learns.
  """
  mask = optimizer_lib.trainable_mask(params, trainable)
  return _select(params, mask, True), _select(params, mask, False)


def join(trained: Mapping[str, Any], frozen: Mapping[str, Any]) -> PyTree:
  """Returns the whole of two parts, without copying an array."""
  both = dict(frozen)
  for name, value in trained.items():
    if name not in both:
      both[name] = value
    elif isinstance(value, Mapping) and isinstance(both[name], Mapping):
      both[name] = join(value, both[name])
    else:
      raise ValueError(f'Parameter "{name}" is in both parts.')
  return both


def fingerprint(params: PyTree) -> str:
  """Returns 16 hexadecimal digits that name parameters, bit for bit.

  Every leaf is summed up where it lies, in integers, so that neither sharding
  nor the number of processes matters. It tells models apart; it is no defence
  against someone who forges one.
  """
  digest = hashlib.sha256()
  for path, leaf in jax.tree.leaves_with_path(params):
    sums = [int(x) for x in jax.device_get(_checksum(leaf))]
    name = sharding_lib.path_name(path)
    digest.update(f"{name} {leaf.dtype} {leaf.shape} {sums}\n".encode())
  return digest.hexdigest()[:16]


def _select(params, mask, wanted) -> dict[str, Any]:
  """Returns the leaves whose mask is `wanted`, without empty dicts."""
  chosen = {}
  for name, value in params.items():
    if isinstance(value, Mapping):
      if part := _select(value, mask[name], wanted):
        chosen[name] = part
    elif mask[name] == wanted:
      chosen[name] = value
  return chosen


@jax.jit
def _checksum(leaf: Array) -> UInt[Array, "2"]:
  """Returns two sums of an array's bits, each mixed with its place."""
  bits = jnp.ravel(leaf)
  if not jnp.issubdtype(bits.dtype, jnp.integer):
    width = 8 * bits.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(bits, f"uint{width}")
  bits = bits.astype(jnp.uint32)
  place = jax.lax.iota(jnp.uint32, bits.size)
  # The finalizer of MurmurHash3: every bit of the sum hangs on all of them.
  mixed = bits + place * jnp.uint32(0x9E3779B1)
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
    mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
  # Unsigned sums wrap around, whatever their order.
  both = (mixed, mixed * (2 * place + 1))
  return jnp.stack([jnp.sum(x, dtype=jnp.uint32) for x in both])
