"""Tests of a user's own file."""

from __future__ import annotations

import json

import pytest

from reasoning_rl.tasks import base, registry, verdicts
from reasoning_rl.tasks.mathematics import verifier

# kind -> (gold, right, wrong).
CASES = {
  "exact": (
    "New York",
    ["The answer is New York.", "The answer is new  york.", "Answer: New York"],
    ["The answer is York.", "New York", "The answer is New York or Boston."],
  ),
  "number": (
    "1,200",
    ["The answer is 1200.", "The answer is $1{,}200$.".replace("{,}", ",")],
    ["The answer is 12.", "The answer is 1200 or 1300.", "The answer is 1e3."],
  ),
  "math": (
    "1/2",
    [r"\boxed{0.5}", "The answer is 1/2."],
    [r"\boxed{2}", r"\boxed{1/2} or \boxed{2}"],
  ),
  "choice": (
    "C",
    ["The answer is (C).", "The answer is C."],
    ["The answer is (B).", "The answer is c.", "C"],
  ),
}


def _task(tmp_path, kind, answer, **more):
  path = tmp_path / "own.jsonl"
  row = {"question": "What is asked?", "answer": answer} | more
  path.write_text(json.dumps(row) + "\n")
  return registry.make(
    "jsonl", heldout=str(path), answer_kind=kind, shots=0, workers=0
  )


@pytest.mark.parametrize("kind", CASES)
def test_right_answers_are_right_and_others_wrong(tmp_path, kind):
  gold, right, wrong = CASES[kind]
  task = _task(tmp_path, kind, gold)
  problem = task.problem("heldout", 0)
  texts = ["".join(task.demonstration(problem)), *(f"{t}\n" for t in right)]
  assert isinstance(task, verdicts.Judged)
  for text in texts:
    assert task.judge(problem, text).is_correct, text
  assert len({task.extract_answer(text) for text in texts}) == 1
  for text in wrong:
    assert task.judge(problem, f"{text}\n").outcome == verdicts.WRONG, text
  assert not task.verify(problem, "")


@pytest.mark.parametrize(
  ("kind", "answer", "sentence"),
  [
    ("number", "twelve", "'answer' is 'twelve', no decimal number"),
    ("choice", "c", "'answer' is 'c', no letter from A to J"),
    ("math", "5 = 4", "'answer' holds '5 = 4', no answer"),
    ("exact", "two\nlines", "'answer' has more than one line"),
  ],
)
def test_a_gold_answer_of_another_kind_is_refused(
  tmp_path, kind, answer, sentence
):
  with pytest.raises(base.TaskError, match=f"own.jsonl, line 1: .*{sentence}"):
    _task(tmp_path, kind, answer).items("heldout")


@pytest.mark.parametrize("kind", CASES)
def test_a_verifier_that_changes_changes_the_version(
  tmp_path, kind, monkeypatch
):
  task = _task(tmp_path, kind, CASES[kind][0])
  before = task.version
  monkeypatch.setattr(verifier.MathVerifier, "version", "mathematics-next")
  assert task.version != before and kind in task.version


def test_a_solution_is_shown_before_its_answer(tmp_path):
  task = _task(tmp_path, "number", 7, solution="It is 3 + 4.\n\nThat is 7.")
  problem = task.problem("heldout", 0)
  assert task.demonstration(problem) == (
    "It is 3 + 4.\n",
    "That is 7.\n",
    "The answer is 7.\n",
  )
  assert task.verify(problem, "".join(task.demonstration(problem)))
