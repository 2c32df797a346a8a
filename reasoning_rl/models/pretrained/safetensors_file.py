"""Safetensors files: named arrays behind a header of JSON.

A file is the header's length (8 bytes, little-endian), the header, and the
arrays' bytes without a gap. A model may be cut into several such files, named
by an index. The format has no checksum: a changed byte of a weight is another
weight, and only the source of the file can vouch for it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from reasoning_rl.models.pretrained import mapped, strict_json
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_MAX_HEADER_BYTES = 16 << 20  # A model of 1,000 tensors needs about 0.1 MiB.
_MAX_TENSORS = 30_000
_MAX_SHARDS = 1_000
_MAX_DIMS = 8
_MAX_NAME = 256
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,200}\.safetensors")
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_ITEM_BYTES |= {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "BOOL": 1}
_ITEM_BYTES |= {"U64": 8, "U32": 4, "U16": 2, "U8": 1}
_ITEM_BYTES |= {"F8_E4M3": 1, "F8_E5M2": 1}
_DTYPES = {
  "F32": np.dtype("<f4"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}


@dataclasses.dataclass(frozen=True)
class _Entry:
  """A tensor and where its bytes are.

  Attributes:
    info: Shape and dtype.
    offset: Its first byte in the file.
    count: How many numbers it has.
  """

  info: TensorInfo
  offset: int
  count: int


class _File:
  """One file with its header read."""

  def __init__(self, path: pathlib.Path):
    self.file = mapped.MappedFile(path)
    self.entries, self.metadata = _read_header(self.file)

  def read(self, name: str) -> np.ndarray:
    entry = self.entries[name]
    path, kind = self.file.path, entry.info.dtype
    if kind not in _DTYPES:
      raise PretrainedError(
        f"tensor {name!r} in {path} is stored as {kind}: weights are read as"
        f" {', '.join(_DTYPES)}, so convert the model first"
      )
    numbers = self.file.array(entry.offset, entry.count, _DTYPES[kind])
    if kind == "F16":
      numbers = numbers.astype(np.float32)
    if not mapped.finite(numbers):
      raise PretrainedError(
        f"tensor {name!r} in {path} has infinite numbers or NaN: fetch it again"
      )
    return numbers.reshape(entry.info.shape)


class SafetensorsSource:
  """The tensors of a safetensors file, or of a folder with one or several."""

  def __init__(self, path: str | os.PathLike[str]):
    """Reads and checks the headers; no weight is loaded.

    Args:
      path: A `.safetensors` file, or a folder that holds `model.safetensors`
        or `model.safetensors.index.json` and the files that it names.

    Raises:
      PretrainedError: If there is no such model, or its files are damaged or
        contradict each other.
    """
    path = pathlib.Path(path)
    self._files: dict[str, _File] = {}
    if _is_dir(path) and not os.path.lexists(path / WEIGHTS):
      files = self._open_shards(path)
    else:
      files = [_File(inside(path, WEIGHTS) if _is_dir(path) else path)]
    self._infos: dict[str, TensorInfo] = {}
    for file in files:
      for name, entry in file.entries.items():
        self._files[name] = file
        self._infos[name] = entry.info
    self.metadata: dict[str, str] = files[0].metadata

  def tensors(self) -> Mapping[str, TensorInfo]:
    """Returns what is there, by name."""
    return self._infos

  def read(self, name: str) -> np.ndarray:
    """Returns one tensor, read-only: float32, or bfloat16 if stored so.

    Args:
      name: Its name.

    Raises:
      PretrainedError: If there is none, or it is not of finite floats.
    """
    if name not in self._files:
      raise PretrainedError(f"there is no tensor {name!r} in this model")
    return self._files[name].read(name)

  def _open_shards(self, folder: pathlib.Path) -> list[_File]:
    """Opens the files that a folder's index names, and compares the two."""
    if not os.path.lexists(folder / INDEX):
      raise PretrainedError(
        f"{folder} holds neither {WEIGHTS} nor {INDEX}: give a model's folder"
      )
    weight_map = _read_index(inside(folder, INDEX))
    files = []
    for shard in sorted(set(weight_map.values())):
      file = _File(inside(folder, shard))
      listed = {name for name, home in weight_map.items() if home == shard}
      odd = sorted(listed ^ set(file.entries))
      if odd:
        raise PretrainedError(
          f"{folder / INDEX} and {shard} disagree about {len(odd)} tensors,"
          f" {odd[0]!r} among them: fetch the model again"
        )
      files.append(file)
    return files


