r"""What an answer is, and whether one equals another.

An answer is a number (with or without a unit and the variable that it is the
value of), ±∞, a word, the letter of a choice, or a tuple, an interval, a set
or a list of these. Rules where people differ:

* A decimal equals a rational only if it is that number: 0.33 is not 1/3.
* 2e3 is 2000 and 1e-3 is 0.001; 2e+3 and 2E-3 are left open, for e and E may
  be symbols there; 2e + 3, with blanks, is the sum.
* n % is n/100, never n.
* 1,234 and 12{,}345 are numbers; inside brackets a comma always separates.
* A unit counts where both sides give one (5 cm = 0.05 m); one side's alone is
  ignored, if it is in the table of units. So is a variable, as in x = 5.
* Brackets are compared as they stand: (1, 2) may be a point or an interval.
* A bare list has an order, unless told otherwise; a set has none, and a bare
  list may stand for a set that is asked for. A ± b is the set of both.
* An equation of numbers must hold: 5 = 4 is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reasoning_rl.tasks.mathematics import numbers, units


class Answer(NamedTuple):
  """One answer, read.

  Attributes:
    kind: number, infinity, word, choice, bracket, set or list.
    value: The number, the sign of infinity, the word, the letter; None if the
      answer has items.
    items: The items of a bracket, a set or a list.
    brackets: The opening and the closing one.
    unit: The unit beside a number.
    variable: What the number is said to be the value of.
  """

  kind: str
  value: numbers.Value | str | None = None
  items: tuple[Answer, ...] = ()
  brackets: str = ""
  unit: units.Unit | None = None
  variable: str = ""


class Unread(NamedTuple):
  """A text that was not read as an answer, and why.

  Attributes:
    malformed: True if no reading makes it an answer.
    reason: What is wrong, or not covered.
  """

  malformed: bool
  reason: str


def same(gold: Answer, given: Answer, unordered_lists: bool = False) -> bool:
  """Returns whether two answers are the same by the rules above.

  Args:
    gold: The right answer.
    given: The answer to compare.
    unordered_lists: Whether the order of a bare list is free.

  Raises:
    normalise.Malformed: If finding out is beyond the bounds.
  """
  if gold.variable and given.variable and gold.variable != given.variable:
    return False
  if gold.kind == "number" and given.kind == "number":
    return _same_number(gold, given)
  kinds = gold.kind, given.kind
  if kinds in (("set", "set"), ("set", "list")) or (
    unordered_lists and kinds in (("list", "list"), ("list", "set"))
  ):
    return _same_set(gold.items, given.items, unordered_lists)
  if gold.kind != given.kind or gold.brackets != given.brackets:
    return False
  if gold.items or given.items:
    return len(gold.items) == len(given.items) and all(
      same(a, b, unordered_lists)
      for a, b in zip(gold.items, given.items, strict=True)
    )
  return gold.value == given.value


def _same_number(gold: Answer, given: Answer) -> bool:
  if gold.unit is None or given.unit is None:
    return numbers.equal(gold.value, given.value)
  if gold.unit.dimensions != given.unit.dimensions:
    return False
  return numbers.equal(
    numbers.multiply(gold.value, gold.unit.scale),
    numbers.multiply(given.value, given.unit.scale),
  )


def _same_set(
  gold: Sequence[Answer], given: Sequence[Answer], unordered_lists: bool
) -> bool:
  """Returns whether each has what the other has."""
  return all(
    any(same(a, b, unordered_lists) for b in given) for a in gold
  ) and all(any(same(a, b, unordered_lists) for a in gold) for b in given)
