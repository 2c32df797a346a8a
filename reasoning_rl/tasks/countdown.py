r"""Combining all the given numbers with + - * / to reach a target.

  prompt       3 7 25 4=46
  thoughts     25+4=29 3 7 29 | 7*3=21 29 21 | ...

(a newline ends the prompt and each thought.) A thought is one operation and
what is left after it: the remaining numbers in the order in which they stood,
then the result. Where a number stands twice, its first copy is used. Results
are integers in [1, max_value]. The last thought leaves one number, and whether
that is the target anybody can see: what counts is how much search it takes.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import string
from collections.abc import Callable, Sequence
from typing import ClassVar

from reasoning_rl.tasks import base

_ADVICE = (
  "widen target_min to target_max, raise numbers or max_value, or choose "
  "max_number closer to the targets"
)


@dataclasses.dataclass(frozen=True)
class Countdown:
  """The countdown task at one difficulty.

  The facts of a problem are the given numbers and the target.

  Attributes:
    seed: Seed of the problems; not of the splits, see `base`.
    numbers: How many numbers are given, 2 to 6.
    max_number: Given numbers are in [1, max_number].
    target_min: Smallest target.
    target_max: Largest target.
    max_value: Largest result an operation may have.
  """

  seed: int = 0
  numbers: int = 4
  max_number: int = 20
  target_min: int = 10
  target_max: int = 99
  max_value: int = 99

  name: ClassVar[str] = "countdown"
  version: ClassVar[str] = "countdown-1"

  def __post_init__(self):
    """Raises on a difficulty that has no problems."""
    base.check_at_least(
      seed=(self.seed, 0),
      numbers=(self.numbers, 2),
      max_number=(self.max_number, 1),
      target_min=(self.target_min, 1),
      target_max=(self.target_max, self.target_min),
      max_value=(self.max_value, max(self.target_max, self.max_number)),
    )
    if self.numbers > 6:  # The exhaustive oracle would take minutes.
      raise base.TaskError(f"numbers is {self.numbers}: set it to 6 or less")

  @property
  def _width(self) -> int:
    return len(str(self.max_value))

  @property
  def alphabet(self) -> str:
    """Every character that the task's texts can contain, sorted."""
    return "".join(sorted(string.digits + "+-*/= \n"))

  @property
  def interchangeable(self) -> str:
    """None: every character is a number or an operation."""
    return ""

  @property
  def max_prompt_chars(self) -> int:
    """No prompt is longer."""
    width = len(str(self.max_number))
    return self.numbers * (width + 1) + len(str(self.target_max)) + 1

  @property
  def max_thoughts(self) -> int:
    """Thoughts that use up all the numbers."""
    return self.numbers - 1

  @property
  def max_thought_chars(self) -> int:
    """No well-formed thought is longer, its newline included."""
    return 3 * self._width + 2 + (self.numbers - 1) * (self._width + 1) + 1

  def problem(self, split: str, index: int) -> base.Problem:
    """Returns problem `index` (unlimited, from 0) of a split; it is solvable.

    The target is what random operations make of the numbers, so targets that
    many ways lead to are drawn more often.
    """
    identity, (numbers, target), _ = base.draw(
      self.seed, split, index, self._propose, _ADVICE
    )
    return base.Problem(
      id=index,
      split=split,
      prompt=f"{_listed(numbers)}={target}\n",
      answer=str(target),
      facts=(numbers, target),
      identity=identity,
    )

  def demonstration(self, problem: base.Problem) -> tuple[str, ...]:
    """Returns a random solution, the same one whenever it is asked for."""
    left, target = problem.facts
    split = base.SPLITS.index(problem.split)
    # The trailing 1 sets this stream apart from the one that drew the problem.
    rng = base.Draws(self.seed, split, problem.id, 1)
    thoughts = []
    while len(left) > 1:
      for operation in rng.shuffled(_operations(left)):
        after = self._apply(left, *operation)
        if after and _solvable(tuple(sorted(after)), target, self.max_value):
          thoughts.append(_thought(*operation, after))
          left = after
          break
      else:
        raise base.TaskError(
          f"{problem.prompt.strip()!r} has no solution: take problems from "
          "this task's own `problem`"
        )
    return tuple(thoughts)

  def extract_answer(self, completion: str) -> str | None:
    """Returns the single number left at the end.

    None unless every thought is well-formed and leaves one number more than
    the next. Whether the operations are right is for `verify`, which knows the
    numbers given.
    """
    thoughts = base.split_thoughts(completion)
    if thoughts is None or len(thoughts) != self.max_thoughts:
      return None
    matches = [_pattern(self._width).fullmatch(thought) for thought in thoughts]
    for expected, match in zip(
      range(self.max_thoughts, 0, -1), matches, strict=True
    ):
      if match is None or len(match[5].split()) != expected:
        return None
    return matches[-1][5].strip()

  def verify(self, problem: base.Problem, completion: str) -> bool:
    """Returns whether a strict replay of all thoughts leaves the target."""
    left, target = problem.facts
    for thought in base.split_thoughts(completion) or ():
      left = self._follow(left, thought)
      if left is None:
        return False
    return left == (target,)

  def legal(self, problem: base.Problem, thoughts: Sequence[str]) -> list[bool]:
    """Returns for each thought whether it follows the rules, all before too."""
    left, _ = problem.facts
    legal = []
    for thought in thoughts:
      left = None if left is None else self._follow(left, thought)
      legal.append(left is not None)
    return legal

  def thought_correct(
    self, problem: base.Problem, thoughts: Sequence[str]
  ) -> list[bool]:
    """Returns for each thought whether it keeps the goal within reach.

    A right thought is `legal` and what it leaves can still be combined to the
    target. This is what a process reward model is measured against; a legal
    thought into a dead end is wrong, and so is all that follows it.
    """
    return [
      self.reachable(problem, thoughts[: count + 1])
      for count in range(len(thoughts))
    ]

  def reachable(self, problem: base.Problem, thoughts: Sequence[str]) -> bool:
    """Returns, by exhaustive search, whether a solution can begin like this."""
    left, target = problem.facts
    for thought in thoughts:
      left = self._follow(left, thought)
      if left is None:
        return False
    return _solvable(tuple(sorted(left)), target, self.max_value)

  def first_error(
    self, problem: base.Problem, thoughts: Sequence[str]
  ) -> int | None:
    """Returns the first thought after which `reachable` is False."""
    return base.first_unreachable(self.reachable, problem, thoughts)

  def make_answer_check(
    self, encode: Callable[[str], list[int]], end_id: int
  ) -> None:
    """Returns None: the end of a completion proves nothing here.

    The prompt shows the target, so any completion can end in it. Only a replay
    of every operation tells, and that is text work for the host.
    """
    del encode, end_id

  def _propose(self, rng: base.Draws):
    """Draws numbers, and a target by combining them at random."""
    numbers = tuple(1 + rng.below(self.max_number) for _ in range(self.numbers))
    left = rng.shuffled(numbers)
    while len(left) > 1:
      a, b = left.pop(), left.pop()
      results = [
        result
        for operator in "+-*/"
        if (result := _compute(a, operator, b)) and result <= self.max_value
      ]
      if not results:
        return None
      left.insert(rng.below(len(left) + 1), rng.choice(results))
    if not self.target_min <= left[0] <= self.target_max:
      return None
    # Reordered numbers are the same problem.
    return repr((sorted(numbers), left[0])), (numbers, left[0])

  def _apply(
    self, left: tuple[int, ...], a: int, operator: str, b: int
  ) -> tuple[int, ...] | None:
    """Returns what is left after an operation, None if it is illegal."""
    remaining = list(left)
    for operand in (a, b):
      if operand not in remaining:
        return None
      remaining.remove(operand)
    result = _compute(a, operator, b)
    if result is None or result > self.max_value:
      return None
    return (*remaining, result)

  def _follow(
    self, left: tuple[int, ...], thought: str
  ) -> tuple[int, ...] | None:
    """Returns what is left after a thought, None unless it is exactly right."""
    match = _pattern(self._width).fullmatch(thought)
    if match is None:
      return None
    operation = int(match[1]), match[2], int(match[3])
    after = self._apply(left, *operation)
    return after if after and thought == _thought(*operation, after) else None


