r"""Units beside a number: read, compared, converted exactly.

A unit is a product of powers of base dimensions and a rational scale. What
stands beside a number and is not in the table is no unit.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
  """A unit.

  Attributes:
    dimensions: (base dimension, exponent), sorted.
    scale: How many base units it is.
  """

  dimensions: tuple[tuple[str, int], ...]
  scale: Fraction


def _table() -> dict[str, tuple[str, Fraction]]:
  """Returns base dimension and scale by spelling."""
  rows = """
  length 1 m meter meters metre metres
  length 1000 km kilometer kilometers kilometre kilometres
  length 1/100 cm centimeter centimeters centimetre centimetres
  length 1/1000 mm millimeter millimeters millimetre millimetres
  length 127/5000 inch inches
  length 381/1250 ft foot feet
  length 1143/1250 yd yard yards
  length 201168/125 mi mile miles
  mass 1 g gram grams
  mass 1000 kg kilogram kilograms
  mass 1/1000 mg milligram milligrams
  mass 1000000 tonne tonnes
  mass 45359237/100000 lb lbs pound pounds
  mass 45359237/1600000 oz ounce ounces
  time 1 s sec secs second seconds
  time 60 min mins minute minutes
  time 3600 h hr hrs hour hours
  time 86400 day days
  time 604800 week weeks
  months 1 month months
  months 12 year years
  volume 1 L l liter liters litre litres
  volume 1/1000 mL ml milliliter milliliters millilitre millilitres
  gallons 1 gallon gallons
  gallons 1/4 quart quarts
  gallons 1/8 pint pints
  gallons 1/16 cup cups
  angle 1 degree degrees deg
  temperature 1 celsius
  temperatureF 1 fahrenheit
  dollars 1 dollar dollars usd
  dollars 1/100 cent cents
  euros 1 euro euros eur
  sterling 1 pounds_sterling
  squares 1 unit units
  """
  table = {}
  for row in rows.split("\n"):
    dimension, *rest = row.split() or [""]
    if dimension:
      scale = Fraction(rest[0])
      table |= {name: (dimension, scale) for name in rest[1:]}
  # What is counted in word problems: each is its own dimension.
  for singular in """
    apple orange banana egg book page student person boy girl child ticket
    car bus train box bag ball marble coin stamp sticker card pen pencil cookie
    cake slice piece item toy flower tree plant animal dog cat cow chicken
    fish bird horse point game goal question problem way time number step
    mark bottle glass chair table room house shirt dress pair bead brick
    candy chocolate muffin pizza sandwich lemon peach pear plum potato
    tomato worker employee friend customer guest member team player vote
    letter word song photo picture shell rock tile square triangle side edge
    vertex face digit solution root
  """.split():
    table[singular] = table[_plural(singular)] = (singular, Fraction(1))
  return table


def _plural(word: str) -> str:
  irregular = {
    "person": "people",
    "child": "children",
    "fish": "fishes",
    "vertex": "vertices",
    "candy": "candies",
    "potato": "potatoes",
    "tomato": "tomatoes",
  }
  if word in irregular:
    return irregular[word]
  sibilant = word.endswith(("s", "x", "ch", "sh"))
  return word + ("es" if sibilant else "s")


_TABLE = _table()
_SCALED = {name for name, scale in _TABLE.values() if scale != 1} - {"dollars"}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_SUFFIXES = {"squared": 2, "cubed": 3}
_SYMBOL = re.compile(r"([a-zA-Z_]+)(?:\^\{?([1-9])\}?|([23]))?")


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Unit | None:
  """Returns the unit that a text names, None if it names none."""
  text = text.strip().rstrip(".").strip()
  text = {"mph": "miles/hour", "kph": "km/hour"}.get(text.lower(), text)
  parts = re.split(r"\s*/\s*|\s+per\s+|^per\s+", text)
  if not 1 <= len(parts) <= 2:
    return None
  dimensions: dict[str, int] = {}
  scale = Fraction(1)
  for part, sign in zip(parts, (1, -1), strict=False):
    found = _power(part)
    if found is None:
      return None
    dimension, one, exponent = found
    dimensions[dimension] = dimensions.get(dimension, 0) + sign * exponent
    scale *= one ** (sign * exponent)
  if dimensions.get("volume"):  # 1 L = 1 dm³
    exponent = dimensions.pop("volume")
    dimensions["length"] = dimensions.get("length", 0) + 3 * exponent
    scale *= Fraction(1, 1000) ** exponent
  kept = sorted(item for item in dimensions.items() if item[1])
  return Unit(tuple(kept), scale)


def is_plain_count(unit: Unit) -> bool:
  """Returns whether a unit cannot have scaled a number: apples, not km.

  So is dollars, as amounts are in dollars where nothing else is said.
  """
  if len(unit.dimensions) != 1 or unit.dimensions[0][1] != 1:
    return False
  return unit.scale == 1 and unit.dimensions[0][0] not in _SCALED


def _power(text: str) -> tuple[str, Fraction, int] | None:
  """Returns dimension, scale and exponent of `cm^2`, `square feet`, ..."""
  words = text.split()
  exponent = 1
  if len(words) == 2 and words[0].lower() in _POWERS:
    exponent, words = _POWERS[words[0].lower()], words[1:]
  elif len(words) == 2 and words[1].lower() in _SUFFIXES:
    exponent, words = _SUFFIXES[words[1].lower()], words[:1]
  match = _SYMBOL.fullmatch(words[0]) if len(words) == 1 else None
  if match is None:
    return None
  name = match[1]
  entry = _TABLE.get(name) or (
    _TABLE.get(name.lower()) if len(name) > 2 else None
  )
  if entry is None:
    return None
  return *entry, exponent * int(match[2] or match[3] or 1)
