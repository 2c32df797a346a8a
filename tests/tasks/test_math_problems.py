"""Tests of mathematics in the published schemas."""

from __future__ import annotations

import json
import pathlib

import pytest

from reasoning_rl.tasks import base, registry, sources, verdicts

PROBLEMS = pathlib.Path(__file__).parents[1] / "testdata" / "problems"
ANSWERS = {
  "gsm8k": ["120", "26", "320", "1,350", "6", "13"],
  "math": ["9", r"\frac{3}{4}", "(-2, 2)", r"5\sqrt{2}", "9", "25"],
  "aime": ["401", "9"],
  "olympiadbench": ["3,-3", "9 cm^2", "10"],
}
# Of the same schema: right in other words, and near misses.
OTHER_WORDS = {
  "gsm8k": {"1,350": [r"\boxed{1350}", "#### 1350", "The answer is 1350.00."]},
  "math": {
    r"\frac{3}{4}": [r"The answer is \boxed{0.75}.", r"\boxed{3/4}"],
    r"5\sqrt{2}": [r"The answer is $\sqrt{50}$."],
  },
  "aime": {"401": ["The answer is 401."]},
  "olympiadbench": {
    "3,-3": [r"\boxed{-3, 3}", r"\boxed{3,-3}"],
    "9 cm^2": [r"\boxed{9}", r"\boxed{9 \text{ cm}^2}"],
  },
}
NEAR_MISSES = {
  "gsm8k": {"1,350": ["The answer is 1351.", "1350", r"\boxed{13,50}"]},
  "math": {
    r"\frac{3}{4}": [r"\boxed{\frac{4}{3}}", r"\boxed{0.7}", r"\boxed{}"],
    "(-2, 2)": [r"\boxed{[-2, 2]}", r"\boxed{(2, -2)}", r"\boxed{2}"],
    "9": [r"\boxed{9} or \boxed{10}", "The answer is not 9.", "It is 9."],
  },
  "aime": {"401": ["The answer is 2401.", "The answer is 40"]},
  "olympiadbench": {
    "3,-3": [r"\boxed{3}", r"\boxed{3, 3}"],
    "9 cm^2": [r"\boxed{9 \text{ m}^2}"],
  },
}


def _task(schema, **options):
  options = {"train": str(PROBLEMS / f"{schema}.jsonl"), "shots": 0} | options
  return registry.make("math", schema=schema, workers=0, **options)


def _problems(task):
  return [
    task.problem(split, index)
    for split in base.SPLITS
    for index in range(len(task.items(split)))
  ]


PLAIN_NUMBERS = ("gsm8k", "aime")  # Whose answers are worked out.


@pytest.mark.parametrize("schema", ANSWERS)
def test_every_gold_answer_and_solution_is_right(schema):
  task = _task(schema)
  assert isinstance(task, verdicts.Judged) and isinstance(task, base.Task)
  problems = _problems(task)
  assert sorted(p.answer for p in problems) == sorted(ANSWERS[schema])
  texts = ["".join(task.demonstration(problem)) for problem in problems]
  found = task.judge_many(problems, texts)
  path = "number" if schema in PLAIN_NUMBERS else "exact"
  assert verdicts.tally(found) == {f"correct: {path}": len(problems)}
  for problem, text in zip(problems, texts, strict=True):
    assert task.verify(problem, text)
    assert task.extract_answer(text) is not None
    # The next problem's solution is none of this one's.
    other = next(p for p in problems if p.answer != problem.answer)
    assert not task.verify(other, text)


@pytest.mark.parametrize("schema", ANSWERS)
def test_other_words_are_right_and_near_misses_wrong(schema):
  task = _task(schema)
  by_answer = {problem.answer: problem for problem in _problems(task)}
  for answer, texts in OTHER_WORDS[schema].items():
    for text in texts:
      verdict = task.judge(by_answer[answer], f"So.\n{text}\n")
      path = "number" if schema in PLAIN_NUMBERS else "exact"
      assert verdict == verdicts.correct(path), text
  for answer, texts in NEAR_MISSES[schema].items():
    for text in texts:
      verdict = task.judge(by_answer[answer], f"So.\n{text}\n")
      assert verdict.outcome == verdicts.WRONG, text


