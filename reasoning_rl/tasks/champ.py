"""CHAMP: competition problems, and model solutions that people have marked.

CHAMP: A Competition-level Dataset for Fine-Grained Analyses of LLMs'
Mathematical Reasoning Capabilities (2401.06961), from its package: 270 problems
with worked solutions, and 540 solutions that models wrote. In each of these a
person marked where the first wrong step is, or that there is none: what a
process reward model should find.

Answers are short texts of people for people, such as "C(10, 5), or equivalently
252". `gold` takes the one answer out of them. Some are sentences ("No integer
solutions"), which are right in these words only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from reasoning_rl.tasks import (
  math_answers,
  problem_set,
  sources,
)
from reasoning_rl.tasks.mathematics import verifier

SOURCE = "package:champ_dataset"

_NOTE = re.compile(r" \((?:i\.e\.|none |no ).*\)$")
_EQUIVALENT = re.compile(r", or (?:equivalently|an equivalent form such as) ")
_APPROXIMATE = re.compile(r", or approximately .*$")
_SENTENCES = (
  re.compile(r"(.+) is the only possible value"),
  re.compile(r"The limit exists and is equal to (.+)"),
  re.compile(r"The only possible value for the limit is (.+)"),
  re.compile(r"At (?:least|most) ([0-9]+) .+"),
  re.compile(r"([0-9]+) (?:inequalities|values|pairs|roots)"),
)


@dataclasses.dataclass(frozen=True)
class Champ(math_answers.MathAnswered):
  """CHAMP's problems; all are split by their hash unless told otherwise."""

  train: str = SOURCE

  name: ClassVar[str] = "champ"
  version: ClassVar[str] = f"champ-1/{verifier.MathVerifier.version}"

  def read(self, record: sources.Record) -> problem_set.Item:
    """Returns a record's problem."""
    answer = gold(record.text("_answer"))
    _, solution = record.raw("solution")
    steps = "\n".join(step["_text"] for step in solution["steps"])
    return problem_set.Item(
      question=record.text("_text"),
      answer=answer,
      thoughts=(*problem_set.lines(steps), math_answers.stated(answer)),
      facts=(("category", record.text("category")),),
      id=record.id("id"),
    )


@dataclasses.dataclass(frozen=True)
class Solution:
  """A solution that a model wrote and a person has marked.

  Attributes:
    problem_id: The problem's name in CHAMP.
    problem: The problem in words.
    answer: The right answer.
    author: The model, and what it was told.
    steps: The lines of the solution that are not blank, without newlines.
    first_error: The step in which the first wrong one begins, None if the
      person found none.
  """

  problem_id: str
  problem: str
  answer: str
  author: str
  steps: tuple[str, ...]
  first_error: int | None


def champ_solutions(source: str = SOURCE) -> list[Solution]:
  """Returns all marked solutions."""
  found = []
  for record in sources.read(source):
    _, marked = record.raw("fws_annotations", default={})
    for author, annotation in marked.items():
      found.append(_solution(record, author, annotation))
  return found


def gold(answer: str) -> str:
  """Returns the one answer that a text of CHAMP's gives."""
  answer = _APPROXIMATE.sub("", _NOTE.sub("", answer.strip()))
  answer = _EQUIVALENT.split(answer)[-1]
  for sentence in _SENTENCES:
    match = sentence.fullmatch(answer)
    if match:
      return match[1]
  return answer


def _solution(
  record: sources.Record, author: str, annotation: Mapping[str, Any]
) -> Solution:
  text, start = annotation["text"], annotation["start_idx"]
  steps, first_error, end = [], None, 0
  for line in text.split("\n"):
    end += len(line) + 1
    if not line.strip():
      continue
    if start is not None and first_error is None and start < end:
      first_error = len(steps)
    steps.append(line.strip())
  if start is not None and first_error is None:
    raise record.fault("fws_annotations", f"marks no step of {author!r}")
  return Solution(
    problem_id=record.id("id"),
    problem=record.text("_text"),
    answer=gold(record.text("_answer")),
    author=author,
    steps=tuple(steps),
    first_error=first_error,
  )