def _listed(numbers: Sequence[int]) -> str:
  return " ".join(map(str, numbers))


def _thought(a: int, operator: str, b: int, after: Sequence[int]) -> str:
  return f"{a}{operator}{b}={after[-1]} {_listed(after)}\n"


def _compute(a: int, operator: str, b: int) -> int | None:
  """Returns the result, None unless it is a positive integer."""
  if operator == "+":
    return a + b
  if operator == "*":
    return a * b
  if operator == "-":
    return a - b if a > b else None
  return a // b if a % b == 0 else None


def _operations(left: Sequence[int]) -> list[tuple[int, str, int]]:
  """Returns the operations on two of the numbers, legal or not, once each."""
  operations = {}
  for i, first in enumerate(left):
    for second in left[i + 1 :]:
      high, low = max(first, second), min(first, second)
      for operation in (
        (first, "+", second),
        (first, "*", second),
        (high, "-", low),
        (high, "/", low),
      ):
        operations[operation] = None  # A dict keeps the order, a set does not.
  return list(operations)


@functools.lru_cache(maxsize=1 << 17)
def _solvable(numbers: tuple[int, ...], target: int, max_value: int) -> bool:
  """Returns whether all of the sorted `numbers` combine to the target."""
  if len(numbers) == 1:
    return numbers[0] == target
  if len(numbers) == 2:
    low, high = numbers
    return target <= max_value and (
      target in (low + high, low * high, high - low) or target * low == high
    )
  for j in range(1, len(numbers)):
    for i in range(j):
      low, high = numbers[i], numbers[j]
      rest = numbers[:i] + numbers[i + 1 : j] + numbers[j + 1 :]
      results = {low + high, low * high}
      if high > low:
        results.add(high - low)
      if high % low == 0:
        results.add(high // low)
      for result in results:
        if result <= max_value and _solvable(
          tuple(sorted((*rest, result))), target, max_value
        ):
          return True
  return False


@functools.lru_cache
def _pattern(width: int) -> re.Pattern[str]:
  number = f"[1-9][0-9]{{0,{width - 1}}}"
  return re.compile(
    rf"({number})([-+*/])({number})=({number})((?: {number})+)\n"
  )
