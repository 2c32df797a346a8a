"""True equivalents by construction, and how often each family is accepted.

  python tests/tasks/mathematics/equivalents.py   # writes the list

The list is kept beside the tests, so that a change of it is seen.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterator
from fractions import Fraction

LIST = (
  pathlib.Path(__file__).parents[2]
  / "testdata"
  / "mathematics_equivalents.jsonl"
)


def equivalents() -> list[dict[str, str]]:
  """Returns gold, answer and family; no pair twice."""
  found = {}
  for family in (
    integers,
    rationals,
    decimals,
    percentages,
    radicals,
    polynomials,
    structures,
    quantities,
    words,
    functions,
  ):
    for gold, answer in family():
      found.setdefault((gold, answer), family.__name__)
  return [
    {"gold": gold, "answer": answer, "family": family}
    for (gold, answer), family in found.items()
  ]


def integers() -> Iterator[tuple[str, str]]:
  for n in (0, 7, 42, -13, 1234, 98765, 1234567):
    gold = str(n)
    yield from ((gold, form) for form in (f"{n}.0", f"${n}$", f"({n})"))
    yield from ((gold, form) for form in (f"x = {n}", f"{2 * n}/2", f"{n}."))
    yield gold, f"{n:,}"
    yield f"{n:,}", gold
    yield gold, f"{n:,}".replace(",", "{,}")
    yield gold, f"{n + 5} - 5"
    yield gold, rf"\frac{{{3 * n}}}{{3}}"
    yield gold, rf"\({n}\)"
    yield gold, f"**{n}**"
    yield gold, f"{n}e0"
  for base, exponent in ((2, 10), (3, 4), (10, 6), (7, 3), (12, 2)):
    gold = str(base**exponent)
    yield gold, f"{base}^{exponent}"
    yield gold, f"{base}^{{{exponent}}}"
    yield gold, f"{base}**{exponent}"
    yield gold, rf"{base}^{{{exponent - 1}}} \cdot {base}"
  for n in (3, 5, 6):
    yield str(math.factorial(n)), f"{n}!"
    yield str(math.comb(n + 2, 2)), rf"\binom{{{n + 2}}}{{2}}"
  yield "300000", r"3 \times 10^5"
  yield "300000", "3e5"
  yield "602", r"6.02 \times 10^{2}"


def rationals() -> Iterator[tuple[str, str]]:
  for a, b in ((1, 2), (3, 4), (-5, 6), (7, 3), (22, 7), (-1, 9), (100, 3)):
    gold = f"{a}/{b}"
    latex = rf"\frac{{{a}}}{{{b}}}"
    yield gold, latex
    yield latex, gold
    yield latex, latex.replace("frac", "dfrac")
    yield gold, latex.replace("frac", "tfrac")
    yield gold, f"{2 * a}/{2 * b}"
    yield latex, rf"\frac{{{-a}}}{{{-b}}}"
    yield latex, f"({a})/({b})"
    yield gold, rf"{a} \div {b}"
    yield gold, f"y = {latex}"
    yield latex, rf"\left(\frac{{{a}}}{{{b}}}\right)"
    sign = "-" if a < 0 else ""
    yield latex, rf"{sign}\frac{{{abs(a)}}}{{{b}}}"
    if abs(a) > b:
      whole, rest = divmod(abs(a), b)
      yield gold, f"{sign}{whole} {rest}/{b}"
      yield latex, rf"{sign}{whole}\frac{{{rest}}}{{{b}}}"
    if 0 < a < 10 and b < 10:
      yield gold, rf"\frac{a}{b}"


def decimals() -> Iterator[tuple[str, str]]:
  for text in ("0.5", "0.25", "-1.75", "3.125", "0.001", "12.5", "2.40"):
    value = Fraction(text)
    quotient = f"{value.numerator}/{value.denominator}"
    yield text, quotient
    yield quotient, text
    yield text, text + "0"
    yield text, text.replace("0.", ".", 1)
    yield text, rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    yield text, rf"{int(value * 1000)} \times 10^{{-3}}"
    yield text, f"${text}$"


def percentages() -> Iterator[tuple[str, str]]:
  for n in (1, 5, 12, 50, 75, 100, 250):
    value = Fraction(n, 100)
    quotient = f"{value.numerator}/{value.denominator}"
    for gold in (f"{n}%", rf"{n}\%"):
      yield gold, quotient
      yield gold, f"{n / 100}"
      yield gold, f"{n} percent"
      yield gold, rf"{n}\text{{ percent}}"
      yield gold, rf"{n}.0\%"
    yield quotient, f"{n} %"


def radicals() -> Iterator[tuple[str, str]]:
  for a, n in ((2, 2), (3, 2), (2, 3), (5, 7), (4, 15)):
    gold = rf"{a}\sqrt{{{n}}}"
    yield gold, rf"\sqrt{{{a * a * n}}}"
    yield gold, rf"{a} \cdot \sqrt{{{n}}}"
    yield gold, f"{a}*sqrt({n})"
    yield gold, f"{a}√{n}"
    yield gold, rf"\sqrt{{{n}}} \times {a}"
    yield gold, rf"{a} \cdot {n}^{{1/2}}"
    yield gold, rf"\frac{{{a * n}}}{{\sqrt{{{n}}}}}"
    yield gold, rf"{a - 1}\sqrt{{{n}}} + \sqrt{{{n}}}"
    yield rf"1+{gold}", rf"{gold} + 1"
  for n in (2, 3, 5, 6):
    root = rf"\sqrt{{{n}}}"
    yield rf"\frac{{{root}}}{{{n}}}", rf"\frac{{1}}{{{root}}}"
    yield rf"\frac{{{root}-1}}{{{n - 1}}}", rf"\frac{{1}}{{{root}+1}}"
    yield rf"(1+{root})^2", rf"{1 + n}+2{root}"
    yield rf"{n}{root}", rf"{root}^3"
  for a, b in ((1, 2), (2, 3), (3, 4), (5, 1)):
    gold = rf"\frac{{{a}\pi}}{{{b}}}"
    yield gold, rf"{a}\pi/{b}"
    yield gold, rf"\frac{{{a}}}{{{b}}}\pi"
    yield gold, rf"\frac{{{2 * a}\pi}}{{{2 * b}}}"
    yield gold, f"{a}π/{b}"
    yield gold, f"{a}*pi/{b}"
  yield "2", r"\sqrt[3]{8}"
  yield "-2", r"\sqrt[3]{-8}"
  yield "4", "8^{2/3}"
  yield r"2\sqrt[3]{2}", r"\sqrt[3]{16}"
  yield "3i", r"\sqrt{-9}"
  yield "2i", "(1+i)^2"


def polynomials() -> Iterator[tuple[str, str]]:
  for a in (1, 2, 3, 5):
    for b in (1, 2, 7):
      gold = f"{a}x + {b}"
      yield gold, f"{b}+{a}x"
      yield gold, f"y = {a}x + {b}"
      yield gold, rf"{a} \cdot x + {b}"
      yield gold, rf"{b} + \frac{{{2 * a}x}}{{2}}"
      square = f"(x + {a})(x + {b})"
      yield square, f"x^2 + {a + b}x + {a * b}"
      yield f"(x-{a})^2", f"x^2 - {2 * a}x + {a * a}"
      yield rf"\frac{{x+{a}}}{{x}}", rf"1 + \frac{{{a}}}{{x}}"
  yield r"\frac{x^2-1}{x-1}", "x+1"
  yield "ab", "b a"
  yield r"\frac{1}{n(n+1)}", r"\frac{1}{n}-\frac{1}{n+1}"
  yield r"2\theta", r"\theta + \theta"


def structures() -> Iterator[tuple[str, str]]:
  for a, b in ((1, 2), (0, 5), (-3, 4)):
    for opening, closing in ("()", "[]", "[)", "(]"):
      gold = f"{opening}{a},{b}{closing}"
      yield gold, f"{opening} {a}, {b} {closing}"
      yield gold, rf"\left{opening}{a}, {b}\right{closing}"
      yield gold, f"{opening}{2 * a}/2, {b}.0{closing}"
    yield rf"\{{{a},{b}\}}", rf"\{{{b}, {a}\}}"
    yield rf"\{{{a},{b}\}}", f"{b}, {a}"
    yield rf"\{{{a},{b}\}}", rf"\left\{{{a}, {b}\right\}}"
    yield f"{a},{b}", f"{a} , {b}"
    yield f"{a},{b}", f"{a} and {b}"
    yield f"x={a}, y={b}", f"x = {a}, y = {b}"
    yield f"({a},{b})", f"(x, y) = ({a}, {b})"
    yield f"[{a}, {b}]", rf"x \in [{a}, {b}]"
  yield r"(-\infty, 3)", "(-∞, 3)"
  yield r"[2, \infty)", r"[2, +\infty)"
  yield r"\{2,-2\}", r"\pm 2"
  yield r"\{1+\sqrt{2}, 1-\sqrt{2}\}", r"1 \pm \sqrt{2}"
  yield r"\emptyset", r"\varnothing"


def quantities() -> Iterator[tuple[str, str]]:
  for n in (5, 12, 250):
    for unit in ("cm", "kg", "km", "hours", "dollars", "days"):
      yield rf"{n} \text{{ {unit}}}", f"{n} {unit}"
      yield str(n), f"{n} {unit}"
      yield rf"{n}\,\mathrm{{{unit}}}", str(n)
    yield f"{n} m", f"{n * 100} cm"
    yield f"{n} hours", f"{n * 60} minutes"
    yield f"{n} kg", f"{n}000 g"
    yield rf"\${n}", f"{n} dollars"
    yield rf"\${n}.50", f"${n}.50"
    yield str(n), f"${n}"
    yield rf"{n}^\circ", f"{n} degrees"
    yield rf"{n}^{{\circ}}", f"{n}°"
    yield rf"{n} \text{{ cm}}^2", f"{n} square centimeters"
    yield f"{n} m/s", f"{n} meters per second"
    yield str(n), f"{n} apples"


def words() -> Iterator[tuple[str, str]]:
  for letter in "ABCDE":
    yield letter, f"({letter})"
    yield rf"\text{{({letter})}}", letter
    yield rf"\text{{{letter}}}", rf"\textbf{{({letter})}}"
    yield letter, f"{letter}."
  for word in ("yes", "no", "True", "false", "Monday", "no solution", "even"):
    yield word, word.upper()
    yield word, rf"\text{{{word}}}"
    yield rf"\text{{{word}}}", word.capitalize() + "."
  yield "5", "five"


def functions() -> Iterator[tuple[str, str]]:
  """What the exact grammar leaves to math-verify."""
  for a in (2, 3, 5, 7):
    yield rf"\sin {a}x", rf"\sin({a}x)"
    yield rf"{a}\log 2", rf"\log {2**a}"
    yield str(a), rf"\log_2 {2**a}"
    yield rf"e^{{{a}x}}", f"(e^x)^{a}"
    yield f"x + y = {a}", f"y + x = {a}"
    yield str(a), f"|-{a}|"
    yield rf"(1,{a}) \cup (8,9)", rf"(8,9) \cup (1,{a})"


if __name__ == "__main__":
  with LIST.open("w", encoding="utf-8") as lines:
    for entry in equivalents():
      lines.write(json.dumps(entry) + "\n")
