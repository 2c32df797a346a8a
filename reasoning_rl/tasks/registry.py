"""The tasks by name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

from reasoning_rl.tasks import (
  arithmetic,
  base,
  champ,
  choice,
  countdown,
  gym,
  json_lines,
  math_problems,
  mental_arithmetic,
  programming,
  word_problems,
)

# Tasks that make their problems, and know which thoughts are right.
GENERATED = {
  task.name: task
  for task in (
    arithmetic.Arithmetic,
    countdown.Countdown,
    mental_arithmetic.MentalArithmetic,
    word_problems.WordProblems,
  )
}
# Tasks whose problems are given, by files or packages.
GIVEN = {
  task.name: task
  for task in (
    math_problems.MathProblems,
    choice.Choice,
    programming.Code,
    champ.Champ,
    gym.Gym,
    json_lines.JsonLines,
  )
}
TASKS = GENERATED | GIVEN


def make(name: str, **options: Any) -> base.Task:
  """Returns the task of that name; `options` are its dataclass fields."""
  if name not in TASKS:
    raise base.TaskError(_unknown("task", name, TASKS))
  fields = [field.name for field in dataclasses.fields(TASKS[name])]
  for option in options:
    if option not in fields:
      raise base.TaskError(_unknown(f"{name} option", option, fields))
  return TASKS[name](**options)


def _unknown(kind: str, word: str, known: Iterable[str]) -> str:
  nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]
  return (
    f"unknown {kind} {word!r}: did you mean {nearest!r}? "
    f"There are {', '.join(sorted(known))}"
  )
