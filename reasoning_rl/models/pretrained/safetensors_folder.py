"""A model's weights as a folder: one safetensors file, or several and an index.

The names are those that Hugging Face gives: `model.safetensors`, or
`model-00001-of-00002.safetensors` and so on with
`model.safetensors.index.json`.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from reasoning_rl.models.pretrained import safetensors_file
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo


def write_folder(
  folder: str | os.PathLike[str],
  infos: Mapping[str, TensorInfo],
  read: Callable[[str], np.ndarray],
  *,
  metadata: Mapping[str, str] | None = None,
  max_shard_bytes: int = 5_000_000_000,
) -> None:
  """Writes a model with one tensor in memory at a time.

  Args:
    folder: Where; it has to be there, and to hold no weights yet.
    infos: What is written: shapes, and "F32", "F16" or "BF16".
    read: Returns a tensor; it is converted to what `infos` says.
    metadata: Texts for the headers.
    max_shard_bytes: How large a file may be; a tensor is never cut.

  Raises:
    PretrainedError: If it cannot be written, or there are weights already.
  """
  folder = pathlib.Path(folder)
  # A folder with one file and an index would be two models.
  for name in (safetensors_file.WEIGHTS, safetensors_file.INDEX):
    if os.path.lexists(folder / name):
      raise PretrainedError(f"{folder / name} is there already: give another")
  shards = _split(infos, max_shard_bytes)
  write = safetensors_file.write_stream
  if len(shards) == 1:
    write(folder / safetensors_file.WEIGHTS, infos, read, metadata)
    return
  weight_map = {}
  for number, names in enumerate(shards, 1):
    file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
    some = {name: infos[name] for name in names}
    write(folder / file, some, read, metadata)
    weight_map |= dict.fromkeys(names, file)
  total = sum(safetensors_file.byte_size(info) for info in infos.values())
  index = {"metadata": {"total_size": total}, "weight_map": weight_map}
  _write_text(folder / safetensors_file.INDEX, json.dumps(index, indent=2))


def _split(
  infos: Mapping[str, TensorInfo], max_shard_bytes: int
) -> list[list[str]]:
  """Returns the names in each file, in their order."""
  shards: list[list[str]] = [[]]
  left = max_shard_bytes
  for name, info in infos.items():
    size = safetensors_file.byte_size(info)
    if size > left and shards[-1]:
      shards.append([])
      left = max_shard_bytes
    shards[-1].append(name)
    left -= size
  return shards


def _write_text(path: pathlib.Path, text: str) -> None:
  """Writes the whole file or nothing: with it the model is complete."""
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "x", encoding="utf-8") as file:
      file.write(text + "\n")
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    raise PretrainedError(f"cannot write {path}: {error.strerror}") from error
  finally:
    temporary.unlink(missing_ok=True)
