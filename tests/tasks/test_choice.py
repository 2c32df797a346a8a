"""Tests of multiple choice."""

from __future__ import annotations

import json
import pathlib

import pytest

from reasoning_rl.tasks import base, choice, registry, verdicts

PROBLEMS = pathlib.Path(__file__).parents[1] / "testdata" / "problems"
RIGHT = {
  "gpqa": {"The photon", "1/2", "Uracil"},
  "arc": {"The Sun", "Carbon dioxide"},
  "options": {"23", "Jupiter"},
}


def _task(schema, **options):
  options = {"train": str(PROBLEMS / f"{schema}.jsonl"), "shots": 0} | options
  return registry.make("choice", schema=schema, **options)


def _problems(task):
  return [
    task.problem(split, index)
    for split in base.SPLITS
    for index in range(len(task.items(split)))
  ]


@pytest.mark.parametrize("schema", RIGHT)
def test_the_letter_is_the_right_options_wherever_it_stands(schema):
  places = set()
  for seed in range(8):
    task = _task(schema, seed=seed)
    problems = _problems(task)
    said = set()
    for problem in problems:
      options = problem.facts[1]
      place = choice.LETTERS.index(problem.answer)
      places.add(place)
      said.add(options[place])
      assert f"{problem.answer}) {options[place]}" in problem.question
      assert task.verify(problem, "".join(task.demonstration(problem)))
    assert said == RIGHT[schema]
  assert len(places) > 1
  assert _problems(_task(schema)) == _problems(_task(schema))


def test_the_order_of_options_changes_no_split():
  splits = []
  for seed in range(4):
    task = _task("gpqa", seed=seed)
    splits.append({p.identity: p.split for p in _problems(task)})
  assert all(found == splits[0] for found in splits)


ACCEPTED = (
  "The answer is (B).",
  "The answer is B.",
  "The answer is **B**.",
  "Answer: B",
  r"The answer is $\boxed{B}$.",
  r"\boxed{\text{B}}",
  "The answer is (B) The Sun.",
  "The answer is B) the  sun.",
)
REFUSED = {
  "The answer is (A).": "another option",
  "The answer is (D).": "no such option",
  "The answer is (B) The Moon.": "another option's text",
  "The answer is b.": "no answer",
  "The answer is The Sun.": "no answer",
  "The answer is (A) or (B).": "no answer",
  "The answer is (B) or (C).": "no answer",
  "The answer is A, B.": "no answer",
  "The answer is not (B).": "no answer",
  "The answer is (B). Wait, it is (A).": "no answer",
  "The answer is (A).\nThe answer is (B).": "no answer",
  "B": "no answer",
  "": "no answer",
  "<think>The answer is (B).": "no answer",
}


@pytest.fixture(name="light")
def fixture_light():
  task = _task("arc", shuffled=False)
  return task, next(p for p in _problems(task) if "light" in p.question)


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_right_letter_is_right(light, text):
  task, problem = light
  assert problem.answer == "B"
  assert task.judge(problem, f"So.\n{text}\n").is_correct
  assert task.extract_answer(f"So.\n{text}\n") == "B"
  assert not task.verify(problem, f"So.\n{text}")  # Cut off.


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_wrong_and_says_why(light, text):
  task, problem = light
  assert task.judge(problem, f"{text}\n") == verdicts.wrong(REFUSED[text])


BAD = {
  "one option": (
    "options",
    {"question": "q", "options": ["a"], "answer": "A"},
    "'options' are 1, from 2 to 10",
  ),
  "the same option twice": (
    "options",
    {"question": "q", "options": ["a", "A "], "answer": "A"},
    "'options' are 2, from 2 to 10 different",
  ),
  "no such option": (
    "options",
    {"question": "q", "options": ["a", "b"], "answer": "C"},
    "'answer' is 'C' and must be the letter",
  ),
  "no such label": (
    "arc",
    {
      "question": "q",
      "choices": {"text": ["a", "b"], "label": ["A", "B"]},
      "answerKey": "C",
    },
    "'answerKey' is 'C', and the labels are A, B",
  ),
  "choices of another form": (
    "arc",
    {"question": "q", "choices": ["a", "b"], "answerKey": "A"},
    "'choices' must hold objects with text and label",
  ),
  "a missing option": (
    "gpqa",
    {"Question": "q", "Correct Answer": "a", "Incorrect Answer 1": "b"},
    "the field 'Incorrect Answer 2' is missing",
  ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_record_of_another_schema_is_one_sentence(tmp_path, name):
  schema, row, sentence = BAD[name]
  path = tmp_path / "bad.jsonl"
  path.write_text(json.dumps(row) + "\n")
  with pytest.raises(base.TaskError, match=f"bad.jsonl, line 1.*{sentence}"):
    _task(schema, train=str(path)).items("train")


def test_gpqas_options_are_never_in_the_sources_order():
  with pytest.raises(base.TaskError, match="right option of GPQA's stands fir"):
    _task("gpqa", shuffled=False)
  with pytest.raises(base.TaskError, match="schema is 'mmlu': use one of gpqa"):
    registry.make("choice", schema="mmlu", train="x.jsonl")
