"""What the tasks with mathematical answers share: the verifier and the vote."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction

from reasoning_rl.tasks import base, problem_set, verdicts
from reasoning_rl.tasks.mathematics import (
  answers,
  extraction,
  judging,
  normalise,
  reading,
  verifier,
)

_BOXED = r"$\boxed{A}$"


@dataclasses.dataclass(frozen=True)
class MathAnswered(problem_set.ProblemSet):
  """The base of tasks that `mathematics.verifier` judges.

  Attributes:
    workers: Processes of math-verify; 0 leaves undecided what the exact
      grammar does not cover.
    deadline: Seconds that a verdict of math-verify may take.
  """

  workers: int = 2
  deadline: float = 5.0

  def __post_init__(self):
    """Raises on options that cannot be."""
    super().__post_init__()
    base.check_at_least(workers=(self.workers, 0))
    if not self.deadline > 0:
      raise base.TaskError(f"deadline is {self.deadline}: set it above 0")

  @property
  def unordered(self) -> bool:
    """Whether the order of a bare list of answers is free."""
    return False

  @property
  def told(self) -> str:
    """How the answer is to be given."""
    if self.reasoning == "none":
      return f'Give the answer alone, as "The answer is {_BOXED}."'
    return (
      "Solve the problem step by step, one step a line. End with a line"
      f' "The answer is {_BOXED}." where A is the final answer.'
    )

  def extract_answer(self, completion: str) -> str | None:
    """Returns the final answer in one spelling, None if there is none."""
    found = extraction.extract(
      completion, truncated=not completion.endswith("\n")
    )
    return None if found is None else one_spelling(found)

  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[verdicts.Verdict]:
    """Returns the verdict on each completion of the problem beside it."""
    found = [
      extraction.extract(text, problem.question, not text.endswith("\n"))
      for problem, text in zip(problems, completions, strict=True)
    ]
    golds = [problem.answer for problem in problems]
    return [
      _verdict(said, path)
      for said, path in self._verifier.explain_many(golds, found)
    ]

  def prepare(self) -> str:
    """Makes sure that math-verify is there, if it is asked for."""
    self._verifier  # noqa: B018, it checks itself.
    if self.workers:
      return ""
    return (
      f"{self.name}: answers that the exact grammar does not cover stay"
      f" undecided, for task.{self.name}.workers is 0."
    )

  def close(self) -> None:
    """Ends the processes of math-verify."""
    if "_verifier" in self.__dict__:
      self._verifier.close()

  @functools.cached_property
  def _verifier(self) -> verifier.MathVerifier:
    return verifier.MathVerifier(
      self.workers, self.deadline, unordered_lists=self.unordered
    )


def one_spelling(answer: str) -> str:
  """Returns an answer as votes are counted; equal rationals are spelt alike."""
  found = reading.read(answer)
  if isinstance(found, answers.Answer):
    if isinstance(found.value, int | Fraction) and found.unit is None:
      return str(found.value)
  try:
    return normalise.clean(answer).replace(" ", "")
  except normalise.Malformed:
    return answer


def stated(answer: str, boxed: bool = True) -> str:
  """Returns the line that states an answer, with its newline."""
  answer = rf"$\boxed{{{answer}}}$" if boxed else answer
  return f"The answer is {answer}.\n"


def _verdict(said: judging.Verdict, path: str) -> verdicts.Verdict:
  make = {
    judging.Verdict.CORRECT: verdicts.correct,
    judging.Verdict.WRONG: verdicts.wrong,
    judging.Verdict.UNDECIDED: verdicts.undecided,
  }[said]
  return make(path)
