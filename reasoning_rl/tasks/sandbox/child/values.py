"""Plain values as bytes, both ways: what crosses the wall, and nothing else.

None, bool, int, float, complex, str, list, tuple, dict, set and frozenset, of
exactly these types. No object, class, code or reference can be written, so
there is nothing that reading could run. Sizes, depth and counts are bounded
before anything is allocated, for one side of the wall is hostile.

One byte says what follows: N, T, F; i + length + two's complement; f + 8 bytes;
c + 16 bytes; s + length + UTF-8; l, t, u, z, d + count + items (list, tuple,
set, frozenset, and a dict's keys and values in turn).
"""

from __future__ import annotations

import struct

MAX_DEPTH = 64
MAX_ITEMS = 200_000
# Keys of one hash are compared with each other: more of them cost the square.
MAX_SAME_HASH = 64

_LENGTH = struct.Struct(">I")
_FLOAT = struct.Struct(">d")
_COMPLEX = struct.Struct(">dd")
_CONSTANTS = {b"N": None, b"T": True, b"F": False}
_COLLECTIONS = {list: b"l", tuple: b"t", set: b"u", frozenset: b"z"}


class ValueFault(ValueError):
  """Not a plain value, or bytes that are none; the text says why."""


def encode(value: object, max_bytes: int) -> bytes:
  """Returns the bytes of a plain value.

  Args:
    value: What is written; types count exactly, a subclass is no plain value.
    max_bytes: A longer text is refused.

  Raises:
    ValueFault: If the value is not plain, or is too large or too deep.
  """
  parts: list[bytes] = []
  budget = [max_bytes, MAX_ITEMS]
  _write(value, parts, budget, 0)
  return b"".join(parts)


def _write(value, parts, budget, depth):
  if depth > MAX_DEPTH:
    raise ValueFault(f"nested deeper than {MAX_DEPTH}")
  kind = type(value)
  if value is None or kind is bool:
    piece = b"N" if value is None else b"T" if value else b"F"
  elif kind is int:
    size = value.bit_length() // 8 + 1
    _check_room(budget, size)  # Before the conversion: an int may be huge.
    body = value.to_bytes(size, "big", signed=True)
    piece = b"i" + _LENGTH.pack(size) + body
  elif kind is float:
    piece = b"f" + _FLOAT.pack(value)
  elif kind is complex:
    piece = b"c" + _COMPLEX.pack(value.real, value.imag)
  elif kind is str:
    _check_room(budget, len(value))
    body = value.encode("utf-8", "surrogatepass")
    piece = b"s" + _LENGTH.pack(len(body)) + body
  elif kind in _COLLECTIONS:
    piece = _COLLECTIONS[kind] + _LENGTH.pack(len(value))
  elif kind is dict:
    piece = b"d" + _LENGTH.pack(len(value))
  else:
    raise ValueFault(f"a {kind.__name__} is no plain value")
  _check_room(budget, len(piece))
  budget[0] -= len(piece)
  budget[1] -= 1
  parts.append(piece)
  if kind in _COLLECTIONS:
    for item in value:
      _write(item, parts, budget, depth + 1)
  elif kind is dict:
    for key, item in value.items():
      _write(key, parts, budget, depth + 1)
      _write(item, parts, budget, depth + 1)


def _check_room(budget, size):
  if budget[0] < size or budget[1] < 1:
    raise ValueFault("the value is too large")


def decode(data: bytes) -> object:
  """Returns the plain value that `encode` wrote.

  Raises:
    ValueFault: If the bytes are anything else.
  """
  value, end = _read(data, 0, [MAX_ITEMS], 0)
  if end != len(data):
    raise ValueFault("bytes are left over")
  return value


def _read(data, at, budget, depth):
  """Returns the value that starts at `at`, and where it ends."""
  budget[0] -= 1
  if depth > MAX_DEPTH or budget[0] < 0:
    raise ValueFault("the value is too large or too deep")
  tag, at = data[at : at + 1], at + 1
  if tag in _CONSTANTS:
    return _CONSTANTS[tag], at
  if tag == b"f":
    return _FLOAT.unpack(_take(data, at, 8))[0], at + 8
  if tag == b"c":
    return complex(*_COMPLEX.unpack(_take(data, at, 16))), at + 16
  if tag not in (b"i", b"s", b"l", b"t", b"u", b"z", b"d"):
    raise ValueFault("an unknown kind of value")
  size = _LENGTH.unpack(_take(data, at, 4))[0]
  at += 4
  if tag == b"i":
    body = _take(data, at, size)
    return int.from_bytes(body, "big", signed=True), at + size
  if tag == b"s":
    return _text(_take(data, at, size)), at + size
  if size > len(data) - at:
    raise ValueFault("more items than bytes")
  items = []
  for _ in range(2 * size if tag == b"d" else size):
    item, at = _read(data, at, budget, depth + 1)
    items.append(item)
  return _collection(tag, items), at


def _take(data, at, size):
  if size > len(data) - at:
    raise ValueFault("the bytes end too soon")
  return data[at : at + size]


def _text(body):
  try:
    return body.decode("utf-8", "surrogatepass")
  except UnicodeDecodeError:
    raise ValueFault("not UTF-8") from None


def _collection(tag, items):
  if tag == b"l":
    return items
  if tag == b"t":
    return tuple(items)
  keys = items[::2] if tag == b"d" else items
  try:
    _check_hashes(keys)
    if tag == b"d":
      value = dict(zip(keys, items[1::2], strict=True))
    else:
      value = (set if tag == b"u" else frozenset)(keys)
  except TypeError:
    raise ValueFault("a key that cannot be hashed") from None
  if len(value) != len(keys):
    raise ValueFault("a key stands twice")
  return value


def _check_hashes(keys):
  seen: dict[int, int] = {}
  for key in keys:
    # A hash itself hashes to itself: `seen` has no collisions of its own.
    seen[hash(key)] = count = seen.get(hash(key), 0) + 1
    if count > MAX_SAME_HASH:
      raise ValueFault("too many keys with one hash")


def frame(payload: bytes) -> bytes:
  """Returns a payload with its length in front."""
  return _LENGTH.pack(len(payload)) + payload


def frame_length(header: bytes) -> int:
  """Returns the length that the first four bytes of a frame announce."""
  return _LENGTH.unpack(header)[0]
