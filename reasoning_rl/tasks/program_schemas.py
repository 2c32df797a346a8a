"""Records of programming problems, in the schemas that `programming` lists."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from reasoning_rl.tasks import problem_set, sources
from reasoning_rl.tasks.sandbox import cases, extract

SCHEMAS = ("humaneval", "mbpp", "livecodebench")
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


@dataclasses.dataclass(frozen=True)
class Tests:
  """How the programs of a problem are tested.

  Attributes:
    cases: The unit tests.
    header: The beginning of the program that a completion goes on with, "" if
      it writes all of it.
    entry_point: The tested function, "" for scripts and for assertions that
      tell it.
    is_method: Whether that is a method of a class `Solution`.
  """

  __test__ = False  # Not for pytest.

  cases: cases.Tests
  header: str = ""
  entry_point: str = ""
  is_method: bool = False

  def program(self, completion: str) -> str | None:
    """Returns the program that a completion makes, None if it has none."""
    found = extract.program_of(completion, self.header, self.entry_point)
    if found is None or not self.is_method:
      return found
    # The sandbox calls functions; the tests name a method.
    return (
      f"{found}\n\ndef {self.entry_point}(*arguments):\n"
      f"  return Solution().{self.entry_point}(*arguments)\n"
    )

  def whole(self, solution: str) -> str:
    """Returns a solution as a program of its own."""
    return (self.header + solution).strip("\n")


def read(schema: str, record: sources.Record) -> problem_set.Item:
  """Returns a record's problem; its answer is a program, "" if none is known.

  Its only fact is its `Tests`.
  """
  readers = {
    "humaneval": _human_eval,
    "mbpp": _mbpp,
    "livecodebench": _livecodebench,
  }
  return readers[schema](record)


def _human_eval(record: sources.Record) -> problem_set.Item:
  prompt, entry_point = record.text("prompt"), _entry_point(record)
  if f"def {entry_point}" not in prompt:
    raise record.fault("prompt", f"has no function {entry_point!r}")
  prompt = prompt.rstrip() + "\n"
  solution = record.text("canonical_solution", default="")
  test = cases.CheckTests(record.text("test"), setup=prompt)
  lines = tuple(f"{line}\n" for line in solution.rstrip().split("\n"))
  return problem_set.Item(
    # Without its newline, which tokenizers join with the indent behind it: a
    # model that has read the newline alone does not go on with a body.
    question=prompt.rstrip(),
    answer=solution,
    thoughts=("\n", *lines) if solution.strip() else (),
    facts=(Tests(test, prompt, entry_point),),
    id=record.id("task_id"),
  )


def _entry_point(record: sources.Record) -> str:
  name = record.text("entry_point")
  if not _NAME.fullmatch(name):
    raise record.fault("entry_point", f"is {name[:40]!r}, no function's name")
  return name


def _mbpp(record: sources.Record) -> problem_set.Item:
  shown = record.texts("test_list")
  hidden = record.texts("challenge_test_list", default=())
  if not shown:
    raise record.fault("test_list", "is empty")
  setup = [record.text("test_setup_code", default="")]
  setup += record.texts("test_imports", default=())
  tests = cases.AssertTests((*shown, *hidden), setup="\n".join(setup).strip())
  text = record.text("text", "prompt").strip()
  # The assertions are how a solver learns the function's name.
  question = "\n".join([text, "The program must pass these tests:", *shown])
  return problem_set.Item(
    question=question,
    answer=record.text("code", default="").replace("\r\n", "\n"),
    facts=(Tests(tests),),
    asks=text,
    id=record.id("task_id"),
  )


def _livecodebench(record: sources.Record) -> problem_set.Item:
  starter = record.text("starter_code", default="")
  found = _cases(record, "public_test_cases")
  found += _cases(record, "private_test_cases")
  kinds = {case["testtype"] for case in found}
  if not found or len(kinds) > 1 or not kinds <= {"stdin", "functional"}:
    raise record.fault(
      "public_test_cases",
      "must hold tests, all of the type 'stdin' or all 'functional'",
    )
  question = record.text("question_content").strip()
  if kinds == {"stdin"}:
    pairs = tuple((case["input"], case["output"]) for case in found)
    tests = Tests(cases.ScriptTests(pairs))
  else:
    name = _function(record)
    calls = tuple(_call(record, case) for case in found)
    tests = Tests(cases.CallTests(calls), "", name, "class Solution" in starter)
    question += f"\nThe program must begin like this:\n{starter.rstrip()}"
  return problem_set.Item(
    question=question,
    answer=record.text("solution", default=""),
    facts=(tests,),
    asks=record.text("question_content"),
    id=record.id("question_id"),
  )


def _cases(record: sources.Record, name: str) -> list[Mapping[str, str]]:
  """Returns the tests in a field that is JSON text, or a list already."""
  _, found = record.raw(name, default=[])
  if isinstance(found, str):
    found = _json(record, name, found)
  if not isinstance(found, list):
    raise record.fault(name, "must hold a list of tests")
  for case in found:
    if not isinstance(case, Mapping) or not all(
      isinstance(case.get(key), str) for key in ("input", "output", "testtype")
    ):
      raise record.fault(
        name, "must hold tests with input, output and testtype, all texts"
      )
  return found


def _function(record: sources.Record) -> str:
  """Returns the name of the tested function from the metadata."""
  _, found = record.raw("metadata", default={})
  if isinstance(found, str):
    found = _json(record, "metadata", found)
  name = found.get("func_name", "") if isinstance(found, Mapping) else ""
  if not isinstance(name, str) or not _NAME.fullmatch(name):
    raise record.fault("metadata", "must name the tested function in func_name")
  return name


def _call(record: sources.Record, case: Mapping[str, str]) -> cases.Call:
  """Returns a functional test: a JSON value a line, each an argument."""
  arguments = tuple(
    _json(record, "public_test_cases", line)
    for line in case["input"].split("\n")
    if line.strip()
  )
  return cases.Call(
    arguments, expected=_json(record, "public_test_cases", case["output"])
  )


def _json(record: sources.Record, name: str, text: str) -> Any:
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    raise record.fault(
      name,
      "holds text that is no JSON (packed tests are not unpacked, for they are"
      " pickles: write them as a list)",
    ) from None
