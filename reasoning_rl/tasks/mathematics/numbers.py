r"""Exact numbers: rationals, radicals, π, e, i and variables; never a float.

A value is an int, a Fraction, or a `Ratio` of two sums of terms. A term is a
rational times a product of symbols and of p^(a/b) with p prime and
0 < a/b < 1; such products of radicals are linearly independent over the
rationals (A. S. Besicovitch, On the linear independence of fractional powers
of integers, 1940). With i² = -1, and π and e taken for symbols, two values are
equal exactly when their cross products have equal terms.

Every operation is bounded before it is done: nothing computes an integer of
more than `MAX_BITS` bits or a sum of more than `MAX_TERMS` terms.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from fractions import Fraction

from reasoning_rl.tasks.mathematics.normalise import Malformed, NotCovered

MAX_BITS = 4096
MAX_TERMS = 32
MAX_DEGREE = 64  # Of a sum's power.
MAX_RADICAND = 10**8  # Larger ones would take long to factorise.
MAX_FACTORIAL = 200

Rational = int | Fraction
Monomial = tuple[tuple[str, Rational], ...]  # (symbol, exponent), sorted.
Sum = dict[Monomial, Rational]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Ratio:
  """A quotient of two sums of terms that is no rational.

  Attributes:
    numerator: Coefficient by monomial, no zeros.
    denominator: The same, not empty.
  """

  numerator: Sum
  denominator: Sum


Value = int | Fraction | Ratio


def symbol(name: str) -> Ratio:
  """Returns a symbol as a value; `i` is the imaginary unit."""
  return Ratio({((name, 1),): 1}, {(): 1})


def add(a: Value, b: Value) -> Value:
  """Returns a + b."""
  if not isinstance(a, Ratio) and not isinstance(b, Ratio):
    return _bounded(a + b)
  a, b = _ratio(a), _ratio(b)
  if a.denominator == b.denominator:
    return _reduced(_plus(a.numerator, b.numerator), a.denominator)
  left = _times(a.numerator, b.denominator)
  right = _times(b.numerator, a.denominator)
  return _reduced(_plus(left, right), _times(a.denominator, b.denominator))


def negate(a: Value) -> Value:
  """Returns -a."""
  return multiply(-1, a) if isinstance(a, Ratio) else -a


def multiply(a: Value, b: Value) -> Value:
  """Returns a·b."""
  if not isinstance(a, Ratio) and not isinstance(b, Ratio):
    return _bounded(a * b)
  a, b = _ratio(a), _ratio(b)
  return _reduced(
    _times(b.numerator, a.numerator), _times(a.denominator, b.denominator)
  )


def divide(a: Value, b: Value) -> Value:
  """Returns a / b.

  Raises:
    Malformed: If b is 0.
  """
  if isinstance(b, Ratio):
    return multiply(a, Ratio(b.denominator, b.numerator))
  if b == 0:
    raise Malformed("a division by zero")
  if isinstance(a, Ratio):
    return multiply(a, Fraction(1, b))
  return _bounded(Fraction(a, b))


def power(base: Value, exponent: Value) -> Value:
  """Returns base^exponent for a rational exponent.

  Raises:
    Malformed: If the power is undefined or beyond the bounds.
    NotCovered: If it is none that has one value here.
  """
  if isinstance(exponent, Ratio):
    raise NotCovered("a symbolic exponent")
  if isinstance(exponent, Fraction) and exponent.denominator > 1:
    if isinstance(base, Ratio) or base < 0:
      raise NotCovered("a root of what is not a positive rational")
    return root(power(base, exponent.numerator), exponent.denominator)
  exponent = int(exponent)
  if isinstance(base, Ratio):
    return _ratio_power(base, exponent)
  if exponent < 0 or exponent == 0 == base:
    if base == 0:
      raise Malformed("a power of zero without a value")
  bits = max(base.numerator.bit_length(), base.denominator.bit_length())
  # The power has at least as many bits, and about twice as many at most.
  if (bits - 1) * abs(exponent) >= MAX_BITS:
    raise Malformed("a power beyond the bounds")
  return _bounded(
    Fraction(base) ** exponent if exponent < 0 else base**exponent
  )


def root(value: Value, degree: Value) -> Value:
  """Returns the real root of a rational, or √ of a negative one.

  Raises:
    Malformed: If the degree is none.
    NotCovered: If the root is not of a rational, or too large to factorise.
  """
  if isinstance(value, Ratio):
    raise NotCovered("a root of a symbol")
  if not isinstance(degree, int):
    raise NotCovered("a root of a degree that is no integer")
  return _root(value, degree)


def factorial(value: Value) -> int:
  """Returns n! of a small n."""
  if not isinstance(value, int) or value < 0:
    raise NotCovered("a factorial of other than a natural number")
  if value > MAX_FACTORIAL:
    raise Malformed("a factorial beyond the bounds")
  return math.factorial(value)


def binomial(n: Value, k: Value) -> int:
  """Returns n over k of small ones."""
  if not isinstance(n, int) or not isinstance(k, int):
    raise NotCovered("a binomial coefficient of other than integers")
  if not 0 <= n <= MAX_FACTORIAL or not 0 <= k <= MAX_FACTORIAL:
    raise Malformed("a binomial coefficient beyond the bounds")
  return math.comb(n, k)


def equal(a: Value, b: Value) -> bool:
  """Returns whether two values are the same.

  Raises:
    Malformed: If finding out is beyond the bounds.
  """
  if not isinstance(a, Ratio) and not isinstance(b, Ratio):
    return a == b
  a, b = _ratio(a), _ratio(b)
  return _times(a.numerator, b.denominator) == _times(
    b.numerator, a.denominator
  )


def symbols(value: Value) -> set[str]:
  """Returns the names of the symbols in a value, constants included."""
  if not isinstance(value, Ratio):
    return set()
  return {
    name
    for part in (value.numerator, value.denominator)
    for monomial in part
    for name, _ in monomial
    if not name.startswith("√")
  }


def _bounded(value: Rational) -> Rational:
  if isinstance(value, int):
    if value.bit_length() > MAX_BITS:
      raise Malformed("a number beyond the bounds")
    return value
  if max(value.numerator.bit_length(), value.denominator.bit_length()) > (
    MAX_BITS
  ):
    raise Malformed("a number beyond the bounds")
  return value.numerator if value.denominator == 1 else value


def _ratio(value: Value) -> Ratio:
  if isinstance(value, Ratio):
    return value
  return Ratio({(): value} if value else {}, {(): 1})


def _reduced(numerator: Sum, denominator: Sum) -> Value:
  """Returns the quotient, a rational where it is one."""
  if not denominator:
    raise Malformed("a division by zero")
  if not numerator:
    return 0
  if len(denominator) == 1 and () in denominator:
    scale = denominator[()]
    if len(numerator) == 1 and () in numerator:
      return _bounded(Fraction(numerator[()], scale))
    if scale != 1:
      scale = Fraction(scale)
      numerator = {
        monomial: _bounded(coefficient / scale)
        for monomial, coefficient in numerator.items()
      }
      denominator = {(): 1}
  return Ratio(numerator, denominator)


def _plus(a: Sum, b: Sum) -> Sum:
  result = dict(a)
  for monomial, coefficient in b.items():
    coefficient = _bounded(result.get(monomial, 0) + coefficient)
    if coefficient:
      result[monomial] = coefficient
    else:
      del result[monomial]
  if len(result) > MAX_TERMS:
    raise Malformed("a sum beyond the bounds")
  return result


def _times(a: Sum, b: Sum) -> Sum:
  if len(b) == 1 and () in b:
    factor = b[()]
    return a if factor == 1 else {m: _bounded(p * factor) for m, p in a.items()}
  result: Sum = {}
  for left, p in a.items():
    for right, q in b.items():
      monomial, factor = _joined(left, right)
      coefficient = _bounded(result.get(monomial, 0) + p * q * factor)
      result[monomial] = coefficient
  result = {m: coefficient for m, coefficient in result.items() if coefficient}
  if len(result) > MAX_TERMS:
    raise Malformed("a product beyond the bounds")
  return result


def _joined(left: Monomial, right: Monomial) -> tuple[Monomial, int]:
  """Returns the product of two monomials and the integer that comes out."""
  if not left or not right:
    return left or right, 1
  exponents = dict(left)
  factor = 1
  for name, exponent in right:
    exponent = exponents.get(name, 0) + exponent
    if name.startswith("√") and exponent >= 1:
      factor *= int(name[1:])
      exponent -= 1
    elif name == "i" and exponent == 2:
      factor, exponent = -factor, 0
    exponents[name] = exponent
  return tuple(sorted(item for item in exponents.items() if item[1])), factor


def _ratio_power(base: Ratio, exponent: int) -> Value:
  if exponent < 0:
    return _ratio_power(Ratio(base.denominator, base.numerator), -exponent)
  if exponent > MAX_DEGREE:
    raise Malformed("a power beyond the bounds")
  result: Value = 1
  for _ in range(exponent):
    result = multiply(result, base)
  return result


@functools.lru_cache(maxsize=4096)
def _root(value: Rational, degree: int) -> Value:
  if not 2 <= degree <= 12:
    raise Malformed("a root beyond the bounds")
  if value < 0:
    if degree % 2:
      return negate(root(-value, degree))
    if degree > 2:
      raise NotCovered("an even root of a negative number")
    return multiply(symbol("i"), root(-value, degree))
  denominator = value.denominator
  # ⁿ√(a/b) = ⁿ√(a·bⁿ⁻¹) / b
  radicand = _bounded(value.numerator * denominator ** (degree - 1))
  whole = _integer_root(radicand, degree)
  if whole**degree == radicand:
    return divide(whole, denominator)
  if radicand > MAX_RADICAND:
    raise NotCovered("a radicand beyond the bounds")
  outside, inside = 1, []
  for prime, count in _factors(radicand):
    outside *= prime ** (count // degree)
    if count % degree:
      inside.append((f"√{prime:09d}", Fraction(count % degree, degree)))
  return _reduced({tuple(inside): outside}, {(): denominator})


def _integer_root(value: int, degree: int) -> int:
  """Returns the largest integer whose power is at most `value`."""
  if degree == 2:
    return math.isqrt(value)
  high = 1 << (value.bit_length() // degree + 1)
  low = 0
  while low < high:
    middle = (low + high + 1) // 2
    low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
  return low


@functools.lru_cache(maxsize=4096)
def _factors(value: int) -> tuple[tuple[int, int], ...]:
  """Returns the primes of a small integer and how often each divides it."""
  found = []
  divisor = 2
  while divisor * divisor <= value:
    count = 0
    while value % divisor == 0:
      value //= divisor
      count += 1
    if count:
      found.append((divisor, count))
    divisor += 1 + divisor % 2
  if value > 1:
    found.append((value, 1))
  return tuple(found)