def test_a_number_that_may_be_cut_off_is_no_answer():
  task = _task("gsm8k")
  problem = next(p for p in _problems(task) if p.answer == "120")
  assert task.verify(problem, "The answer is 120\n")
  verdict = task.judge(problem, "The answer is 120")
  assert verdict == verdicts.wrong("no answer")


def test_what_nobody_can_decide_is_undecided_and_earns_nothing():
  rows = [{"problem": "p", "answer": r"\sin(x) + \cos(y)"}]
  record = sources.Record(rows[0], "record 1")
  task = _task("math")
  item = task.read(record)
  problem = base.Problem(0, "train", "p\n", item.answer, ((),), "p")
  verdict = task.judge(problem, r"\boxed{\cos(y) + \sin(x) + 0}" + "\n")
  assert verdict == verdicts.undecided("not covered")
  assert verdict.credit == 0 and not task.verify(problem, r"\boxed{7 x}" + "\n")
  assert "stay undecided" in task.prepare()


def test_math_verify_decides_what_the_exact_grammar_does_not():
  pytest.importorskip("math_verify", reason="needs math-verify")
  task = registry.make(
    "math", train=str(PROBLEMS / "math.jsonl"), workers=1, shots=0
  )
  gold = r"\sin(x) + \cos(y)"
  problem = base.Problem(0, "train", "p\n", gold, ((),), "p")
  right, wrong = r"\boxed{\cos(y) + \sin(x)}", r"\boxed{\cos(y) - \sin(x)}"
  found = task.judge_many([problem] * 2, [right + "\n", wrong + "\n"])
  task.close()
  assert found == [
    verdicts.correct("math_verify"),
    verdicts.wrong("math_verify"),
  ]


def test_votes_for_the_same_number_are_counted_together():
  task = _task("math")
  texts = ["0.75", r"\frac{3}{4}", r"\frac34", "3/4", r"\dfrac{6}{8}"]
  found = {task.extract_answer(rf"\boxed{{{text}}}" + "\n") for text in texts}
  assert found == {"3/4"}
  assert task.extract_answer("I do not know.\n") is None


BAD = {
  "no mark": ("gsm8k", {"question": "q", "answer": "7"}, "behind one '####'"),
  "two marks": (
    "gsm8k",
    {"question": "q", "answer": "#### 7\n#### 8"},
    "behind one '####'",
  ),
  "no answer in the box": (
    "math",
    {"problem": "q", "solution": "It is 7."},
    r"'solution' has no one answer",
  ),
  "answer that is none": (
    "math",
    {"problem": "q", "answer": "5 = 4"},
    "'answer' holds '5 = 4', no answer",
  ),
  "GSM8K's schema": (
    "math",
    {"problem": "q", "answer": "3 + 4 = 7\n#### 7"},
    "'answer' holds '####': set the schema to 'gsm8k'",
  ),
  "AIME's range": (
    "aime",
    {"problem": "q", "answer": 1000},
    "'answer' is '1000' and must be a whole number from 0 to 999",
  ),
  "no list": (
    "olympiadbench",
    {"question": "q", "final_answer": "7"},
    "'final_answer' is a text and must be a list of texts",
  ),
  "two texts": (
    "olympiadbench",
    {"question": "q", "final_answer": ["7", "8"]},
    "'final_answer' has 2 texts, not one",
  ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_record_of_another_schema_is_one_sentence(tmp_path, name):
  schema, row, sentence = BAD[name]
  path = tmp_path / "bad.jsonl"
  path.write_text(json.dumps(row) + "\n")
  with pytest.raises(base.TaskError, match=f"bad.jsonl, line 1: .*{sentence}"):
    _task(schema, train=str(path)).items("train")


def test_an_unknown_schema_names_those_there_are():
  with pytest.raises(base.TaskError, match="schema is 'minif2f': use one of g"):
    _task("minif2f")


def test_gsm8ks_annotations_are_no_part_of_an_example():
  task = _task("gsm8k", shots=2)
  prompt = task.problem("train", 0).prompt
  assert "<<" not in prompt and "####" not in prompt
  assert prompt.count("The answer is ") == 2
