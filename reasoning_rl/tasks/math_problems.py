r"""Mathematics from the published files of problems.

Schemas, by the fields of their records:

  gsm8k          question, answer: the solution, then "#### 72"
  math           problem, solution, answer (or \boxed in the solution),
                 level, subject (or type): MATH and MATH-500
  aime           problem, answer: a whole number from 0 to 999; solution
  olympiadbench  question, final_answer: a list of one text; unit,
                 is_multiple_answer, solution: a list of texts

GSM8K: Training Verifiers to Solve Math Word Problems (2110.14168). MATH:
Measuring Mathematical Problem Solving With the MATH Dataset (2103.03874).
OlympiadBench: A Challenging Benchmark for Promoting AGI with Olympiad-Level
Bilingual Multimodal Scientific Problems (2402.14008).
"""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

from reasoning_rl.tasks import base, math_answers, problem_set, sources
from reasoning_rl.tasks.mathematics import (
  answers,
  extraction,
  reading,
  verifier,
)

SCHEMAS = ("gsm8k", "math", "aime", "olympiadbench")
_ANNOTATION = re.compile(r"<<[^<>\n]{0,200}>>")


@dataclasses.dataclass(frozen=True)
class MathProblems(math_answers.MathAnswered):
  """Problems of one of the published schemas.

  Attributes:
    schema: One of `SCHEMAS`.
  """

  schema: str = "math"

  name: ClassVar[str] = "math"

  def __post_init__(self):
    """Raises on options that cannot be."""
    super().__post_init__()
    if self.schema not in SCHEMAS:
      raise base.TaskError(
        f"schema is {self.schema!r}: use one of {', '.join(SCHEMAS)}"
      )

  @property
  def version(self) -> str:
    """The schema's and the verifier's."""
    return f"math-1/{self.schema}/{verifier.MathVerifier.version}"

  @property
  def unordered(self) -> bool:
    """Whether the order of several answers is free."""
    return self.schema == "olympiadbench"

  @property
  def numeric(self) -> bool:
    """Whether an answer must be a plain number where the gold one is."""
    return self.schema in ("gsm8k", "aime")

  def read(self, record: sources.Record) -> problem_set.Item:
    """Returns a record's problem."""
    return {
      "gsm8k": _gsm8k,
      "math": _math,
      "aime": _aime,
      "olympiadbench": _olympiadbench,
    }[self.schema](record)


def checked(record: sources.Record, field: str, answer: str) -> str:
  """Returns an answer, unless it is none that a verifier can compare with."""
  fault = verifier.gold_fault(answer)
  if fault is not None:
    raise record.fault(field, f"holds {answer[:80]!r}, no answer: {fault}")
  return answer


def _gsm8k(record: sources.Record) -> problem_set.Item:
  solution, mark, answer = record.text("answer").rpartition("####")
  if not mark or "####" in solution or not answer.strip():
    raise record.fault("answer", "has no final answer behind one '####'")
  answer = checked(record, "answer", answer.strip())
  worked = problem_set.lines(_ANNOTATION.sub("", solution))
  return problem_set.Item(
    question=record.text("question").strip(),
    answer=answer,
    thoughts=(*worked, math_answers.stated(answer, boxed=False)),
    id=record.id("id"),
  )


def _math(record: sources.Record) -> problem_set.Item:
  solution = record.text("solution", default="")
  if record.raw("answer", default=None)[0]:
    answer = record.number_or_text("answer").strip()
    if "####" in answer:
      raise record.fault("answer", "holds '####': set the schema to 'gsm8k'")
  else:
    answer = extraction.extract(record.text("solution")) or ""
    if not answer:
      raise record.fault("solution", "has no one answer in \\boxed{...}")
  facts = tuple(
    (name, str(record.fields[field]))
    for name, field in (
      ("level", "level"),
      ("subject", "subject"),
      ("subject", "type"),
    )
    if record.fields.get(field) is not None
  )
  return _solved(record, "answer", answer, solution, facts)


def _aime(record: sources.Record) -> problem_set.Item:
  answer = record.number_or_text("answer", "Answer").strip()
  if not re.fullmatch("[0-9]{1,3}", answer):
    raise record.fault(
      "answer", f"is {answer[:20]!r} and must be a whole number from 0 to 999"
    )
  solution = record.text("solution", "Solution", default="")
  return _solved(record, "answer", answer, solution)


def _olympiadbench(record: sources.Record) -> problem_set.Item:
  found = record.texts("final_answer")
  if len(found) != 1:
    raise record.fault("final_answer", f"has {len(found)} texts, not one")
  answer = found[0].strip(" $\n")
  if not answer:
    raise record.fault("final_answer", "is empty")
  unit = record.text("unit", default="")
  # A unit that is in the table is compared, another one is not asked for.
  with_unit = reading.read(f"{answer} {unit}") if unit else None
  if isinstance(with_unit, answers.Answer) and with_unit.unit is not None:
    answer = f"{answer} {unit}"
  solution = "\n".join(record.texts("solution", default=()))
  return _solved(record, "final_answer", answer, solution)


def _solved(
  record: sources.Record,
  field: str,
  answer: str,
  solution: str,
  facts: tuple[tuple[str, str], ...] = (),
) -> problem_set.Item:
  answer = checked(record, field, answer)
  return problem_set.Item(
    question=record.text("problem", "question", "Problem").strip(),
    answer=answer,
    thoughts=(*problem_set.lines(solution), math_answers.stated(answer)),
    facts=facts,
    id=record.id("unique_id", "id", "ID"),
  )
