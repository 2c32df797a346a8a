"""Sums and products to do in one's head, as questions in words.

What is 7 + 5 + 8?

7 + 5 = 12.
12 + 8 = 20.
The answer is 20.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from reasoning_rl.tasks import base, worked

_OPERATORS = {"sum": "+", "difference": "-", "product": "*"}


@dataclasses.dataclass(frozen=True)
class MentalArithmetic(worked.WorkedTask):
  """Sums, differences and products of one size.

  Attributes:
    operation: "sum", "product" or "difference" (of two, never negative).
    terms: Numbers in a question, 2 or more.
    max_number: Largest of them; the smallest is 1.
  """

  operation: str = "sum"
  terms: int = 2
  max_number: int = 99

  name: ClassVar[str] = "mental_arithmetic"
  version: ClassVar[str] = "mental_arithmetic-1"

  def __post_init__(self):
    """Raises on questions that there are not."""
    super().__post_init__()
    base.check_at_least(terms=(self.terms, 2), max_number=(self.max_number, 1))
    if self.operation not in _OPERATORS:
      raise base.TaskError(
        f"operation is {self.operation!r}: use one of {', '.join(_OPERATORS)}"
      )
    if self.operation == "difference" and self.terms > 2:
      raise base.TaskError("a difference is of two numbers: set terms to 2")

  @property
  def most_computations(self) -> int:
    """One for each number after the first."""
    return self.terms - 1

  @property
  def kinds(self) -> Sequence[str]:
    """The one operator."""
    return _OPERATORS[self.operation]

  @property
  def longest(self) -> worked.Worked:
    """The largest numbers."""
    return self._worked((self.max_number,) * self.terms)

  def draw(self, split: str, index: int) -> tuple[str, worked.Worked]:
    """Returns the identity and the content of a question."""
    identity, numbers, _ = base.draw(
      self.seed, split, index, self._propose, "raise max_number"
    )
    return identity, self._worked(numbers)

  def _propose(self, rng: base.Draws):
    numbers = [1 + rng.below(self.max_number) for _ in range(self.terms)]
    if self.operation == "difference":
      numbers.sort(reverse=True)
    # Reordered sums and products are the same question.
    return repr((self.operation, sorted(numbers))), tuple(numbers)

  def _worked(self, numbers: Sequence[int]) -> worked.Worked:
    operator = _OPERATORS[self.operation]
    there, computations = numbers[0], []
    for number in numbers[1:]:
      result = {
        "+": there + number,
        "-": there - number,
        "*": there * number,
      }[operator]
      computations.append((there, operator, number, result))
      there = result
    return worked.Worked(
      f"What is {f' {operator} '.join(map(str, numbers))}?",
      tuple(
        (f"What is {a} {o} {b}?", f"{a} {o} {b} = {r}.")
        for a, o, b, r in computations
      ),
      tuple(computations),
    )
