"""What a verifier says of completions: right, wrong or undecided, and why.

A task whose verifier can fail to decide, or that judges many at once, keeps the
protocol `Judged`; of any other task `verify` has the word, and always decides.
Undecided is neither right nor wrong: whoever learns masks it, whoever measures
counts it, and nobody pays for it.
"""

from __future__ import annotations

import collections
import dataclasses
import typing
from collections.abc import Iterable, Sequence
from typing import Protocol

from reasoning_rl.tasks import base

CORRECT, WRONG, UNDECIDED = "correct", "wrong", "undecided"
OUTCOMES = (CORRECT, WRONG, UNDECIDED)


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The verdict on one completion.

  Attributes:
    outcome: One of `OUTCOMES`.
    reason: Why, for people; what stands before its first colon is one of few
      sentences, and is counted.
    credit: What the task pays: 1 for a right completion, else 0, or between
      the two where partial credit is asked for.
  """

  outcome: str
  reason: str
  credit: float

  def __post_init__(self):
    """Raises on a verdict that cannot be."""
    if self.outcome not in OUTCOMES:
      raise ValueError(f"{self.outcome!r} is none of {', '.join(OUTCOMES)}")
    if not 0.0 <= self.credit <= 1.0:
      raise ValueError(f"a credit of {self.credit} is not between 0 and 1")

  @property
  def is_correct(self) -> bool:
    """Whether the completion is right."""
    return self.outcome == CORRECT

  @property
  def is_decided(self) -> bool:
    """Whether it is known to be right or wrong."""
    return self.outcome != UNDECIDED


@typing.runtime_checkable
class Judged(Protocol):
  """What a task has whose verdicts say more than right or wrong."""

  def judge(self, problem: base.Problem, completion: str) -> Verdict:
    """Returns the verdict on a completion; fails closed."""

  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[Verdict]:
    """Returns the verdict on each completion of the problem beside it."""


@typing.runtime_checkable
class EndsItself(Protocol):
  """What a task has whose completions may be right without an end token.

  Of any other task a completion that was cut off is wrong, whatever it holds.
  """

  ends_itself: bool


@typing.runtime_checkable
class Prepared(Protocol):
  """What a task has whose verifier needs something of the machine."""

  def prepare(self) -> str:
    """Starts the verifier and returns a sentence on it, "" for none."""

  def close(self) -> None:
    """Ends the verifier's processes; another verdict starts them again."""


def correct(reason: str) -> Verdict:
  """Returns the verdict right, with full credit."""
  return Verdict(CORRECT, reason, 1.0)


def wrong(reason: str, credit: float = 0.0) -> Verdict:
  """Returns the verdict wrong."""
  return Verdict(WRONG, reason, credit)


def undecided(reason: str) -> Verdict:
  """Returns the verdict undecided, which earns nothing."""
  return Verdict(UNDECIDED, reason, 0.0)


def judge_many(
  task: base.Task, problems: Sequence[base.Problem], completions: Sequence[str]
) -> list[Verdict]:
  """Returns any task's verdict on each completion of the problem beside it."""
  if len(problems) != len(completions):
    raise ValueError(
      f"{len(problems)} problems and {len(completions)} completions: give as"
      " many of each"
    )
  if isinstance(task, Judged):
    return task.judge_many(problems, completions)
  return [
    correct("right") if task.verify(problem, text) else wrong("wrong")
    for problem, text in zip(problems, completions, strict=True)
  ]


def tally(found: Iterable[Verdict]) -> dict[str, int]:
  """Returns how many verdicts there are, by outcome and reason."""
  counts = collections.Counter(
    f"{verdict.outcome}: {verdict.reason.partition(':')[0]}"
    for verdict in found
  )
  return dict(sorted(counts.items()))
