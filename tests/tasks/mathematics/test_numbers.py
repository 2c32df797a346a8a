"""Exact arithmetic against values known otherwise, and its bounds."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from reasoning_rl.tasks.mathematics import grammar, normalise, numbers, units


def approximate(value: numbers.Value) -> complex:
  """Returns a value in floats: an independent way to tell values apart."""
  if not isinstance(value, numbers.Ratio):
    return complex(value)
  named = {"π": math.pi, "e": math.e, "i": 1j, "x": 0.7, "y": -1.3}

  def total(terms: numbers.Sum) -> complex:
    result = 0j
    for monomial, coefficient in terms.items():
      product = complex(coefficient)
      for name, exponent in monomial:
        base = int(name[1:]) if name.startswith("√") else named[name]
        product *= base ** float(exponent)
      result += product
    return result

  return total(value.numerator) / total(value.denominator)


def random_value(rng: random.Random, depth: int) -> tuple[str, complex]:
  """Returns an expression and its value in floats, worked out beside it."""
  if depth == 0:
    n = rng.randint(1, 9)
    return rng.choice(
      [
        (str(n), complex(n)),
        (rf"\sqrt{{{n}}}", complex(n**0.5)),
        (r"\pi", complex(math.pi)),
        ("x", 0.7 + 0j),
        ("i", 1j),
        (rf"\sqrt[3]{{{n}}}", complex(n ** (1 / 3))),
      ]
    )
  a, left = random_value(rng, depth - 1)
  b, right = random_value(rng, depth - 1)
  if abs(right) < 1e-9:
    b, right = "7", 7 + 0j
  return rng.choice(
    [
      (f"({a}) + ({b})", left + right),
      (f"({a}) - ({b})", left - right),
      (rf"({a}) \cdot ({b})", left * right),
      (rf"\frac{{{a}}}{{{b}}}", left / right),
      (f"({a})^2", left**2),
    ]
  )


def test_random_expressions_have_the_value_that_floats_give_them():
  rng = random.Random(5)
  read = 0
  for _ in range(400):
    text, expected = random_value(rng, 2)
    try:
      value = grammar.evaluate(normalise.clean(text))
    except normalise.Malformed as error:
      assert "zero" in str(error) or "bounds" in str(error)
      continue
    read += 1
    assert abs(approximate(value) - expected) < 1e-6 * (1 + abs(expected))
  assert read > 380


def test_equal_values_have_equal_floats_and_the_other_way_round():
  rng = random.Random(6)
  pool = []
  for _ in range(60):
    text, _ = random_value(rng, 1)
    pool.append(grammar.evaluate(normalise.clean(text)))
  for a in pool:
    for b in pool:
      near = abs(approximate(a) - approximate(b)) < 1e-9
      assert numbers.equal(a, b) == near


def test_a_radical_takes_its_whole_part_out():
  # 72 = 36·2
  value = numbers.root(72, 2)
  two = (("√000000002", Fraction(1, 2)),)
  assert value.numerator == {two: 6} and value.denominator == {(): 1}
  assert numbers.multiply(value, value) == 72


@pytest.mark.parametrize(
  "text",
  [
    "9^{9^9}",
    "2^{4097}",
    "(x+y+z+w)^{40}",
    "10^{400}*10^{400}*10^{400}*10^{400}",
    "1e401",
    "201!",
    "1" * 101,
    "(" * 17 + "1" + ")" * 17,
  ],
)
def test_what_is_beyond_the_bounds_is_refused_before_it_is_computed(text):
  with pytest.raises(normalise.Malformed):
    grammar.evaluate(text)


def test_what_is_within_the_bounds_is_computed():
  assert grammar.evaluate("2^{4000}") == 2**4000
  assert grammar.evaluate("1e400") == 10**400
  assert grammar.evaluate("200!") == math.factorial(200)
  assert grammar.evaluate("1" * 100) == int("1" * 100)


@pytest.mark.parametrize("text", ["1/0", "0^0", "0^{-1}", "x/(x-x)"])
def test_what_is_undefined_has_no_value(text):
  with pytest.raises(normalise.Malformed):
    grammar.evaluate(text)


def test_units_convert_exactly():
  inch, foot = units.read("inches"), units.read("ft")
  assert foot.scale / inch.scale == 12
  assert units.read("mi").scale / foot.scale == 5280
  assert units.read("lb").scale / units.read("oz").scale == 16
  kilometers, meters = units.read("km/h"), units.read("meters per second")
  assert kilometers.dimensions == meters.dimensions
  assert kilometers.scale == Fraction(1000, 3600)
  assert units.read("cm^3") == units.read("mL")  # 1 L = 1 dm³
  assert units.read("gizmos") is None and units.read("m/s/s") is None


def test_only_listed_characters_are_read():
  for code in range(0x80, 0x3000):
    character = chr(code)
    if code in normalise.TABLE:
      continue
    with pytest.raises(normalise.Malformed):
      normalise.clean(f"5{character}5")