def inside(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Returns a file of a folder, unless it is a link that leads elsewhere.

  The cache of the hub keeps `snapshots/<revision>/<name>` as links into
  `blobs/` beside `snapshots/`: these are let through.

  Args:
    folder: The model's folder.
    name: The name of a file in it.

  Raises:
    PretrainedError: If the link leads out of the folder.
  """
  path = folder / name
  try:
    home = folder.resolve(strict=True)
    target = path.resolve(strict=True)
  except (OSError, RuntimeError) as error:  # The latter: a circle of links.
    raise PretrainedError(f"{path} does not exist") from error
  blobs = home.parent.parent / "blobs"
  hub = home.parent.name == "snapshots" and target.parent == blobs
  if target.parent != home and not hub:
    raise PretrainedError(
      f"{path} is a link to {target}, outside of the model's folder:"
      " copy the file into the folder if you trust it"
    )
  return target


def _is_dir(path: pathlib.Path) -> bool:
  try:
    return path.is_dir()
  except (OSError, ValueError):  # Too long, or with a NUL.
    raise PretrainedError(f"{str(path)[:80]!r} is no path") from None


def _read_index(path: pathlib.Path) -> dict[str, str]:
  """Returns the name of the shard of each tensor."""
  file = mapped.MappedFile(path)
  if file.size > _MAX_HEADER_BYTES:
    raise PretrainedError(f"{path} is too large for an index of weights")
  index = strict_json.parse_object(file.data[:], str(path), max_depth=8)
  weight_map = index.get("weight_map")
  if not isinstance(weight_map, dict) or not weight_map:
    raise PretrainedError(f"{path} has no weight_map: fetch it again")
  for name, shard in weight_map.items():
    if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
      raise PretrainedError(
        f"{path} puts {name[:80]!r} into {str(shard)[:80]!r}: only the plain"
        " name of a .safetensors file in the same folder can be meant"
      )
  if len(weight_map) > _MAX_TENSORS or (
    len(set(weight_map.values())) > _MAX_SHARDS
  ):
    raise PretrainedError(f"{path} names more tensors or files than are read")
  return weight_map


def _read_header(
  file: mapped.MappedFile,
) -> tuple[dict[str, _Entry], dict[str, str]]:
  """Returns the tensors, which fill the file exactly, and the metadata."""
  path = file.path
  if file.size < 8:
    raise PretrainedError(f"{path} is cut short: fetch it again")
  length = int.from_bytes(file.data[:8], "little")
  if length > min(file.size - 8, _MAX_HEADER_BYTES):
    raise PretrainedError(
      f"{path} announces a header of {length} bytes: it is cut short or no"
      " safetensors file, so fetch it again"
    )
  start = 8 + length
  text = file.data[8:start]
  if not text.startswith(b"{"):
    raise PretrainedError(f"{path} is not a safetensors file")
  where = f"the header of {path}"
  header = strict_json.parse_object(text, where, max_depth=4)
  metadata = header.pop("__metadata__", {})
  if not isinstance(metadata, dict) or not all(
    isinstance(value, str) for value in metadata.values()
  ):
    raise PretrainedError(f"{where} has metadata that is no text")
  if len(header) > _MAX_TENSORS:
    raise PretrainedError(f"{where} has more than {_MAX_TENSORS} tensors")
  entries, spans = {}, []
  for name, value in header.items():
    entry, span = _read_entry(name, value, start, where)
    entries[name] = entry
    spans.append(span)
  end = 0
  for first, last in sorted(spans):
    if first != end:
      raise PretrainedError(f"{where} has tensors that overlap or leave a gap")
    end = last
  if start + end != file.size:
    raise PretrainedError(
      f"{path} has {file.size} bytes, and its header announces {start + end}:"
      " fetch it again"
    )
  return entries, metadata


def _read_entry(
  name: str, value: Any, start: int, where: str
) -> tuple[_Entry, tuple[int, int]]:
  """Returns a tensor and its span in the data."""
  if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
    raise PretrainedError(f"{where} has a tensor with the name {name[:80]!a}")
  if not isinstance(value, dict) or (
    set(value) != {"dtype", "shape", "data_offsets"}
  ):
    raise PretrainedError(f"{where} does not describe {name!r} properly")
  dtype, shape = value["dtype"], value["shape"]
  if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
    raise PretrainedError(
      f"{where} stores {name!r} as {str(dtype)[:20]!a}, which is not known"
    )
  offsets = value["data_offsets"]
  if not (
    _sizes(shape, _MAX_DIMS) and _sizes(offsets, 2) and len(offsets) == 2
  ):
    raise PretrainedError(f"{where} gives {name!r} no proper shape or offsets")
  count = 1
  for size in shape:
    count *= size  # Python's integers do not overflow.
  if offsets[1] - offsets[0] != count * _ITEM_BYTES[dtype]:
    raise PretrainedError(
      f"{where} gives {name!r} the shape {shape} and"
      f" {offsets[1] - offsets[0]} bytes, which do not agree"
    )
  info = TensorInfo(tuple(shape), dtype)
  return _Entry(info, start + offsets[0], count), (offsets[0], offsets[1])


def _sizes(value: Any, most: int) -> bool:
  """Returns whether it is a list of at most `most` sizes below 2⁶³."""
  return (
    isinstance(value, list)
    and len(value) <= most
    and all(type(size) is int and 0 <= size < 1 << 63 for size in value)
  )


def write_safetensors(
  path: str | os.PathLike[str],
  tensors: Mapping[str, np.ndarray],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a file that the `safetensors` package opens, whole or not at all.

  Args:
    path: The file; one that exists is replaced.
    tensors: float32, float16 or bfloat16 arrays.
    metadata: Texts for the header; by default those that transformers asks
      for.

  Raises:
    PretrainedError: If it cannot be written, or an array is of another type.
  """
  names = {dtype.newbyteorder("="): name for name, dtype in _DTYPES.items()}
  infos = {}
  for name, array in tensors.items():
    if array.dtype not in names:
      raise PretrainedError(
        f"tensor {name!r} is of {array.dtype}: floats of 16 or 32 bits can"
        " be written"
      )
    infos[name] = TensorInfo(array.shape, names[array.dtype])
  write_stream(path, infos, lambda name: tensors[name], metadata)


def write_stream(
  path: str | os.PathLike[str],
  infos: Mapping[str, TensorInfo],
  read: Callable[[str], np.ndarray],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Like `write_safetensors`, with one tensor in memory at a time.

  Args:
    path: The file; one that exists is replaced.
    infos: What is written: shapes, and "F32", "F16" or "BF16".
    read: Returns a tensor; it is converted to what `infos` says.
    metadata: Texts for the header.

  Raises:
    PretrainedError: If it cannot be written.
  """
  path = pathlib.Path(path)
  # Wide numbers first: so each array is aligned.
  order = sorted(infos, key=lambda n: (-_ITEM_BYTES[infos[n].dtype], n))
  header = _header(order, infos, {"format": "pt"} | dict(metadata or {}))
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "xb") as file:
      file.write(header)
      for name in order:
        array = read(name)
        if array.shape != infos[name].shape:
          raise ValueError(f"{name!r} has another shape than announced")
        array = array.astype(_DTYPES[infos[name].dtype], order="C", copy=False)
        file.write(array.reshape(-1).view(np.uint8).data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    raise PretrainedError(f"cannot write {path}: {error.strerror}") from error
  finally:
    temporary.unlink(missing_ok=True)


def byte_size(info: TensorInfo) -> int:
  """Returns how many bytes a tensor takes in a file.

  Args:
    info: Its shape, and a dtype of these files.
  """
  return math.prod(info.shape) * _ITEM_BYTES[info.dtype]


def _header(
  order: list[str], infos: Mapping[str, TensorInfo], metadata: dict[str, str]
) -> bytes:
  """Returns the length and the header, with blanks up to a multiple of 8."""
  header: dict[str, Any] = {"__metadata__": metadata}
  end = 0
  for name in order:
    info, begin = infos[name], end
    end += byte_size(info)
    header[name] = {
      "dtype": info.dtype,
      "shape": list(info.shape),
      "data_offsets": [begin, end],
    }
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  return struct.pack("<Q", len(text)) + text
