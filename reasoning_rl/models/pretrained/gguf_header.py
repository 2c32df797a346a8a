"""The header of a GGUF file: its metadata, and where its tensors are.

A file is the magic word, a version, counts, metadata, a table of tensors, and
their bytes, each tensor aligned and right behind the one before. All of it is
held against the real size of the file before it is used.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, NoReturn

import numpy as np

from reasoning_rl.models.pretrained import mapped
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo

MAX_HEADER_BYTES = 64 << 20  # Gemma's, with 262,144 tokens, has 6 MiB.
MAX_METADATA = 10_000
MAX_ELEMENTS = 4_000_000  # Of all arrays in the metadata.
MAX_NESTING = 3
MAX_TENSORS = 30_000
MAX_NAME = 256
MAX_DIMS = 4

# The numbers of the types of metadata.
_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS = {
  number: np.dtype(name)
  for number, name in enumerate(
    ["<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<u1"]
  )
} | {10: np.dtype("<u8"), 11: np.dtype("<i8"), 12: np.dtype("<f8")}

# Of each type of tensor: its name, the numbers in a block, and their bytes.
_TENSOR_TYPES = {
  0: ("F32", 1, 4),
  1: ("F16", 1, 2),
  2: ("Q4_0", 32, 18),
  3: ("Q4_1", 32, 20),
  6: ("Q5_0", 32, 22),
  7: ("Q5_1", 32, 24),
  8: ("Q8_0", 32, 34),
  10: ("Q2_K", 256, 84),
  11: ("Q3_K", 256, 110),
  12: ("Q4_K", 256, 144),
  13: ("Q5_K", 256, 176),
  14: ("Q6_K", 256, 210),
  20: ("IQ4_NL", 32, 18),
  23: ("IQ4_XS", 256, 136),
  24: ("I8", 1, 1),
  25: ("I16", 1, 2),
  26: ("I32", 1, 4),
  27: ("I64", 1, 8),
  28: ("F64", 1, 8),
  30: ("BF16", 1, 2),
}
BLOCKS = {name: (size, bytes_) for name, size, bytes_ in _TENSOR_TYPES.values()}


@dataclasses.dataclass(frozen=True)
class Entry:
  """A tensor and where its bytes are.

  Attributes:
    info: Shape, slowest first, and type.
    offset: Its first byte in the file.
    size: How many bytes it has.
  """

  info: TensorInfo
  offset: int
  size: int


@dataclasses.dataclass(frozen=True)
class Header:
  """What a file says of itself.

  Attributes:
    metadata: Texts, numbers, booleans and lists of them, by key.
    entries: The tensors by the file's own names.
  """

  metadata: dict[str, Any]
  entries: dict[str, Entry]


def read_header(file: mapped.MappedFile) -> Header:
  """Returns the header of a file, which accounts for all of its bytes.

  Args:
    file: The file.

  Raises:
    PretrainedError: If it is damaged, of another format, or too large.
  """
  cursor = _Cursor(file)
  if file.data[:4] != b"GGUF":
    raise PretrainedError(f"{file.path} is not a GGUF file")
  cursor.position = 4
  version = cursor.unsigned(4)
  if version not in (2, 3):
    big = int.from_bytes(version.to_bytes(4, "little"), "big") in (1, 2, 3)
    kind = "big-endian" if big else f"of version {version}"
    raise PretrainedError(
      f"{file.path} is {kind}: little-endian GGUF of version 2 or 3 is read"
    )
  tensors, count = cursor.unsigned(8), cursor.unsigned(8)
  if not 0 < tensors <= MAX_TENSORS or count > MAX_METADATA:
    cursor.refuse(f"announces {tensors} tensors and {count} keys of metadata")
  metadata: dict[str, Any] = {}
  for _ in range(count):
    key = cursor.name(metadata)
    metadata[key] = cursor.value(cursor.unsigned(4), 0)
  alignment = metadata.get("general.alignment", 32)
  if type(alignment) is not int or alignment not in (8, 16, 32, 64, 128, 256):
    cursor.refuse(f"has the alignment {str(alignment)[:20]!a}")
  table: dict[str, tuple[TensorInfo, int, int]] = {}
  for _ in range(tensors):
    name = cursor.name(table)
    table[name] = cursor.tensor(name)
  return Header(metadata, _place(cursor, table, alignment))


def _place(
  cursor: _Cursor,
  table: dict[str, tuple[TensorInfo, int, int]],
  alignment: int,
) -> dict[str, Entry]:
  """Returns where each tensor is; together they fill the file."""
  start = -(-cursor.position // alignment) * alignment
  end = last = 0
  for _, offset, size in sorted(table.values(), key=lambda row: row[1]):
    if offset != end:
      cursor.refuse("has tensors that overlap or leave a gap")
    last = offset + size
    end = -(-last // alignment) * alignment
  if not start + last <= cursor.file.size <= start + end:
    cursor.refuse(
      f"has {cursor.file.size} bytes where its header announces {start + last}"
    )
  return {
    name: Entry(info, start + offset, size)
    for name, (info, offset, size) in table.items()
  }


class _Cursor:
  """Reads a header from its start to its end, and never beyond."""

  def __init__(self, file: mapped.MappedFile):
    self.file = file
    self.data = file.data
    self.position = 0
    self.end = min(file.size, MAX_HEADER_BYTES)
    self.elements = 0

  def refuse(self, complaint: str) -> NoReturn:
    raise PretrainedError(f"{self.file.path} {complaint}: fetch it again")

  def take(self, size: int) -> int:
    """Returns where the next `size` bytes begin, and goes behind them."""
    start = self.position
    if size > self.end - start:
      if self.end < self.file.size:
        self.refuse(f"has a header of more than {MAX_HEADER_BYTES} bytes")
      self.refuse("is cut short")
    self.position = start + size
    return start

  def unsigned(self, width: int) -> int:
    start = self.take(width)
    return int.from_bytes(self.data[start : start + width], "little")

  def name(self, taken: dict[str, Any]) -> str:
    """Returns a key or a tensor's name that is not taken yet."""
    length = self.unsigned(8)
    if not 0 < length <= MAX_NAME:
      self.refuse(f"has a name of {length} bytes")
    start = self.take(length)
    name = self.text(self.data[start : start + length])
    if not name.isprintable():
      self.refuse(f"has the name {name!a}")
    if name in taken:
      self.refuse(f"has {name!a} twice")
    return name

  def text(self, raw: bytes) -> str:
    try:
      return raw.decode("utf-8")
    except UnicodeDecodeError:
      self.refuse("has text that is not UTF-8")

  def value(self, kind: int, nesting: int) -> Any:
    """Returns a value of metadata as plain Python."""
    if kind == _STRING:
      return self.strings(1)[0]
    if kind != _ARRAY:
      return self.numbers(kind, 1)[0]
    if nesting == MAX_NESTING:
      self.refuse(f"has arrays in arrays more than {MAX_NESTING} deep")
    kind, count = self.unsigned(4), self.unsigned(8)
    self.elements += count
    if self.elements > MAX_ELEMENTS:
      self.refuse(f"has more than {MAX_ELEMENTS} values in its metadata")
    if kind == _STRING:
      return self.strings(count)
    if kind == _ARRAY:
      return [self.value(kind, nesting + 1) for _ in range(count)]
    return self.numbers(kind, count)

  def numbers(self, kind: int, count: int) -> list[Any]:
    if kind not in _NUMBERS:
      self.refuse(f"has metadata of the unknown type {kind}")
    dtype = _NUMBERS[kind]
    start = self.take(count * dtype.itemsize)
    numbers = self.file.array(start, count, dtype)
    if kind != _BOOL:
      return numbers.tolist()
    if count and numbers.max() > 1:
      self.refuse("has a boolean that is neither true nor false")
    return numbers.astype(bool).tolist()

  def strings(self, count: int) -> list[str]:
    """Returns texts; a vocabulary has hundreds of thousands, so no calls."""
    self.take(8 * count)  # Each has at least its length.
    data, end, position = self.data, self.end, self.position - 8 * count
    texts = []
    try:
      for _ in range(count):
        (length,) = struct.unpack_from("<Q", data, position)
        position += 8 + length
        if position > end:
          break
        texts.append(data[position - length : position].decode("utf-8"))
    except UnicodeDecodeError:
      self.refuse("has text that is not UTF-8")
    except struct.error:
      position = end + 1
    if position > end:
      self.take(position - self.position)
    self.position = position
    return texts

  def tensor(self, name: str) -> tuple[TensorInfo, int, int]:
    """Returns a tensor's shape and type, its offset and its bytes."""
    dims = self.unsigned(4)
    if not 0 < dims <= MAX_DIMS:
      self.refuse(f"gives {name!a} {dims} dimensions")
    shape = [self.unsigned(8) for _ in range(dims)]
    kind, offset = self.unsigned(4), self.unsigned(8)
    if kind not in _TENSOR_TYPES:
      raise PretrainedError(
        f"{self.file.path} stores {name!a} as type {kind}, which is not read:"
        f" use a file with {', '.join(BLOCKS)}"
      )
    dtype, block, width = _TENSOR_TYPES[kind]
    count = 1
    for size in shape:
      count *= size  # Python's integers do not overflow.
    if not count or shape[0] % block:
      self.refuse(f"gives {name!a} the shape {shape}, which {dtype} has not")
    size = count // block * width
    if size > self.file.size or offset > self.file.size:
      self.refuse(f"announces more of {name!a} than it has")
    return TensorInfo(tuple(reversed(shape)), dtype), offset, size
