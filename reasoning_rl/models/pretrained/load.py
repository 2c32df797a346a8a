"""From a model's files to params, tensor by tensor, where they are to live.

Every name and shape is checked before a weight is read. A tensor is then read
as a view of its file, and each device gets the part that its sharding wants:
no process ever holds the model twice, and none holds all of it unless its
devices do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import families, safetensors_file
from reasoning_rl.models.pretrained import parameter_names as names_lib
from reasoning_rl.models.pretrained.source import (
  PretrainedError,
  TensorInfo,
  TensorSource,
)

# Frequencies that old files hold beside the weights: they follow from the
# config.
_DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
_SOME = 3  # Names that an error shows.

# Shardings in a tree like the params', or a function of the params' shapes
# that returns them.
Shardings = Any | Callable[[Any], Any]


def load(
  directory: str | os.PathLike[str],
  *,
  heads: tuple[str, ...] = ("language",),
  dtype: str = "float32",
  shardings: Shardings | None = None,
) -> tuple[transformer.NetworkConfig, network_lib.Params]:
  """Returns the network in a folder of the Hugging Face layout.

  Args:
    directory: Holds config.json and the weights as safetensors.
    heads: The heads of the network. Files know the language head alone: the
      others are not among the params, and `network.graft` puts them onto
      fresh ones.
    dtype: "float32" or "bfloat16": what the params become.
    shardings: Where each parameter is to live, in a tree like the params', or
      a function that returns it for the params' shapes. None: on the default
      device.

  Raises:
    PretrainedError: If the files are missing, damaged, or of a model that the
      network cannot be.
  """
  where = os.fspath(directory)
  config = families.network_config(
    families.read(directory),
    os.path.join(where, families.CONFIG),
    heads=heads,
    dtype=dtype,
  )
  source = safetensors_file.SafetensorsSource(directory)
  return config, load_params(source, config, where, shardings)


def load_params(
  source: TensorSource,
  config: transformer.NetworkConfig,
  where: str,
  shardings: Shardings | None = None,
) -> network_lib.Params:
  """Returns a network's params from wherever its tensors are.

  Args:
    source: The tensors by their Hugging Face names.
    config: The network that they are of.
    where: What an error calls them.
    shardings: As in `load`.

  Raises:
    PretrainedError: If a tensor is missing, superfluous or of another shape.
  """
  wanted = names_lib.parameters(config)
  infos = source.tensors()
  _check_names(infos, wanted, config, where)
  for parameter in wanted:
    _check_shape(infos[parameter.name].shape, parameter, where)
  if config.tied_embedding and names_lib.LANGUAGE_HEAD in infos:
    _check_tied(source, where)
  dtype = np.dtype(config.dtype)
  if callable(shardings):
    shardings = shardings(abstract_params(config))
  params: dict[str, Any] = {}
  for parameter in wanted:
    array = source.read(parameter.name)
    _check_shape(array.shape, parameter, where)
    sharding = None if shardings is None else _at(shardings, parameter.path)
    placed = _place(parameter.from_file(array), dtype, sharding)
    _put(params, parameter.path, placed)
  return params


def abstract_params(config: transformer.NetworkConfig) -> network_lib.Params:
  """Returns the shapes and dtypes of what `load` returns."""
  dtype = np.dtype(config.dtype)
  params: dict[str, Any] = {}
  for parameter in names_lib.parameters(config):
    shape = jax.ShapeDtypeStruct(parameter.shape, dtype)
    _put(params, parameter.path, shape)
  return params


def _check_names(
  infos: Mapping[str, TensorInfo],
  wanted: tuple[names_lib.Parameter, ...],
  config: transformer.NetworkConfig,
  where: str,
) -> None:
  """Raises if a tensor is missing, or one is there that has no place."""
  expected = {parameter.name for parameter in wanted}
  missing = sorted(expected - set(infos))
  if missing:
    hint = ""
    if missing == [names_lib.LANGUAGE_HEAD]:
      hint = ": its config says that tie_word_embeddings is false"
    raise PretrainedError(
      f"{where} lacks {len(missing)} tensors, {_some(missing)}{hint}"
    )
  # An untied head is left out where none is wanted; a tied one may be there
  # once more.
  known = expected | {names_lib.LANGUAGE_HEAD}
  odd = sorted(
    name for name in infos if name not in known and not _DERIVED.match(name)
  )
  if odd:
    raise PretrainedError(
      f"{where} has {len(odd)} tensors that a model of its config"
      f" ({config.num_layers} layers) has no place for, {_some(odd)}"
    )


def _check_shape(
  shape: tuple[int, ...], parameter: names_lib.Parameter, where: str
) -> None:
  if tuple(shape) != parameter.file_shape:
    raise PretrainedError(
      f"tensor {parameter.name!r} in {where} has the shape {tuple(shape)}; by"
      f" the config it is {parameter.file_shape}"
    )


def _check_tied(source: TensorSource, where: str) -> None:
  """Raises if a language head is there that is not the embedding."""
  head, embedding = (
    source.read(name) for name in (names_lib.LANGUAGE_HEAD, names_lib.EMBEDDING)
  )
  if head.shape != embedding.shape or not np.array_equal(head, embedding):
    raise PretrainedError(
      f"{where} has a {names_lib.LANGUAGE_HEAD} other than the embedding, and"
      " its config says that the two are one: set tie_word_embeddings to false"
    )


def _some(names: list[str]) -> str:
  shown = ", ".join(ascii(name[:80]) for name in names[:_SOME])
  return shown + (" and others" if len(names) > _SOME else "")


def _place(
  view: np.ndarray, dtype: np.dtype, sharding: jax.sharding.Sharding | None
) -> jax.Array:
  """Returns an array of its own on the devices that are to hold it."""
  # A copy, for the view is of a file, which may change.
  part = lambda index: np.array(view[index], dtype, order="C")
  if sharding is None:
    return jax.device_put(part(...))
  return jax.make_array_from_callback(view.shape, sharding, part)


def _at(tree: Any, path: names_lib.Path) -> Any:
  for name in path:
    tree = tree[name]
  return tree


def _put(tree: dict[str, Any], path: names_lib.Path, value: Any) -> None:
  for name in path[:-1]:
    tree = tree.setdefault(name, {})
  tree[path[-1]] = value
