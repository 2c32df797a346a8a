r"""Chains of dependent computations with distractors, modulo a number.

  prompt       c08 e57 b34 c+e=a b-e=f a-b=d?a d
  thoughts     c+e57=a65 | a-b34=d31 | =65 31

(a newline ends the prompt and each thought.) The letters are shuffled, the
definitions stand in an order in which they can be computed. The chain starts at
the first constant, and each of its computations uses the result before it; the
distractors compute aside from it, with the other constants and one another's
results. So what comes next can be told from what has been computed. The value
of the first operand has just been stated, and is not repeated: a thought copies
its definition, with values beside the names, and each token is found by
matching the one before it, which a small network learns in minutes. What is
left to learn is arithmetic. Asked for are the chain's last result and `asked` -
1 earlier ones, evenly spaced.

The final answer alone does not show whether it is right, and a wrong chain must
not hit it by luck. So each needed computation uses the result before it, and
its other operand is such that every earlier error reaches every later result
times a unit of the modulus: one error always changes the answer, and a second
one undoes it only if it has exactly one of modulus - 1 sizes and no asked
result lies between the two. (Errors in a single digit have few sizes, which is
why two results are asked for by default.) For an even modulus this leaves only
the constants as other operands, since a sum of two odd effects is even; a prime
one also lets earlier results return. "*" multiplies by constants coprime with
the modulus only, for the same reason. No other variable has an asked value.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import string
from collections.abc import Callable, Sequence
from typing import ClassVar

from reasoning_rl.tasks import answer_check, base, demonstrator

# The constant that the chain starts from, and nothing else uses.
_START = 0

# Thoughts a solution may spend on true but needless computations.
_SLACK = 1


@dataclasses.dataclass(frozen=True)
class Arithmetic:
  """The arithmetic task at one difficulty.

  The facts of a problem are ((name, value), ...) of all variables, the
  definitions ((name, left, operator, right), ...) in prompt order, and the
  names of the needed ones in order.

  Attributes:
    seed: Seed of the problems; not of the splits, see `base`.
    modulus: All values are in [0, modulus), written with leading zeros.
    chain_length: Computations that the asked variable needs.
    distractors: Definitions that it does not need.
    operators: Any of "+-*", without repetition.
    bases: Constants that the prompt states.
    asked: Results of the chain that the answer consists of.
    misremembered: Share of all computations, as in 3 + 4, that the
      demonstrator is unsure of; see `demonstrator`.
  """

  seed: int = 0
  modulus: int = 100
  chain_length: int = 4
  distractors: int = 2
  operators: str = "+-"
  bases: int = 3
  asked: int = 2
  misremembered: float = 0.0

  name: ClassVar[str] = "arithmetic"
  version: ClassVar[str] = "arithmetic-3"

  def __post_init__(self):
    """Raises on a difficulty that has no problems."""
    base.check_at_least(
      seed=(self.seed, 0),
      modulus=(self.modulus, 2),
      chain_length=(self.chain_length, 1),
      distractors=(self.distractors, 0),
      bases=(self.bases, 2),
      asked=(self.asked, 1),
    )
    if self.asked > self.chain_length:
      raise base.TaskError(
        f"asked is {self.asked}: lower it to chain_length, "
        f"{self.chain_length}, or less"
      )
    if not 0 <= self.misremembered <= 1:
      raise base.TaskError(
        f"misremembered is {self.misremembered}: give a share from 0 to 1"
      )
    if self.distractors and self.bases < 3:
      raise base.TaskError(
        "distractors compute aside from the chain: raise bases to 3 or more"
      )
    operators = set(self.operators)
    if not operators or operators - set("+-*"):
      raise base.TaskError(
        f"operators is {self.operators!r}: use one or more of '+-*'"
      )
    if len(operators) < len(self.operators):
      raise base.TaskError(
        f"operators is {self.operators!r}: name each operator once"
      )
    if self._variables > len(string.ascii_lowercase):
      raise base.TaskError(
        f"bases + chain_length + distractors is {self._variables}: lower them "
        "to 26 in all, one letter each"
      )

  @property
  def _variables(self) -> int:
    return self.bases + self.chain_length + self.distractors

  @property
  def _width(self) -> int:
    return len(str(self.modulus - 1))

  @property
  def alphabet(self) -> str:
    """Every character that the task's texts can contain, sorted."""
    letters = self.interchangeable
    return "".join(sorted(letters + string.digits + self.operators + "=? \n"))

  @property
  def interchangeable(self) -> str:
    """The names of the variables."""
    return string.ascii_lowercase[: self._variables]

  @property
  def max_prompt_chars(self) -> int:
    """No prompt is longer; all have this length."""
    definitions = self.chain_length + self.distractors
    constants = self.bases * (2 + self._width)
    return constants + definitions * 6 + 2 * self.asked

  @property
  def max_thoughts(self) -> int:
    """Thoughts a completion may hold: a solution's, and one to spare."""
    return self.chain_length + 1 + _SLACK

  @property
  def max_thought_chars(self) -> int:
    """No well-formed thought is longer, its newline included."""
    answer = self.asked * (self._width + 1) + 1
    return max(2 * self._width + 6, answer)

  def problem(self, split: str, index: int) -> base.Problem:
    """Returns problem `index` (unlimited, from 0) of a split."""
    identity, (values, definitions, needed), rng = base.draw(
      self.seed,
      split,
      index,
      self._propose,
      "raise modulus, bases or chain_length, or add to operators",
    )
    letters = rng.shuffled(self.interchangeable)
    named = tuple(
      (letters[self.bases + i], letters[left], operator, letters[right])
      for i, (left, operator, right) in enumerate(definitions)
    )
    constants = [
      f"{letter}{self._text(value)}"
      for letter, value in zip(letters, values[: self.bases], strict=False)
    ]
    computed = [f"{''.join(rest)}={name}" for name, *rest in named]
    asked = self._asked(needed)
    question = " ".join(letters[i] for i in asked)
    return base.Problem(
      id=index,
      split=split,
      prompt=f"{' '.join(constants + computed)}?{question}\n",
      answer=" ".join(self._text(values[i]) for i in asked),
      facts=(
        tuple(zip(letters, values, strict=True)),
        named,
        tuple(letters[i] for i in needed),
      ),
      identity=identity,
    )

  def demonstration(self, problem: base.Problem) -> tuple[str, ...]:
    """Returns the needed computations in order, then the answer.

    That is the demonstrator's: with `misremembered` facts it is often wrong.
    """
    if not self.misremembered:
      return self._solution(problem)
    values, definitions, needed = problem.facts
    believed, thoughts = dict(values), []
    memory = demonstrator.Memory(self.seed, self.modulus, self.misremembered)
    for name, left, operator, right in definitions:
      if name in needed:
        fact = (believed[left], operator, believed[right])
        true = _compute(*fact) % self.modulus
        believed[name] = memory.recall(problem.id, len(thoughts), fact, true)
        thoughts.append(self._statement(believed, name, left, operator, right))
    asked = [needed[i] for i in self._asked(range(len(needed)))]
    answer = " ".join(self._text(believed[name]) for name in asked)
    return (*thoughts, f"={answer}\n")

  def extract_answer(self, completion: str) -> str | None:
    """Returns the final answer, None unless every thought is well-formed."""
    pattern = _completion_pattern(self._width, self.asked)
    match = pattern.fullmatch(completion)
    if not match:
      return None
    values = [int(number) for number in match[1].split(" ")]
    return match[1] if max(values) < self.modulus else None

  def verify(self, problem: base.Problem, completion: str) -> bool:
    """Returns whether the final answer is right.

    The thoughts before it must be well-formed but decide nothing: this is the
    final-answer checker that training is allowed to see.
    """
    return self.extract_answer(completion) == problem.answer

  def thought_correct(
    self, problem: base.Problem, thoughts: Sequence[str]
  ) -> list[bool]:
    """Returns for each thought whether it states a truth about the problem.

    That is: the answer, or a definition with the true values of its second
    operand and of its result. So a thought that builds on an earlier error is
    wrong too, a distractor's true computation is right, and nothing is right
    after the answer thought.
    """
    true = {*self._statements(problem).values(), f"={problem.answer}\n"}
    correct, answered = [], False
    for thought in thoughts:
      correct.append(thought in true and not answered)
      answered = answered or thought.startswith("=")
    return correct

  def reachable(self, problem: base.Problem, thoughts: Sequence[str]) -> bool:
    """Returns whether a right solution, fully computed, can begin like this.

    All thoughts must be right, and after needless ones enough must be left of
    `max_thoughts` for the missing computations and the answer.
    """
    if not all(self.thought_correct(problem, thoughts)):
      return False
    missing = set(self._solution(problem)) - set(thoughts)
    if f"={problem.answer}\n" not in missing:
      return len(thoughts) <= self.max_thoughts
    return len(thoughts) + len(missing) <= self.max_thoughts

  def first_error(
    self, problem: base.Problem, thoughts: Sequence[str]
  ) -> int | None:
    """Returns the first thought after which `reachable` is False."""
    return base.first_unreachable(self.reachable, problem, thoughts)

  def make_answer_check(
    self, encode: Callable[[str], list[int]], end_id: int
  ) -> base.AnswerCheck:
    """Returns the on-device verifier; see `answer_check.make`."""
    texts = [self._text(value) for value in range(self.modulus)]
    samples = [" ".join([text] * self.asked) for text in texts]
    number = (string.digits,) * self._width
    value = (self.interchangeable, *number)
    thought = (self.interchangeable, "+-*", *value, "=", *value, "\n")
    # An operator that the task does not use has no token either.
    known = ["".join(c for c in p if c in self.alphabet) for p in thought]
    return answer_check.make(encode, end_id, samples, known)

  def _solution(self, problem: base.Problem) -> tuple[str, ...]:
    """Returns the needed computations in order, then the answer, all true."""
    statements = self._statements(problem)
    needed = problem.facts[2]
    return (*(statements[name] for name in needed), f"={problem.answer}\n")

  def _asked(self, chain: Sequence[int]) -> list[int]:
    """Returns `asked` of the chain's results, evenly spaced up to the last."""
    count = len(chain)
    return [
      chain[(place * count - 1) // self.asked]
      for place in range(1, self.asked + 1)
    ]

  def _text(self, value: int) -> str:
    return str(value).zfill(self._width)

  def _statements(self, problem: base.Problem) -> dict[str, str]:
    """Returns the true computation of every defined variable."""
    variables, definitions, _ = problem.facts
    return {
      definition[0]: self._statement(dict(variables), *definition)
      for definition in definitions
    }

  def _statement(self, values, name, left, operator, right) -> str:
    """Returns the computation of a variable, with what it is taken for."""
    text = lambda variable: f"{variable}{self._text(values[variable])}"
    return f"{left}{operator}{text(right)}={text(name)}\n"

  def _propose(self, rng: base.Draws):
    """Draws values, definitions and needed variables, as indices."""
    values = [rng.below(self.modulus) for _ in range(self.bases)]
    definitions: list[tuple[int, str, int]] = []
    chain: list[int] = []
    effects: list[list[int]] = []
    flags = [True] * self.chain_length + [False] * self.distractors
    for is_needed in rng.shuffled(flags):
      if is_needed and chain:
        definition = self._propose_link(rng, values, chain, effects)
        if definition is None:
          return None
      elif is_needed:
        other = 1 + rng.below(self.bases - 1)
        definition = (_START, rng.choice(self.operators), other)
      else:
        aside = [i for i in range(1, len(values)) if i not in chain]
        left, right = rng.shuffled(aside)[:2]
        definition = (left, rng.choice(self.operators), right)
      if is_needed:
        effects = effects or [[1]]
        chain.append(len(values))
      left, operator, right = definition
      definitions.append(definition)
      result = _compute(values[left], operator, values[right])
      values.append(result % self.modulus)
    if any(values.count(values[i]) > 1 for i in self._asked(chain)):
      return None  # Copying another value must not hit the answer.
    content = (tuple(values), tuple(definitions), tuple(chain))
    # Letters are given later: renamed problems are the same problem.
    return repr(content), content

  def _propose_link(
    self,
    rng: base.Draws,
    values: list[int],
    chain: list[int],
    effects: list[list[int]],
  ) -> tuple[int, str, int] | None:
    """Draws a computation through which every earlier error survives.

    `effects[k][i]` says by how much result k of the chain changes per unit of
    error in result i; the row of the new result is appended to it.
    """
    operator = rng.choice(self.operators)
    for other in rng.shuffled([*range(1, self.bases), *chain[:-1]]):
      definition = (chain[-1], operator, other)
      of_previous, of_other = 1, -1 if operator == "-" else 1
      if operator == "*":
        if other in chain:
          continue  # A product of two errors is not linear in either.
        of_previous = values[other]
      row = [of_previous * effect for effect in effects[-1]]
      if other in chain:
        for i, effect in enumerate(effects[chain.index(other)]):
          row[i] += of_other * effect
      if all(math.gcd(effect, self.modulus) == 1 for effect in row):
        effects.append([*row, 1])
        return definition
    return None


def _compute(left: int, operator: str, right: int) -> int:
  if operator == "+":
    return left + right
  if operator == "-":
    return left - right
  return left * right


@functools.lru_cache
def _completion_pattern(width: int, asked: int) -> re.Pattern[str]:
  number = f"[0-9]{{{width}}}"
  computation = rf"[a-z][-+*][a-z]{number}=[a-z]{number}\n"
  answer = rf"=({number}(?: {number}){{{asked - 1}}})\n"
  return re.compile(f"(?:{computation})*{answer}")
