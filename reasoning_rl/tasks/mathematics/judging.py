"""Whether an answer equals the gold one: exact, and no third reading."""

from __future__ import annotations

import enum

from reasoning_rl.tasks.mathematics import (
  answers,
  normalise,
  reading,
  units,
)
from reasoning_rl.tasks.mathematics.normalise import Malformed


class Verdict(enum.Enum):
  """What a verifier says; undecided is to be masked, not taken for wrong."""

  CORRECT = "correct"
  WRONG = "wrong"
  UNDECIDED = "undecided"


def judge(gold: str, answer: str, unordered_lists: bool = False) -> Verdict:
  """Returns whether an answer equals the gold one, exactly.

  Undecided only where the grammar does not cover one of the two, or where the
  gold answer itself is none.

  Args:
    gold: The right answer.
    answer: The answer to judge, one object: see `extraction`.
    unordered_lists: Whether the order of a bare list is free.
  """
  right, given = reading.read(gold), reading.read(answer)
  if isinstance(right, answers.Unread):
    if right.malformed:
      return Verdict.UNDECIDED
    if _one_spelling(gold) == _one_spelling(answer):
      return Verdict.CORRECT
    if isinstance(given, answers.Unread) and given.malformed:
      return Verdict.WRONG
    return Verdict.UNDECIDED
  if isinstance(given, answers.Unread):
    return Verdict.WRONG if given.malformed else Verdict.UNDECIDED
  try:
    same = answers.same(right, given, unordered_lists)
  except Malformed:  # Beyond the bounds: neither is shown.
    return Verdict.UNDECIDED
  return Verdict.CORRECT if same else Verdict.WRONG


def judge_number(gold: str, answer: str) -> Verdict:
  """Returns whether an answer is the plain number that the gold one is.

  What is left to work out is wrong, though it may be equal: 48/2-6, 3*4, 36/2.
  Undecided is the right number of something else, perhaps: with a variable, or
  with a unit that the gold answer leaves out and that may have scaled it, as in
  5 km or 5 cents. 5 apples and 5 dollars are 5.

  Args:
    gold: The right answer, for which `reading.is_plain_number` holds.
    answer: The answer to judge.
  """
  verdict = judge(gold, answer)
  if verdict is not Verdict.CORRECT:
    return verdict
  if not reading.is_plain_number(answer):
    return Verdict.WRONG
  right, given = reading.read(gold), reading.read(answer)
  if given.variable and not right.variable:
    return Verdict.UNDECIDED
  if given.unit and not right.unit and not units.is_plain_count(given.unit):
    return Verdict.UNDECIDED
  return verdict


def _one_spelling(text: str) -> str:
  try:
    return normalise.clean(text).replace(" ", "")
  except Malformed:
    return f"malformed: {text}"
