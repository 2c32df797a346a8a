"""A search put on disk between two passes, and taken up again bit for bit.

A tree or a frontier is a pytree, so it is a checkpoint like any other. A search
goes on as if it had never stopped where it is given the same parameters, rng
and rules: `about` is there to say what they were. Random numbers derive from
the rng, the problem and what it has drawn so far, all of which are kept here or
given again. A folder keeps the last two states saved in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from reasoning_rl.training import checkpoint as checkpoint_lib

_KIND = "search state"


def save(
  state: PyTree,
  path: str | os.PathLike[str],
  about: Mapping[str, Any] | None = None,
) -> None:
  """Saves a search state and returns when it is on disk.

  Args:
    state: A `Tree`, a `FrontierState` or any pytree of arrays around one.
    path: A folder of this search's own; an earlier state in it stays as the one
      before.
    about: What the state does not hold and the search depends on: rules, seed,
      weights. Anything JSON can hold; `restore` compares it.

  Raises:
    CheckpointError: If it cannot be written; earlier states are untouched.
  """
  last = checkpoint_lib.latest_step(path)
  checkpoint_lib.save(
    path,
    0 if last is None else last + 1,
    _filled(state),
    {"kind": _KIND, "about": dict(about or {})},
  )


def restore(
  path: str | os.PathLike[str],
  like: PyTree,
  about: Mapping[str, Any] | None = None,
) -> PyTree:
  """Returns the state that was saved last, on the devices of `like`.

  Args:
    path: What `save` was given.
    like: A state of the same shapes, such as one just planted or what
      `jax.eval_shape` says of planting; its contents are not looked at.
    about: What the search depends on now; None does not compare.

  Raises:
    CheckpointError: If there is no state at `path`, if it is damaged, if it is
      of other shapes or if it was saved about something else.
  """
  metadata = checkpoint_lib.restore_metadata(path)
  if metadata.get("kind") != _KIND:
    raise checkpoint_lib.CheckpointError(
      f"{path} holds checkpoints, but not of a search: name the folder that a"
      " search was saved in."
    )
  _compare_about(path, metadata["about"], about)
  wanted = jax.tree.map(_abstract, _filled(like))
  found = iter(jax.tree.leaves(checkpoint_lib.restore(path, wanted)))
  return jax.tree.map(
    lambda leaf: next(found) if leaf.size else _empty(leaf), like
  )


def _compare_about(path, saved, now) -> None:
  """Raises at the first thing that the search depends on and that differs."""
  # As JSON brings it back: tuples are lists there.
  now = json.loads(json.dumps(now))
  for name in sorted(saved.keys() | now.keys()) if now is not None else ():
    if name not in saved or name not in now or saved[name] != now[name]:
      was, this = saved.get(name, "absent"), now.get(name, "absent")
      raise checkpoint_lib.CheckpointError(
        f"The search in {path} was saved with {name} {was!r}, now it is"
        f" {this!r}: continue it as it began, or start another one."
      )


def _filled(tree: PyTree) -> PyTree:
  """Returns the tree without its empty arrays, which Orbax does not store."""
  return jax.tree.map(lambda leaf: leaf if leaf.size else None, tree)


def _empty(leaf):
  return jax.numpy.zeros(leaf.shape, leaf.dtype)


def _abstract(leaf) -> jax.ShapeDtypeStruct:
  """Returns the shape, type and place of what is to be restored."""
  sharding = getattr(leaf, "sharding", None)
  if sharding is None or isinstance(leaf, np.ndarray):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
