"""Answers to problems that ask for a number: nothing left to work out."""

from __future__ import annotations

import json

import pytest

from reasoning_rl.tasks import math_problems
from reasoning_rl.tasks.mathematics import reading, verifier
from reasoning_rl.tasks.mathematics.judging import Verdict, judge_number


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("18", "18"),
    ("18", "18.0"),
    ("18", "$18"),
    ("18", "(18)"),
    ("18", "18 dollars"),
    ("18", "18 eggs"),
    ("18", r"18\text{ apples}"),
    ("5", "five"),
    ("-3", "-3"),
    ("1234", "1,234"),
    ("1,234", "1234"),
    ("1234", "$1,234.00"),
    ("0.5", "1/2"),
    ("0.5", r"\frac{1}{2}"),
    ("0.5", r"\dfrac{2}{4}"),
    ("0.5", "50%"),
    ("50%", "0.5"),
    ("3.5", "3 1/2"),
    ("3.5", r"3\frac{1}{2}"),
    ("5 km", "5000 m"),
    ("x = 5", "5"),
  ],
)
def test_a_plain_number_is_the_plain_number_that_it_equals(gold, answer):
  assert reading.is_plain_number(gold)
  assert judge_number(gold, answer) is Verdict.CORRECT


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("18", "48/2-6"),
    ("12", "3*4"),
    ("12", r"3 \times 4"),
    ("12", "24/2"),
    ("12", r"\frac{24}{2}"),
    ("12", "10+2"),
    ("12", "--12"),
    ("12", "x = 10+2 = 12"),
    ("12", "10 + 2 = 12"),
    ("12", "12!/11!"),
    ("8", "2^3"),
    ("3", r"\sqrt{9}"),
    ("6", "3!"),
    ("12", "$10+2"),
    ("12", "10 + 2 apples"),
    ("12", "{12}+0"),
    ("12", "12 - 0%"),
    ("5", "6 km"),
    ("5", "y = 6"),
    ("50", "50%"),
  ],
)
def test_what_is_left_to_work_out_is_wrong(gold, answer):
  assert judge_number(gold, answer) is Verdict.WRONG


@pytest.mark.parametrize(
  "answer",
  ["5 km", "5 cents", r"5\text{ cm}", "5 cm^2", "5 hours", "5 m/s", "y=5"],
)
def test_the_number_of_something_else_is_neither_right_nor_wrong(answer):
  assert judge_number("5", answer) is Verdict.UNDECIDED


def test_math_verify_is_not_asked_about_plain_numbers():
  exact = verifier.MathVerifier(worker_count=0, numeric=True)
  found = exact.explain_many(["5", "2", "x+1"], ["y=5", r"\log_2 4", "1+x"])
  assert found == [
    (Verdict.UNDECIDED, "number"),
    (Verdict.UNDECIDED, "number"),
    (Verdict.CORRECT, "exact"),
  ]


def test_grade_school_problems_want_a_number_and_others_an_expression(tmp_path):
  record = {
    "question": "How many?",
    "problem": "How many?",
    "answer": "48/2=24\n24-6=18\n#### 18",
    "solution": "We think.",
  }
  paid = {}
  for schema in ("gsm8k", "aime", "math"):
    if schema != "gsm8k":
      record["answer"] = "18"
    path = tmp_path / f"{schema}.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    task = math_problems.MathProblems(
      schema=schema, train=str(path), workers=0, shots=0
    )
    problem = task.problem("train", 0)
    verdicts = task.judge_many(
      [problem] * 2, ["The answer is 48/2-6.\n", "The answer is 18.\n"]
    )
    paid[schema] = [verdict.is_correct for verdict in verdicts]
  assert paid == {
    "gsm8k": [False, True],
    "aime": [False, True],
    "math": [True, True],
  }
