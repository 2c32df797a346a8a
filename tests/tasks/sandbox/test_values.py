"""Plain values cross the wall unchanged, and nothing else does."""

from __future__ import annotations

import collections
import enum
import fractions
import math
import random
import struct

import pytest

from reasoning_rl.tasks.sandbox.child import values

LIMIT = 1 << 20
# One of every kind, worked out by hand from the description of the format.
BY_HAND = [
  (None, b"N"),
  (True, b"T"),
  (False, b"F"),
  (0, b"i\0\0\0\1\0"),
  (-1, b"i\0\0\0\1\xff"),
  (128, b"i\0\0\0\2\0\x80"),
  (1.0, b"f\x3f\xf0\0\0\0\0\0\0"),
  (1j, b"c" + b"\0" * 8 + b"\x3f\xf0" + b"\0" * 6),
  ("\u00e9", b"s\0\0\0\2\xc3\xa9"),
  ([None], b"l\0\0\0\1N"),
  ((None, True), b"t\0\0\0\2NT"),
  ({1}, b"u\0\0\0\1i\0\0\0\1\1"),
  (frozenset(), b"z\0\0\0\0"),
  ({"a": None}, b"d\0\0\0\1s\0\0\0\1aN"),
]


@pytest.mark.parametrize(("value", "data"), BY_HAND)
def test_values_are_written_as_described(value, data):
  assert values.encode(value, LIMIT) == data
  read = values.decode(data)
  assert read == value
  assert type(read) is type(value)


def random_value(rng, depth=0):
  kinds = ["int", "float", "str", "const", "complex"]
  if depth < 4:
    kinds += ["list", "tuple", "dict", "set", "frozenset"]
  kind = rng.choice(kinds)
  size = rng.randrange(4)
  inner = lambda: random_value(rng, depth + 1)
  hashable = lambda: rng.choice([rng.randrange(99), "k", (1, "x"), None, 2.5])
  return {
    "int": lambda: rng.randrange(-(1 << 200), 1 << 200),
    "float": lambda: rng.choice([rng.gauss(0, 1e9), math.inf, -0.0, 5e-324]),
    "str": lambda: "".join(chr(rng.randrange(0xFFFF)) for _ in range(size)),
    "const": lambda: rng.choice([None, True, False]),
    "complex": lambda: complex(rng.random(), rng.random()),
    "list": lambda: [inner() for _ in range(size)],
    "tuple": lambda: tuple(inner() for _ in range(size)),
    "dict": lambda: {hashable(): inner() for _ in range(size)},
    "set": lambda: {hashable() for _ in range(size)},
    "frozenset": lambda: frozenset(hashable() for _ in range(size)),
  }[kind]()


def test_random_values_come_back_as_they_were():
  rng = random.Random(0)
  for _ in range(2000):
    value = random_value(rng)
    read = values.decode(values.encode(value, LIMIT))
    assert repr(read) == repr(value) or read == value
    assert type(read) is type(value)


def test_random_bytes_are_refused_or_plain():
  rng = random.Random(1)
  plain = (int, float, complex, str, bool, type(None))
  plain += (list, tuple, dict, set, frozenset)
  for _ in range(5000):
    data = bytearray(values.encode(random_value(rng), LIMIT))
    for _ in range(rng.randrange(1, 4)):
      data[rng.randrange(len(data))] = rng.choice(b"NTFifcsltuzd\0\1\xff")
    data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data
    try:
      assert type(values.decode(bytes(data))) in plain
    except values.ValueFault:
      pass


class Colour(enum.IntEnum):
  RED = 1


class Own(int):
  pass


@pytest.mark.parametrize(
  "value",
  [
    object(),
    Own(1),
    Colour.RED,
    collections.OrderedDict(),
    collections.Counter("a"),
    fractions.Fraction(1, 2),
    b"bytes",
    range(3),
    iter([]),
    len,
    [1, {"a": (object(),)}],
    int,
  ],
)
def test_whatever_is_not_plain_is_not_written(value):
  with pytest.raises(values.ValueFault, match="is no plain value"):
    values.encode(value, LIMIT)


def test_deep_wide_and_long_values_are_refused():
  deep = []
  for _ in range(100):
    deep = [deep]
  for value in (deep, "x" * LIMIT, [0] * LIMIT, 1 << (9 * LIMIT)):
    with pytest.raises(values.ValueFault):
      values.encode(value, LIMIT)
  with pytest.raises(values.ValueFault):
    values.decode(b"l\0\0\0\1" * 100 + b"N")
  with pytest.raises(values.ValueFault):
    values.decode(b"l" + struct.pack(">I", values.MAX_ITEMS + 1) + b"N" * LIMIT)


def test_what_can_be_read_can_be_written_again():
  # A value passes through the parent on its way to a referee.
  for item in (7, "x", None, 1.5):
    most = [item] * (values.MAX_ITEMS - 1)
    data = values.encode(most, 8 * LIMIT)
    assert values.encode(values.decode(data), 8 * LIMIT) == data
    with pytest.raises(values.ValueFault):
      values.encode([item, *most], 8 * LIMIT)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "unknown kind"),
    (b"x", "unknown kind"),
    (b"NN", "left over"),
    (b"i\0\0\0\4\1", "end too soon"),
    (b"l\xff\xff\xff\xff", "more items than bytes"),
    (b"s\0\0\0\1\xff", "not UTF-8"),
    (b"u\0\0\0\1l\0\0\0\0", "cannot be hashed"),
    (b"u\0\0\0\2NN", "stands twice"),
    (b"d\0\0\0\2NTNF", "stands twice"),
    (b"f\0", "end too soon"),
  ],
)
def test_bytes_that_are_no_value_are_refused(data, reason):
  with pytest.raises(values.ValueFault, match=reason):
    values.decode(data)


def test_keys_made_to_collide_are_refused_before_they_cost_the_square():
  modulus = (1 << 61) - 1  # An int's hash is its remainder by this.
  keys = [values.encode(modulus * n, LIMIT) for n in range(20_000)]
  data = b"u" + struct.pack(">I", len(keys)) + b"".join(keys)
  with pytest.raises(values.ValueFault, match="one hash"):
    values.decode(data)
