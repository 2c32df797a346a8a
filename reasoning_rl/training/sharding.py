"""Where arrays live: the device mesh and the rules that place parameters.

A rule is a regular expression on a leaf's path ("layers_0/mlp/up/kernel") and
the `PartitionSpec` of the leaves it matches in full. Each leaf must match
exactly one rule: a leaf that none matches would be replicated in silence, and
one that two match would depend on their order.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)
from jaxtyping import PyTree

Rules = tuple[tuple[str, PartitionSpec], ...]

# An abstract mesh says where things would live, without the devices.
AnyMesh = Mesh | AbstractMesh

AXES = ("data", "fsdp", "tensor")

# The transformer's parameters: `fsdp` splits D, `tensor` splits heads, F and V.
# Vectors are replicated: splitting them would save nothing worth a gather.
DEFAULT_RULES: Rules = (
  (r"(.*/)?token_embedding/embedding", PartitionSpec("tensor", "fsdp")),
  (r"(.*/)?attention/[qkv]/kernel", PartitionSpec("fsdp", "tensor", None)),
  (r"(.*/)?attention/[qkv]/bias", PartitionSpec("tensor", None)),
  (r"(.*/)?attention/out/kernel", PartitionSpec("tensor", None, "fsdp")),
  # Adapters are split as their kernels, but for the rank, which is small.
  (r"(.*/)?attention/[qkv]/lora_b", PartitionSpec(None, "tensor", None)),
  (r"(.*/)?attention/out/lora_a", PartitionSpec("tensor", None, None)),
  (r"(.*/)?(attention/[qkv]|mlp/(gate|up))/lora_a", PartitionSpec("fsdp")),
  (r"(.*/)?(attention/out|mlp/down)/lora_b", PartitionSpec(None, "fsdp")),
  (r"(.*/)?mlp/(gate|up)/lora_b", PartitionSpec(None, "tensor")),
  (r"(.*/)?mlp/down/lora_a", PartitionSpec("tensor")),
  (r"(.*/)?mlp/(gate|up)/kernel", PartitionSpec("fsdp", "tensor")),
  (r"(.*/)?mlp/down/kernel", PartitionSpec("tensor", "fsdp")),
  (r"(.*/)?\w*norm/scale", PartitionSpec()),
  (r"(.*/)?language_head/kernel", PartitionSpec("fsdp", "tensor")),
  # It may read more than D numbers, which `fsdp` need not divide.
  (r"(.*/)?thought_head/hidden/kernel", PartitionSpec(None, "tensor")),
  (
    r"(.*/)?(value|outcome)_head/hidden/kernel",
    PartitionSpec("fsdp", "tensor"),
  ),
  (r"(.*/)?\w+_head/output/kernel", PartitionSpec("tensor", None)),
  (r"(.*/)?\w+_head/(hidden|output)/bias", PartitionSpec()),
  (r"(.*/)?thought_head/(centers|spreads)", PartitionSpec()),
  (r"(.*/)?implicit_head/(scale|bias)", PartitionSpec()),
)


def make_mesh(
  data: int = -1,
  fsdp: int = 1,
  tensor: int = 1,
  devices: Sequence[Any] | None = None,
) -> Mesh:
  """Returns a mesh with the axes `data`, `fsdp` and `tensor`.

  Args:
    data: Devices that hold different rows; -1 takes all that are left.
    fsdp: Devices that share rows' work and also split the parameters.
    tensor: Devices that split each matrix multiplication.
    devices: The devices to use; all of them when None.
  """
  count = len(jax.devices() if devices is None else devices)
  if data == -1:
    data = max(count // (fsdp * tensor), 1)
  shape = (data, fsdp, tensor)
  if min(shape) < 1 or math.prod(shape) != count:
    raise ValueError(
      f"A mesh of data={data}, fsdp={fsdp}, tensor={tensor} needs"
      f" {math.prod(shape)} devices and there are {count}: choose sizes whose"
      " product is the number of devices, or data=-1."
    )
  # Under Explicit axes, the default, a Linen module raises.
  axis_types = (AxisType.Auto,) * len(AXES)
  return jax.make_mesh(shape, AXES, axis_types=axis_types, devices=devices)


def path_name(path: Sequence[Any]) -> str:
  """Returns a key path as text: "layers_0/mlp/up/kernel"."""
  return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def leaf_names(tree: PyTree) -> list[str]:
  """Returns the path of every leaf, in the order of `jax.tree.leaves`."""
  return [path_name(path) for path, _ in jax.tree.leaves_with_path(tree)]


def param_shardings(
  params_shapes: PyTree, rules: Rules, mesh: AnyMesh
) -> PyTree[NamedSharding]:
  """Returns the sharding of each parameter.

  Args:
    params_shapes: Parameters, or their shapes from `jax.eval_shape`.
    rules: Path rules; each leaf must match exactly one.
    mesh: The mesh whose axes the rules name.

  Raises:
    ValueError: If a leaf matches no rule or several, or if an axis of the mesh
      does not divide the dimension it is to split.
  """

  def place(path, leaf) -> NamedSharding:
    name = path_name(path)
    spec = _matching_spec(name, rules)
    _check_divides(name, tuple(leaf.shape), spec, mesh)
    return NamedSharding(mesh, spec)

  return jax.tree.map_with_path(place, params_shapes)


def optimizer_shardings(
  optimizer: optax.GradientTransformation,
  params_shapes: PyTree,
  shardings: PyTree[NamedSharding],
  mesh: AnyMesh,
) -> PyTree[NamedSharding]:
  """Returns the sharding of the optimizer's state.

  Moments lie where their parameters do; counters are replicated. (Left to
  itself, `jax.jit(optimizer.init)` replicates everything.)
  """
  masked = optax.MaskedNode

  def like_param(leaf, sharding):
    return leaf if isinstance(leaf, masked) else sharding

  return optax.tree_utils.tree_map_params(
    optimizer,
    like_param,
    jax.eval_shape(optimizer.init, params_shapes),
    shardings,
    transform_non_params=lambda _: replicated(mesh),
    is_leaf=lambda leaf: isinstance(leaf, masked),
  )


def replicated(mesh: AnyMesh) -> NamedSharding:
  """Returns the sharding of an array every device holds in full."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: AnyMesh, axis: int = 0) -> NamedSharding:
  """Returns the sharding that splits rows, axis `axis`, over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(*(None,) * axis, ("data", "fsdp")))


def shard_batch(batch: PyTree, mesh: AnyMesh, axis: int = 0) -> PyTree:
  """Places a host batch on the mesh, its rows split over data and fsdp.

  Args:
    batch: Arrays with rows on axis `axis`. With several processes, each passes
      the rows that it has read itself.
    mesh: The mesh.
    axis: The axis of the rows: 0, or 1 where batches are stacked.
  """
  sharding = batch_sharding(mesh, axis)
  shards = num_shards(mesh) // jax.process_count()

  def place(path, leaf) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
      return leaf
    leaf = np.asarray(leaf)
    if leaf.ndim <= axis or leaf.shape[axis] % max(shards, 1):
      raise ValueError(
        f'Batch leaf "{path_name(path)}" of shape {leaf.shape} cannot be split'
        f" over {shards} local shards along axis {axis}: make the batch size a"
        " multiple of data x fsdp."
      )
    return jax.make_array_from_process_local_data(sharding, leaf)

  return jax.tree.map_with_path(place, batch)


def map_problems(
  fn: Callable[..., PyTree],
  mesh: Mesh,
  num_shared: int,
  donate_argnums: tuple[int, ...] = (),
  static_argnames: tuple[str, ...] = (),
) -> Callable[..., PyTree]:
  """Returns `fn` jitted, its problems split over the devices.

  Every device works on its own problems and waits for no other: a loop inside
  `fn` ends on each device when its own rows do.

  Args:
    fn: `fn(*shared, *by_problem)`, whose result is a tree of arrays. All
      arrays of `by_problem` and of the result begin with an axis that is a
      whole number of rows per problem, and no problem's rows depend on
      another's.
    mesh: The devices; problems are split over data and fsdp.
    num_shared: Leading arguments that all problems share, like parameters.
    donate_argnums: As in `jax.jit`.
    static_argnames: Arguments of `fn` that are given by name, for each value of
      which a program is compiled.
  """
  how = dict(donate_argnums=donate_argnums, static_argnames=static_argnames)
  axes = ("data", "fsdp")
  shards = num_shards(mesh)
  if shards == 1:
    return jax.jit(fn, **how)
  by_problem = PartitionSpec(axes)

  def split(*args, **static):
    specs = (PartitionSpec(),) * num_shared
    specs += (by_problem,) * (len(args) - num_shared)
    return jax.shard_map(
      functools.partial(fn, **static),
      mesh=mesh,
      in_specs=specs,
      out_specs=by_problem,
      axis_names=set(axes),
      check_vma=False,
    )(*args)

  jitted = jax.jit(split, **how)
  # Problems that the devices cannot share equally: all of them do everything.
  whole = jax.jit(fn, **how)

  def call(*args, **static):
    rows = [len(leaf) for leaf in jax.tree.leaves(args[num_shared:])]
    equal = all(size % shards == 0 for size in rows)
    place = batch_sharding(mesh) if equal else replicated(mesh)
    placed = jax.device_put(args[:num_shared], replicated(mesh))
    placed += jax.device_put(args[num_shared:], place)
    return (jitted if equal else whole)(*placed, **static)

  return call


def num_shards(mesh: AnyMesh) -> int:
  """Returns into how many parts rows and problems are split."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def _matching_spec(name: str, rules: Rules) -> PartitionSpec:
  """Returns the spec of the one rule that matches `name`, or raises."""
  matches = [rule for rule in rules if re.fullmatch(rule[0], name)]
  if len(matches) == 1:
    return matches[0][1]
  if matches:
    patterns = ", ".join(repr(pattern) for pattern, _ in matches)
    raise ValueError(
      f'Parameter "{name}" matches {len(matches)} sharding rules ({patterns}):'
      " make them disjoint."
    )
  patterns = ", ".join(repr(pattern) for pattern, _ in rules)
  raise ValueError(
    f'Parameter "{name}" matches no sharding rule: add one to ({patterns}).'
  )


def _check_divides(
  name: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: AnyMesh
) -> None:
  """Raises unless `spec` splits `shape` into equal parts."""
  if len(spec) > len(shape):
    raise ValueError(
      f'The sharding rule of parameter "{name}" has {len(spec)} axes and its'
      f" shape {shape} only {len(shape)}: shorten the rule."
    )
  for dimension, (size, entry) in enumerate(zip(shape, spec, strict=False)):
    axes = (entry,) if isinstance(entry, str) else (entry or ())
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if size % parts:
      raise ValueError(
        f'Dimension {dimension} of parameter "{name}" has size {size}, which'
        f" mesh axis {'x'.join(axes)} of size {parts} does not divide: choose"
        " a mesh size that does."
      )
