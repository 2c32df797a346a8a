"""What the text tasks share: prompts, the verifier, an oracle of computations.

A problem is a question in words whose answer takes some computations. A thought
is a line, and the last one is "The answer is N.":

  Tom has 3 + 4 = 7 pens.
  The answer is 7.

The verifier looks at the final answer alone. The oracle knows the computations,
and is strict: a line is right if all the equations in it are those of the plan
(the operands of "+" and "*" may change places), each on numbers that the
problem states or an earlier line has computed, if every other number in it is
one of these, and an answer that it states is right. So a wrong line makes those
wrong that build on it; a true equation that leads elsewhere is wrong; another
way to the right answer counts as wrong too. A line without numbers is right.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import re
from collections.abc import Collection, Sequence

from reasoning_rl.tasks import base, final_answer, prompts

# Thoughts that a completion may hold beyond those of a solution.
_SLACK = 2

# Worked examples are training problems from here on, far from all others.
_FIRST_EXAMPLE = 2**40
_EXAMPLES_APART = 2**12  # For each `prompt_seed`.

_OPERATORS = {"x": "*", "×": "*", "÷": "/"}
_EQUATION = re.compile(
  r"(?<![0-9.,/])([0-9]{1,12})(?: [a-z]+)? ?([-+*/x×÷]) ?"
  r"\$?([0-9]{1,12})(?: [a-z]+)? ?= ?\$?([0-9]{1,12})(?![.,/]?[0-9])"
)
_NUMBER = re.compile(r"[0-9]+(?:[.,/][0-9]+)*")

# (left, operator, right, result).
Computation = tuple[int, str, int, int]


@dataclasses.dataclass(frozen=True)
class Worked:
  """A question and how it is answered.

  Attributes:
    question: The problem in words.
    steps: Per computation the smaller question that it answers, and the line
      that does so, without its newline.
    computations: Those lines' computations, in order.
  """

  question: str
  steps: tuple[tuple[str, str], ...]
  computations: tuple[Computation, ...]

  @property
  def answer(self) -> str:
    """The last result."""
    return str(self.computations[-1][3])


@dataclasses.dataclass(frozen=True)
class WorkedTask(abc.ABC):
  """The base of tasks in words; its subclasses draw the problems.

  The facts of a problem are its numbers and its computations.

  Attributes:
    seed: Seed of the problems; not of the splits, see `base`.
    prompt_style: "ended" or "chat"; see `prompts`.
    shots: Worked examples in the prompt.
    reasoning: "chain", "least_to_most" or "none".
    instructed: Whether an instruction goes before the examples.
    prompt_seed: Chooses the examples.
  """

  seed: int = 0
  prompt_style: str = "ended"
  shots: int = 4
  reasoning: str = "chain"
  instructed: bool = False
  prompt_seed: int = 0

  def __post_init__(self):
    """Raises on prompts that there are not."""
    base.check_at_least(seed=(self.seed, 0), prompt_seed=(self.prompt_seed, 0))
    self._prompt()

  # What a subclass says of its problems.

  @property
  def units(self) -> Collection[str]:
    """Words that may follow the number in a final answer."""
    return ()

  @property
  @abc.abstractmethod
  def most_computations(self) -> int:
    """No problem takes more."""

  @property
  @abc.abstractmethod
  def longest(self) -> Worked:
    """Texts that those of no problem exceed."""

  @abc.abstractmethod
  def draw(self, split: str, index: int) -> tuple[str, Worked]:
    """Returns the identity and the content of a problem."""

  def kind(self, worked: Worked) -> str:
    """Returns what the worked examples should differ in."""
    return worked.computations[-1][1]

  @property
  @abc.abstractmethod
  def kinds(self) -> Sequence[str]:
    """Every kind, in the order in which examples go through them."""

  # What every task has.

  @property
  def max_prompt_chars(self) -> int:
    """No prompt is longer, nor are all the messages of a conversation."""
    text, messages = self._put(self.longest.question)
    return max(len(text), sum(len(message) for _, message in messages))

  @property
  def max_thoughts(self) -> int:
    """Thoughts a completion may hold: a solution's, and some to spare."""
    return self.most_computations + 1 + _SLACK

  @property
  def max_thought_chars(self) -> int:
    """No thought of a solution is longer, its newline included."""
    return max(map(len, self._thoughts(self.longest)))

  def problem(self, split: str, index: int) -> base.Problem:
    """Returns problem `index` (unlimited, from 0) of a split."""
    identity, worked = self.draw(split, index)
    prompt, messages = self._put(worked.question)
    numbers = tuple(map(int, re.findall("[0-9]+", worked.question)))
    return base.Problem(
      id=index,
      split=split,
      prompt=prompt,
      answer=worked.answer,
      facts=(numbers, worked.computations, worked.steps),
      identity=identity,
      messages=messages,
      question=worked.question,
    )

  def demonstration(self, problem: base.Problem) -> tuple[str, ...]:
    """Returns the lines of a solution, reasoning as the prompt does."""
    _, computations, steps = problem.facts
    return self._thoughts(Worked(problem.question, steps, computations))

  def extract_answer(self, completion: str) -> str | None:
    """Returns the final answer, None if there is none or no end."""
    if not completion.endswith("\n"):  # Cut off: "1" may have become "12".
      return None
    return final_answer.extract(completion, self.units)

  def verify(self, problem: base.Problem, completion: str) -> bool:
    """Returns whether the final answer is right."""
    return self.extract_answer(completion) == problem.answer

  def thought_correct(
    self, problem: base.Problem, thoughts: Sequence[str]
  ) -> list[bool]:
    """Returns for each thought whether the oracle calls it right."""
    return _Reading(problem, self.units).read(thoughts)

  def reachable(self, problem: base.Problem, thoughts: Sequence[str]) -> bool:
    """Returns whether a right solution, fully computed, can begin like this.

    All thoughts must be right, and enough must be left of `max_thoughts` for
    the missing computations and the answer.
    """
    reading = _Reading(problem, self.units)
    if not all(reading.read(thoughts)):
      return False
    return len(thoughts) + reading.missing <= self.max_thoughts

  def first_error(
    self, problem: base.Problem, thoughts: Sequence[str]
  ) -> int | None:
    """Returns the first thought after which `reachable` is False."""
    return base.first_unreachable(self.reachable, problem, thoughts)

  def _prompt(self) -> prompts.PromptConfig:
    return prompts.PromptConfig(
      self.prompt_style, self.shots, self.reasoning, self.instructed
    )

  def _put(self, question: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return prompts.make(self._prompt(), question, self._examples)

  @functools.cached_property
  def _examples(self) -> tuple[prompts.Example, ...]:
    """Worked examples that go through the kinds of problems in turn."""
    found: list[prompts.Example] = []
    index = _FIRST_EXAMPLE + self.prompt_seed * _EXAMPLES_APART
    tries = 0
    while len(found) < self.shots:
      worked = self.draw("train", index + tries)[1]
      tries += 1
      wanted = self.kinds[len(found) % len(self.kinds)]
      if self.kind(worked) == wanted or tries > _EXAMPLES_APART // 2:
        found.append(prompts.Example(worked.question, self._thoughts(worked)))
    return tuple(found)

  def _thoughts(self, worked: Worked) -> tuple[str, ...]:
    """Returns the lines of a solution."""
    lines = {
      "chain": [line for _, line in worked.steps],
      "least_to_most": [f"{asked} {line}" for asked, line in worked.steps],
      "none": [],
    }[self.reasoning]
    return (*(f"{line}\n" for line in lines), f"{_stated(worked.answer)}\n")


def _stated(answer: str) -> str:
  return f"The answer is {answer}."


class _Reading:
  """What is known after each line of a solution."""

  def __init__(self, problem: base.Problem, units: Collection[str]):
    numbers, computations, _ = problem.facts
    self._answer, self._units = problem.answer, units
    self._known, self._plan = set(numbers), computations
    self._done: set[Computation] = set()
    self._answered = False

  @property
  def missing(self) -> int:
    """Thoughts still to come, at least."""
    if self._answered:
      return 0
    return len(set(self._plan) - self._done) + 1

  def read(self, thoughts: Sequence[str]) -> list[bool]:
    """Returns the verdict on every line."""
    return [self._line(thought) for thought in thoughts]

  def _line(self, thought: str) -> bool:
    if not thought.strip(" \n"):
      return True
    if self._answered:
      return False
    equations = [_computation(m) for m in _EQUATION.finditer(thought)]
    known = set(self._known)
    for equation in equations:
      if not self._follows(equation, known):
        return False
      known.add(equation[3])
    states = final_answer.mentions(thought)
    if states and final_answer.extract(thought, self._units) != self._answer:
      return False
    rest = map(
      final_answer.canonical, _NUMBER.findall(_EQUATION.sub("", thought))
    )
    allowed = {str(number) for number in known}
    if states:
      allowed.add(self._answer)
    if not set(rest) <= allowed:
      return False
    self._known = known
    self._done |= {self._planned(equation) for equation in equations}
    self._answered = states
    return True

  def _follows(self, equation: Computation, known: set[int]) -> bool:
    planned = self._planned(equation)
    return planned is not None and {planned[0], planned[2]} <= known

  def _planned(self, equation: Computation) -> Computation | None:
    """Returns the computation of the plan that an equation is."""
    left, operator, right, result = equation
    if equation in self._plan:
      return equation
    swapped = (right, operator, left, result)
    return swapped if operator in "+*" and swapped in self._plan else None


def _computation(match: re.Match[str]) -> Computation:
  operator = _OPERATORS.get(match[2], match[2])
  return int(match[1]), operator, int(match[3]), int(match[4])
