"""Multiple choice: options in an order of their own, a letter for an answer.

Schemas, by the fields of their records:

  gpqa     Question, Correct Answer, Incorrect Answer 1 to 3; Explanation
  arc      question, choices {text, label}, answerKey; or, as first published,
           question {stem, choices: a list of {text, label}}
  options  question, options: a list of texts, answer: a letter or an index

GPQA: A Graduate-Level Google-Proof Q&A Benchmark (2311.12022). ARC: Think you
have Solved Question Answering? Try ARC, the AI2 Reasoning Challenge
(1803.05457). An answer is right if it is the letter, with or without the
option's text; anything else is none.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from reasoning_rl.tasks import base, problem_set, sources, verdicts
from reasoning_rl.tasks.mathematics import extraction, verifier

SCHEMAS = ("gpqa", "arc", "options")
LETTERS = string.ascii_uppercase[:10]

_TEXT = re.compile(r"\\text(?:bf|rm)?\{([^{}]*)\}")
_LETTER = re.compile(
  r"\(?([A-Z])\)?(?:[).:]*|[).:]+ (?!(?:or|and|nor|not)\b)(.+))", re.DOTALL
)


@dataclasses.dataclass(frozen=True)
class Choice(problem_set.ProblemSet):
  """Questions with options; a problem's facts are its options in order.

  Attributes:
    schema: One of `SCHEMAS`.
    shuffled: Whether the options stand in an order drawn from the seed; else
      as in the source, where a GPQA record has the right one first.
  """

  schema: str = "gpqa"
  shuffled: bool = True

  name: ClassVar[str] = "choice"

  def __post_init__(self):
    """Raises on options that cannot be."""
    super().__post_init__()
    if self.schema not in SCHEMAS:
      raise base.TaskError(
        f"schema is {self.schema!r}: use one of {', '.join(SCHEMAS)}"
      )
    if self.schema == "gpqa" and not self.shuffled:
      raise base.TaskError(
        "shuffled is False, and the right option of GPQA's stands first: set"
        " it to True"
      )

  @property
  def version(self) -> str:
    """The schema's, and the version of what finds the answer."""
    return f"choice-1/{self.schema}/{verifier.MathVerifier.version}"

  @property
  def told(self) -> str:
    """How the answer is to be given."""
    if self.reasoning == "none":
      return 'Give the letter alone, as "The answer is (X)."'
    return (
      "Think step by step, one step a line. End with a line"
      ' "The answer is (X)." where X is the letter of the right option.'
    )

  def read(self, record: sources.Record) -> problem_set.Item:
    """Returns a record's problem."""
    stem, options, right = {"gpqa": _gpqa, "arc": _arc, "options": _listed}[
      self.schema
    ](record)
    different = set(map(problem_set.normalised, options))
    if not 2 <= len(options) <= len(LETTERS) or len(different) < len(options):
      raise record.fault(
        "options", f"are {len(options)}, from 2 to 10 different ones can be"
      )
    asks = "\n".join([stem, *sorted(options)])
    order = list(range(len(options)))
    if self.shuffled:
      number = problem_set.number_of(problem_set.normalised(asks))
      order = base.Draws(self.seed, 0, number).shuffled(order)
    options = [options[i] for i in order]
    letter = LETTERS[order.index(right)]
    shown = [f"{a}) {text}" for a, text in zip(LETTERS, options, strict=False)]
    why = record.text("Explanation", "explanation", "solution", default="")
    return problem_set.Item(
      question="\n".join([stem, *shown]),
      answer=letter,
      thoughts=(*problem_set.lines(why), f"The answer is ({letter}).\n"),
      facts=(tuple(options),),
      asks=asks,
      id=record.id("Record ID", "id"),
    )

  def extract_answer(self, completion: str) -> str | None:
    """Returns the letter, None if none is given without a doubt."""
    found = letter_of(completion)
    return found[0] if found else None

  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[verdicts.Verdict]:
    """Returns the verdict on each completion of the problem beside it."""
    return [
      self._judge(problem, text)
      for problem, text in zip(problems, completions, strict=True)
    ]

  def _judge(self, problem: base.Problem, completion: str) -> verdicts.Verdict:
    found = letter_of(completion)
    if found is None:
      return verdicts.wrong("no answer")
    letter, text = found
    options = problem.facts[1]
    place = LETTERS.find(letter)
    if not 0 <= place < len(options):
      return verdicts.wrong("no such option")
    if text and problem_set.normalised(text) != problem_set.normalised(
      options[place]
    ):
      return verdicts.wrong("another option's text")
    if letter == problem.answer:
      return verdicts.correct("the right option")
    return verdicts.wrong("another option")


def letter_of(completion: str) -> tuple[str, str] | None:
  """Returns the letter that a completion ends on, and the text beside it.

  None where it is unfinished, or the answer is no capital letter, or two, or
  hedged; see `mathematics.extraction`.
  """
  if not completion.endswith("\n"):
    return None
  found = extraction.extract(completion)
  if found is None:
    return None
  found = _TEXT.sub(r"\1", found).replace("**", "").strip(" $.")
  match = _LETTER.fullmatch(found)
  return (match[1], (match[2] or "").strip()) if match else None


Read = tuple[str, list[str], int]


def _gpqa(record: sources.Record) -> Read:
  options = [record.number_or_text("Correct Answer").strip()]
  for number in (1, 2, 3):
    options.append(record.number_or_text(f"Incorrect Answer {number}").strip())
  return record.text("Question").strip(), options, 0


def _arc(record: sources.Record) -> Read:
  _, question = record.raw("question")
  if isinstance(question, Mapping):
    nested = sources.Record(question, f"{record.where}, question")
    stem, choices = nested.text("stem"), nested.raw("choices")[1]
  else:
    stem, choices = record.text("question"), record.raw("choices")[1]
  if isinstance(choices, Mapping):
    found = sources.Record(choices, f"{record.where}, choices")
    texts, labels = found.texts("text"), found.texts("label")
  else:
    pairs = [_choice(record, choice) for choice in choices]
    texts, labels = zip(*pairs, strict=True) if pairs else ((), ())
  key = record.number_or_text("answerKey").strip()
  if labels.count(key) != 1 or len(labels) != len(texts):
    raise record.fault(
      "answerKey", f"is {key!r}, and the labels are {', '.join(labels)}"
    )
  return stem.strip(), [text.strip() for text in texts], labels.index(key)


def _choice(record: sources.Record, choice: Any) -> tuple[str, str]:
  if not isinstance(choice, Mapping):
    raise record.fault("choices", "must hold objects with text and label")
  found = sources.Record(choice, f"{record.where}, choices")
  return found.number_or_text("text"), found.number_or_text("label")


def _listed(record: sources.Record) -> Read:
  options = [text.strip() for text in record.texts("options", "choices")]
  answer = record.number_or_text("answer").strip()
  right = LETTERS.find(answer) if len(answer) == 1 else -1
  if answer.isdecimal() and answer.isascii():
    right = int(answer)
  if not 0 <= right < len(options):
    raise record.fault(
      "answer",
      f"is {answer[:20]!r} and must be the letter or, from 0, the index of one"
      f" of {len(options)} options",
    )
  return record.text("question").strip(), options, right
