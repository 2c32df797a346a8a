"""Tests of splits, prompts and examples of problems that are given."""

from __future__ import annotations

import json
import pathlib

import pytest

from reasoning_rl.tasks import base, problem_set, registry

PROBLEMS = pathlib.Path(__file__).parents[1] / "testdata" / "problems"
OWN = str(PROBLEMS / "own.jsonl")


def _write(path, questions):
  rows = [{"question": q, "answer": str(len(q))} for q in questions]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


@pytest.fixture(name="hundred")
def fixture_hundred(tmp_path):
  questions = [f"How much is {n} + {n}?" for n in range(100)]
  return _write(tmp_path / "hundred.jsonl", questions)


def _questions(task, split):
  return [item.question for item in task.items(split)]


def test_one_file_is_split_by_the_hash_of_what_it_asks(hundred):
  task = registry.make("jsonl", train=hundred, shots=0)
  parts = {split: _questions(task, split) for split in base.SPLITS}
  assert sorted(sum(parts.values(), [])) == sorted(
    f"How much is {n} + {n}?" for n in range(100)
  )
  assert len(parts["train"]) > 60 and all(parts.values())
  for split, questions in parts.items():
    for question in questions:
      assert base.split_of(problem_set.normalised(question)) == split
  # The seed orders a split, and never changes what is in it.
  other = registry.make("jsonl", train=hundred, shots=0, seed=1)
  for split, questions in parts.items():
    assert sorted(_questions(other, split)) == sorted(questions)
  assert _questions(other, "train") != parts["train"]
  again = registry.make("jsonl", train=hundred, shots=0)
  assert _questions(again, "train") == parts["train"]


def test_the_sources_own_splits_are_kept():
  task = registry.make("jsonl", train=OWN, shots=0)
  assert sorted(item.id for item in task.items("train")) == ["a", "b"]
  assert [item.id for item in task.items("validation")] == ["c"]
  assert [item.id for item in task.items("heldout")] == ["d"]


def test_a_split_with_a_file_takes_nothing_from_the_training_file(
  hundred, tmp_path
):
  heldout = _write(tmp_path / "test.jsonl", ["What is 7 x 8?"])
  task = registry.make("jsonl", train=hundred, heldout=heldout, shots=0)
  assert _questions(task, "heldout") == ["What is 7 x 8?"]
  sizes = [len(task.items(split)) for split in base.SPLITS]
  assert sum(sizes) == 101 and 0 < sizes[1] < 30


def test_an_overlap_of_splits_is_counted_reported_and_left_out(tmp_path):
  train = _write(
    tmp_path / "train.jsonl",
    ["A  question?", "another QUESTION?", "a third?", "A Third?", "own?"],
  )
  heldout = _write(
    tmp_path / "test.jsonl", ["a question?", "Another\nquestion?"]
  )
  task = registry.make(
    "jsonl", train=train, heldout=heldout, validation=heldout, shots=0
  )
  assert sorted(_questions(task, "train")) == ["a third?", "own?"]
  assert len(task.items("heldout")) == 2 and not task.items("validation")
  assert task.notes == (
    "jsonl: 2 of 2 validation problems are heldout ones too and are left out.",
    "jsonl: 2 of 5 train problems are heldout ones too and are left out.",
    "jsonl: 1 of 5 train problems repeat others and are left out.",
    "jsonl: 2 train, 0 validation, 2 heldout problems.",
  )
  assert problem_set.overlap(["A  b", "c", "C"], ["a B", "d"]) == 1
  with pytest.raises(base.TaskError, match="no validation problems: set tas"):
    task.problem("validation", 0)


@pytest.mark.parametrize(
  ("solution", "shown"),
  [
    ("3 + 4 = 7.", ["3 + 4 = 7.\n", "The answer is 7.\n"]),
    ("So the answer is 7.", ["So the answer is 7.\n", "The answer is 7.\n"]),
    ("So the answer is 8 pens.", ["The answer is 7.\n"]),
    ("The answer is 8. No, it is 7.", ["The answer is 7.\n"]),
  ],
)
def test_a_solution_that_contradicts_its_answer_is_not_shown(
  tmp_path, solution, shown
):
  path = tmp_path / "own.jsonl"
  row = {"question": "3 + 4?", "answer": 7, "solution": solution}
  path.write_text(json.dumps(row) + "\n")
  task = registry.make(
    "jsonl", heldout=str(path), answer_kind="number", shots=0
  )
  problem = task.problem("heldout", 0)
  assert list(task.demonstration(problem)) == shown
  assert task.verify(problem, "".join(shown))
  noted = "jsonl: 1 solutions state their answer in doubt" in task.notes[0]
  assert noted == (len(shown) == 1)


