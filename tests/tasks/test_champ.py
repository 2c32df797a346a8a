"""Tests of CHAMP, from its package."""

from __future__ import annotations

import importlib.util

import pytest

from reasoning_rl.tasks import base, champ, registry, sources, verdicts

needs_champ = pytest.mark.skipif(
  importlib.util.find_spec("champ_dataset") is None,
  reason="needs champ-dataset",
)


@pytest.mark.parametrize(
  ("text", "answer"),
  [
    ("239", "239"),
    ("C(10, 5), or equivalently 252", "252"),
    ("5/14, or approximately 35.7%", "5/14"),
    (
      "C(n, 4), or an equivalent form such as n(n-1)(n-2)(n-3)/4!",
      "n(n-1)(n-2)(n-3)/4!",
    ),
    ("100 (i.e., all values)", "100"),
    ("0 (none of the values)", "0"),
    ("-3 is the only possible value", "-3"),
    ("The limit exists and is equal to (a+3b)/2", "(a+3b)/2"),
    ("98 values", "98"),
    ("At least 1 number", "1"),
    ("At most 0 integer-valued roots (i.e., no integer roots)", "0"),
    ("No integer solutions", "No integer solutions"),
    ("C(n+1, 2m+1)", "C(n+1, 2m+1)"),
  ],
)
def test_the_one_answer_is_taken_out_of_a_text_for_people(text, answer):
  assert champ.gold(text) == answer


def _record(text, start):
  annotation = {"text": text, "start_idx": start, "end_idx": None}
  return sources.Record(
    {
      "id": "P",
      "_text": "q",
      "_answer": "1",
      "fws_annotations": {"model": annotation},
    },
    "v0.json, problem P",
  )


@pytest.mark.parametrize(
  ("start", "first_error"),
  [(None, None), (0, 0), (3, 0), (4, 1), (5, 1), (8, 1), (9, 2), (12, 2)],
)
def test_a_mark_is_the_step_in_which_it_begins(monkeypatch, start, first_error):
  # "abc", a blank line, "def " and "  gh": offsets 0-3, 4, 5-9 and 9-13.
  record = _record("abc\n\ndef\n  gh", start)
  monkeypatch.setattr(sources, "read", lambda source: [record])
  (found,) = champ.champ_solutions()
  assert found.steps == ("abc", "def", "gh")
  assert found.first_error == first_error


def test_a_mark_behind_the_end_is_an_error(monkeypatch):
  monkeypatch.setattr(sources, "read", lambda source: [_record("abc", 9)])
  with pytest.raises(base.TaskError, match="v0.json, problem P: .*marks no st"):
    champ.champ_solutions()


@needs_champ
def test_all_marked_solutions_are_there():
  found = champ.champ_solutions()
  marked = [s for s in found if s.first_error is not None]
  assert (len(found), len(marked)) == (540, 444)
  assert len({s.problem_id for s in found}) == 270
  assert all(0 <= s.first_error < len(s.steps) for s in marked)
  assert all(step.strip() == step != "" for s in found for step in s.steps)


@needs_champ
def test_all_problems_are_split_once_and_gold_answers_are_right():
  task = registry.make("champ", workers=0, shots=2)
  problems = [
    task.problem(split, index)
    for split in base.SPLITS
    for index in range(len(task.items(split)))
  ]
  assert len({p.identity for p in problems}) == len(problems) == 270
  texts = ["".join(task.demonstration(problem)) for problem in problems]
  counts = verdicts.tally(task.judge_many(problems, texts))
  # The others are sentences, which no verifier can compare.
  assert counts == {"correct: exact": 264, "undecided: gold": 6}
  wrong = task.judge_many(problems, ["The answer is 123456789.\n"] * 270)
  assert not any(verdict.is_correct for verdict in wrong)
