"""A user's own problems: a file with a question and an answer a line.

  {"question": "What is the capital of France?", "answer": "Paris"}

`id`, `split` and `solution` may stand beside them. The completion must end on
"The answer is X."; `answer_kind` says how X is compared:

  exact   the same text, but for blanks and capitals
  number  the same decimal number
  math    the same by `mathematics.verifier`
  choice  the same letter; the question shows the options itself
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar

from reasoning_rl.tasks import (
  base,
  choice,
  final_answer,
  math_answers,
  math_problems,
  problem_set,
  sources,
  verdicts,
)
from reasoning_rl.tasks.mathematics import extraction, verifier

KINDS = ("exact", "number", "math", "choice")
_STATED = {"exact": "X", "number": "N", "choice": "(X)"}
_MEANING = {
  "exact": "X is the final answer",
  "number": "N is a number",
  "choice": "X is the letter of the right option",
}


@dataclasses.dataclass(frozen=True)
class JsonLines(math_answers.MathAnswered):
  """Problems of a file in the simplest of schemas.

  Attributes:
    answer_kind: One of `KINDS`.
    question_field: The field that holds the question.
    answer_field: The field that holds the answer, a text or a number.
  """

  answer_kind: str = "exact"
  question_field: str = "question"
  answer_field: str = "answer"

  name: ClassVar[str] = "jsonl"

  def __post_init__(self):
    """Raises on options that cannot be."""
    if self.answer_kind not in KINDS:
      raise base.TaskError(
        f"answer_kind is {self.answer_kind!r}: use one of {', '.join(KINDS)}"
      )
    super().__post_init__()

  @property
  def version(self) -> str:
    """The kind of the answers, and the version of what finds and reads them."""
    return f"jsonl-1/{self.answer_kind}/{verifier.MathVerifier.version}"

  @property
  def told(self) -> str:
    """How the answer is to be given."""
    if self.answer_kind == "math":
      return super().told
    how = f'"The answer is {_STATED[self.answer_kind]}."'
    meaning = f"where {_MEANING[self.answer_kind]}."
    if self.reasoning == "none":
      return f"Give the answer alone, as {how} {meaning}"
    return (
      "Solve the problem step by step, one step a line. End with a line"
      f" {how} {meaning}"
    )

  def prepare(self) -> str:
    """Prepares the verifier of mathematics where it is used."""
    return super().prepare() if self.answer_kind == "math" else ""

  def read(self, record: sources.Record) -> problem_set.Item:
    """Returns a record's problem."""
    answer = record.number_or_text(self.answer_field).strip()
    solution = record.text("solution", default="")
    stated = answer
    if self.answer_kind == "math":
      math_problems.checked(record, self.answer_field, answer)
    elif self.answer_kind == "number":
      stated = answer = _number(record, self.answer_field, answer)
    elif self.answer_kind == "choice":
      if not re.fullmatch("[A-J]", answer):
        raise record.fault(
          self.answer_field, f"is {answer[:20]!r}, no letter from A to J"
        )
      stated = f"({answer})"
    elif "\n" in answer:
      raise record.fault(self.answer_field, "has more than one line")
    line = math_answers.stated(stated, boxed=self.answer_kind == "math")
    return problem_set.Item(
      question=record.text(self.question_field).strip(),
      answer=answer,
      thoughts=(*problem_set.lines(solution), line),
      id=record.id("id"),
    )

  def extract_answer(self, completion: str) -> str | None:
    """Returns the final answer, None if there is none."""
    if self.answer_kind == "math":
      return super().extract_answer(completion)
    if self.answer_kind == "choice":
      found = choice.letter_of(completion)
      return found[0] if found else None
    if not completion.endswith("\n"):
      return None
    text = extraction.extract(completion)
    if text is None:
      return None
    if self.answer_kind == "number":
      return final_answer.canonical(text.strip("$ "))
    return problem_set.normalised(text.strip("$ "))

  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[verdicts.Verdict]:
    """Returns the verdict on each completion of the problem beside it."""
    if self.answer_kind == "math":
      return super().judge_many(problems, completions)
    return [
      self._compare(problem, self.extract_answer(text))
      for problem, text in zip(problems, completions, strict=True)
    ]

  def _compare(
    self, problem: base.Problem, found: str | None
  ) -> verdicts.Verdict:
    if found is None:
      return verdicts.wrong("no answer")
    gold = problem.answer
    if self.answer_kind == "exact":
      gold = problem_set.normalised(gold.strip("$ "))
    if found == gold:
      return verdicts.correct("the same answer")
    return verdicts.wrong("another answer")


def _number(record: sources.Record, field: str, answer: str) -> str:
  found = final_answer.canonical(answer)
  if found is None:
    raise record.fault(field, f"is {answer[:40]!r}, no decimal number")
  return found
