"""Tests of verdicts and who gives them."""

from __future__ import annotations

import pytest

from reasoning_rl.tasks import registry, verdicts


def test_a_task_that_knows_right_and_wrong_is_asked_one_by_one():
  task = registry.make("arithmetic")
  problems = [task.problem("train", index) for index in range(3)]
  texts = ["".join(task.demonstration(problem)) for problem in problems]
  assert not isinstance(task, verdicts.Judged)
  found = verdicts.judge_many(task, problems, [*texts[:2], "=\n"])
  assert found == [
    verdicts.correct("right"),
    verdicts.correct("right"),
    verdicts.wrong("wrong"),
  ]
  with pytest.raises(ValueError, match="3 problems and 2 completions"):
    verdicts.judge_many(task, problems, texts[:2])


def test_verdicts_are_counted_by_outcome_and_what_is_before_the_colon():
  found = [
    verdicts.wrong("the program does not load: NameError a"),
    verdicts.wrong("the program does not load: NameError b"),
    verdicts.correct("all tests passed"),
    verdicts.undecided("deadline"),
  ]
  assert verdicts.tally(found) == {
    "correct: all tests passed": 1,
    "undecided: deadline": 1,
    "wrong: the program does not load": 2,
  }
  assert [v.credit for v in found] == [0, 0, 1, 0]
  assert [v.is_decided for v in found] == [True, True, True, False]


def test_a_verdict_that_cannot_be_is_refused():
  with pytest.raises(ValueError, match="'maybe' is none of correct, wrong"):
    verdicts.Verdict("maybe", "", 0.0)
  with pytest.raises(ValueError, match="a credit of 1.5 is not between 0"):
    verdicts.wrong("", 1.5)