def test_a_split_repeats_in_one_order_and_identities_tell(hundred):
  task = registry.make("jsonl", train=hundred, shots=0)
  size = len(task.items("heldout"))
  assert size > 3
  first = [task.problem("heldout", i) for i in range(size)]
  again = [task.problem("heldout", size * 7 + i) for i in range(size)]
  assert [p.question for p in first] == [p.question for p in again]
  assert [p.id for p in again] == list(range(size * 7, size * 8))
  # An evaluation takes different problems from anywhere on.
  found = base.different(task, "heldout", 40_000, size)
  assert {p.identity for p in found} == {p.identity for p in first}
  with pytest.raises(base.TaskError, match="hardly more than"):
    base.different(task, "heldout", 0, size + 1)
  with pytest.raises(base.TaskError, match="index -1 is negative"):
    task.problem("heldout", -1)
  with pytest.raises(base.TaskError, match="unknown split 'test'"):
    task.problem("test", 0)


def test_examples_are_training_problems_and_never_the_one_asked(hundred):
  task = registry.make("jsonl", train=hundred, shots=3)
  train = set(_questions(task, "train"))
  for split in base.SPLITS:
    for index in range(len(task.items(split))):
      problem = task.problem(split, index)
      shown = problem.prompt.split("Question: ")[1:]
      shown = [text.split("\n")[0] for text in shown]
      assert len(shown) == len(set(shown)) == 4
      assert shown[-1] == problem.question
      assert set(shown[:-1]) <= train
      assert problem.prompt.count(base.END) == 3
  chat = registry.make("jsonl", train=hundred, shots=3, prompt_style="chat")
  messages = chat.problem("heldout", 0).messages
  assert [role for role, _ in messages] == ["user", "assistant"] * 3 + ["user"]


def test_too_few_training_problems_for_the_examples_say_so():
  with pytest.raises(base.TaskError, match="4 worked examples are wanted of"):
    registry.make("jsonl", train=OWN).problem("heldout", 0)
  with pytest.raises(base.TaskError, match=r"0 training problems have a solu"):
    registry.make("jsonl", heldout=OWN).problem("heldout", 0)


def test_an_instruction_goes_first_without_examples():
  task = registry.make("jsonl", train=OWN, shots=0)
  prompt = task.problem("heldout", 0).prompt
  assert prompt.startswith("Solve the problem step by step")
  assert prompt.endswith(
    "Question: What is the largest city of the USA?\nAnswer:\n"
  )
  own = registry.make("jsonl", train=OWN, shots=0, instruction="Be brief.")
  assert own.problem("heldout", 0).prompt.startswith("Be brief.\n\nQuestion")


def test_long_problems_can_be_left_out(hundred):
  task = registry.make("jsonl", train=hundred, shots=0, max_question_chars=18)
  assert sum(len(task.items(split)) for split in base.SPLITS) == 10
  assert "jsonl: 90 problems of more than 18 characters are left out." in (
    task.notes
  )


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    ({"train": ""}, "the task 'jsonl' has no problems: set task.jsonl.train"),
    ({"reasoning": "least_to_most"}, "needs smaller questions"),
    ({"prompt_style": "poem"}, "prompt_style is 'poem'"),
    ({"shots": -1}, "shots is -1"),
    ({"answer_kind": "nice"}, "answer_kind is 'nice': use one of exact"),
    ({"deadline": 0.0}, "deadline is 0.0: set it above 0"),
    ({"workers": -1}, "workers is -1"),
  ],
)
def test_options_that_cannot_be_are_refused(options, sentence):
  with pytest.raises(base.TaskError, match=sentence):
    registry.make("jsonl", **({"train": OWN} | options))


def test_a_task_that_lacks_a_part_is_refused_when_it_is_made():
  with pytest.raises(TypeError, match="judge_many"):
    problem_set.ProblemSet()
