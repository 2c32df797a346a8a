"""The forms that tests of programs come in."""

from __future__ import annotations

import dataclasses
from typing import Any

# How the value of a call is judged: `==` the expected one, within a tolerance
# of it, or by its truth.
EQUAL, CLOSE, TRUE, FALSE = "equal", "close", "true", "false"


@dataclasses.dataclass(frozen=True)
class Call:
  """One call of the tested function, and what it should give.

  Attributes:
    arguments: By position.
    keywords: By name.
    expected: The right value; unused where the truth is asked for.
    relation: One of `EQUAL`, `CLOSE`, `TRUE`, `FALSE`.
    tolerance: |value − expected| must be less, or not more if `inclusive`.
    inclusive: Whether the tolerance itself is close enough.
  """

  arguments: tuple[Any, ...]
  keywords: dict[str, Any] = dataclasses.field(default_factory=dict)
  expected: Any = None
  relation: str = EQUAL
  tolerance: float = 0.0
  inclusive: bool = False


@dataclasses.dataclass(frozen=True)
class CallTests:
  """Calls and expected values, as in LiveCodeBench's functional problems."""

  calls: tuple[Call, ...]


@dataclasses.dataclass(frozen=True)
class CheckTests:
  """A function `check(candidate)` full of assertions, as in HumanEval.

  Attributes:
    source: Python text that defines `check`.
    setup: Python text that the tests may need, such as the problem's prompt
      with its helper functions. It is the problem's, never the program's.
  """

  source: str
  setup: str = ""


@dataclasses.dataclass(frozen=True)
class AssertTests:
  """Assertions as text, each by itself, as in MBPP.

  Attributes:
    asserts: Python statements.
    setup: Python text that they may need.
  """

  asserts: tuple[str, ...]
  setup: str = ""


@dataclasses.dataclass(frozen=True)
class ScriptTests:
  """Text in and text out, as in programming contests.

  Lines are compared; blanks at their ends and empty lines at the end of the
  text do not count.

  Attributes:
    cases: (standard input, expected standard output).
  """

  cases: tuple[tuple[str, str], ...]


Tests = CallTests | CheckTests | AssertTests | ScriptTests


def holds(call: Call, value: object) -> bool:
  """Returns whether a plain value is what a call should give.

  The comparison is Python's own `==`, on values that are plain on both sides:
  so 1 equals 1.0 and True, a list is no tuple, and NaN equals nothing.
  """
  if call.relation == TRUE:
    return bool(value)
  if call.relation == FALSE:
    return not value
  if call.relation == EQUAL:
    return value == call.expected
  try:
    distance = abs(value - call.expected)
    if call.inclusive:
      return bool(distance <= call.tolerance)
    return bool(distance < call.tolerance)
  except (TypeError, OverflowError):
    return False


def same_text(printed: str, expected: str) -> bool:
  """Returns whether a script printed what it should."""
  return _lines(printed) == _lines(expected)


def _lines(text: str) -> list[str]:
  lines = [line.rstrip() for line in text.rstrip().split("\n")]
  return lines


def contains_nan(value: object) -> bool:
  """Returns whether a plain value holds a NaN, which no comparison sees."""
  stack = [value]
  while stack:
    item = stack.pop()
    if type(item) in (float, complex) and item != item:
      return True
    if type(item) is dict:
      stack += [*item.keys(), *item.values()]
    elif type(item) in (list, tuple, set, frozenset):
      stack += item
  return False
