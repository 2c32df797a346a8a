"""School word problems of one to three computations, in English.

  Mia has 4 bags with 6 shells in each. Mia gives 9 shells to Ben. How many
  shells does Mia have now?

  Mia has 4 * 6 = 24 shells.
  Then Mia has 24 - 9 = 15 shells.
  The answer is 15.

The sentences are in `word_templates`. A problem is its sentences and its
numbers: names and things may change without making it another one, so the same
sentences with the same numbers never stand in two splits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import ClassVar

from reasoning_rl.tasks import base, word_templates, worked

_MAX_STEPS = 3
_ADVICE = "raise max_number, max_factor or max_result, or add to operators"


@dataclasses.dataclass(frozen=True)
class WordProblems(worked.WorkedTask):
  """The word problems of one difficulty.

  Attributes:
    steps: Computations that the answer needs, 1 to 3.
    max_number: Largest number to begin with, to add or to take away.
    max_factor: Largest number to multiply with or to divide by.
    max_result: Largest result; the smallest is 2.
    operators: Any of "+-*/", without repetition. With two steps or more, the
      first is none of "/" and those in the middle are of "+-".
  """

  steps: int = 1
  max_number: int = 20
  max_factor: int = 9
  max_result: int = 60
  operators: str = "+-*/"

  name: ClassVar[str] = "word_problems"
  version: ClassVar[str] = "word_problems-1"

  def __post_init__(self):
    """Raises on a difficulty that has no problems."""
    super().__post_init__()
    base.check_at_least(
      steps=(self.steps, 1),
      max_number=(self.max_number, 2),
      max_factor=(self.max_factor, 2),
      max_result=(self.max_result, 2),
    )
    if self.steps > _MAX_STEPS:
      raise base.TaskError(f"steps is {self.steps}: set it to {_MAX_STEPS}")
    operators = set(self.operators)
    if not operators or operators - set("+-*/"):
      raise base.TaskError(
        f"operators is {self.operators!r}: use one or more of '+-*/'"
      )
    if len(operators) < len(self.operators):
      raise base.TaskError(
        f"operators is {self.operators!r}: name each operator once"
      )
    if any(not self._operators(place) for place in range(self.steps)):
      raise base.TaskError(
        f"operators is {self.operators!r} and steps is {self.steps}: add '+' or"
        " '-', without which nothing can follow"
      )

  @property
  def units(self) -> Collection[str]:
    """What the problems count."""
    return _UNITS

  @property
  def most_computations(self) -> int:
    """As many as there are steps."""
    return self.steps

  @property
  def kinds(self) -> Sequence[str]:
    """The last operators."""
    return self.operators

  @property
  def longest(self) -> worked.Worked:
    """The longest sentences with the longest words and numbers."""
    words = dict(_words(max, key=len))
    most = max(self.max_number, self.max_factor, self.max_result)
    words |= dict.fromkeys("xar", most)
    events = (*word_templates.GROUPS, *word_templates.EVENTS)
    fill = lambda texts: max((t.format(**words) for t in texts), key=len)
    said = fill([word_templates.HAVE, *(event.text for event in events)])
    asked = fill([word_templates.HOW_MANY, *(e.question for e in events)])
    line = fill([event.worked for event in events])
    return worked.Worked(
      " ".join([*[said] * (self.steps + 1), asked]),
      ((asked, line),) * self.steps,
      ((most, "+", most, most),) * self.steps,
    )

  def draw(self, split: str, index: int) -> tuple[str, worked.Worked]:
    """Returns the identity and the content of a problem."""
    identity, (events, numbers), rng = base.draw(
      self.seed, split, index, self._propose, _ADVICE
    )
    return identity, _told(rng, events, numbers)

  def _operators(self, place: int) -> str:
    """Returns the operators that a computation can have at its place."""
    allowed = "+-*/"
    if place < self.steps - 1:  # Something follows.
      allowed = "+-" if place else "+-*"
    return "".join(o for o in self.operators if o in allowed)

  def _propose(self, rng: base.Draws):
    """Draws what happens, and the numbers, the first of which is there."""
    events, numbers, there = [], [], 0
    for place in range(self.steps):
      operator = rng.choice(self._operators(place))
      event = rng.choice(
        _choices(operator, place == 0, place == self.steps - 1)
      )
      groups = event in word_templates.GROUPS
      if place == 0:
        there = _number(rng, self.max_factor if groups else self.max_number)
        numbers.append(there)
      is_sum = operator in "+-"
      number = _number(rng, self.max_number if is_sum else self.max_factor)
      there = _compute(there, operator, number)
      if there is None or not 2 <= there <= self.max_result:
        return None
      events.append(event)
      numbers.append(number)
    kinds = [_EVENTS.index(event) for event in events]
    return repr((kinds, numbers)), (events, numbers)


_EVENTS = (*word_templates.GROUPS, *word_templates.EVENTS)
_UNITS = frozenset(
  (
    *word_templates.THINGS,
    *word_templates.CONTAINERS,
    *word_templates.UNITS,
  )
)


def _words(choose, **how):
  """Yields the words of a problem, chosen by `choose`."""
  yield "name", choose(word_templates.NAMES, **how)
  yield "friend", choose(word_templates.NAMES, **how)
  yield "things", choose(word_templates.THINGS, **how)
  yield "containers", choose(word_templates.CONTAINERS, **how)


def _choices(operator, is_first, is_last) -> list[word_templates.Event]:
  """Returns the events that can stand at a place."""
  events = _EVENTS if is_first else word_templates.EVENTS
  return [
    event
    for event in events
    if event.operator == operator and (is_last or not event.ends)
  ]


def _number(rng: base.Draws, most: int) -> int:
  return 2 + rng.below(most - 1)


def _compute(a: int, operator: str, b: int) -> int | None:
  """Returns the result, None unless it is a whole number."""
  if operator == "/":
    return a // b if a % b == 0 else None
  return {"+": a + b, "-": a - b, "*": a * b}[operator]


def _told(
  rng: base.Draws,
  events: Sequence[word_templates.Event],
  numbers: Sequence[int],
) -> worked.Worked:
  """Returns the problem in words."""
  name, friend = rng.shuffled(word_templates.NAMES)[:2]
  words = dict(_words(rng.choice)) | {"name": name, "friend": friend}
  there = numbers[0]
  said, steps, computations = [], [], []
  if events[0] not in word_templates.GROUPS:
    said.append(word_templates.HAVE.format(x=there, **words))
  asked = ""
  for event, number in zip(events, numbers[1:], strict=True):
    result = _compute(there, event.operator, number)
    fill = words | {"x": there, "a": number, "r": result}
    asked = (event.question or word_templates.HOW_MANY).format(**fill)
    said.append(event.text.format(**fill))
    steps.append((asked, event.worked.format(**fill)))
    computations.append((there, event.operator, number, result))
    there = result
  return worked.Worked(
    " ".join([*said, asked]), tuple(steps), tuple(computations)
  )
