"""The exact verdicts: by hand, on hostile answers, on true equivalents."""

from __future__ import annotations

import collections
import importlib.util
import json
import pathlib
import time

import pytest

from reasoning_rl.tasks.mathematics import (
  admission,
  answers,
  judging,
  reading,
  verifier,
)
from reasoning_rl.tasks.mathematics.judging import Verdict

HERE = pathlib.Path(__file__).parent
DATA = HERE.parents[1] / "testdata"


def lines(name: str) -> list[dict[str, str]]:
  with (DATA / name).open(encoding="utf-8") as file:
    return [json.loads(line) for line in file]


HOSTILE = lines("mathematics_adversarial.jsonl")
EQUIVALENT = lines("mathematics_equivalents.jsonl")


def test_hostile_answers_are_judged_as_listed():
  # Without math-verify some stay open; none may become right by that.
  assert len(HOSTILE) >= 230
  faults = []
  with verifier.MathVerifier(worker_count=0) as exact:
    for entry in HOSTILE:
      verdict = exact.verify(entry["gold"], entry["completion"]).value
      expected = {
        "correct": {"correct"},
        "undecided": {"undecided"},
        "wrong": {"wrong", "undecided"},
        "not correct": {"wrong", "undecided"},
      }[entry["expected"]]
      if verdict not in expected:
        faults.append((verdict, entry))
  assert faults == []


def test_nearly_all_that_is_wrong_is_called_wrong_exactly():
  exact = verifier.MathVerifier(worker_count=0)
  wrong = [entry for entry in HOSTILE if entry["expected"] == "wrong"]
  verdicts = exact.verify_many(
    [entry["gold"] for entry in wrong],
    [entry["completion"] for entry in wrong],
  )
  assert verdicts.count(Verdict.UNDECIDED) <= 0.01 * len(wrong)


def test_no_hostile_answer_takes_long():
  exact = verifier.MathVerifier(worker_count=0)
  reading._read.cache_clear()
  for entry in HOSTILE:
    start = time.process_time()  # Not the clock: the machine may be busy.
    exact.verify(entry["gold"], entry["completion"])
    assert time.process_time() - start < 0.5, entry["completion"][:80]


def test_true_equivalents_are_accepted():
  assert len(EQUIVALENT) >= 500
  counts = collections.Counter()
  for entry in EQUIVALENT:
    verdict = judging.judge(entry["gold"], entry["answer"])
    assert verdict is not Verdict.WRONG, entry
    counts[entry["family"] == "functions", verdict] += 1
  exact = counts[False, Verdict.CORRECT]
  assert exact >= 500
  assert exact >= 0.99 * (exact + counts[False, Verdict.UNDECIDED])


def test_the_list_of_equivalents_is_what_its_program_writes():
  path = HERE / "equivalents.py"
  spec = importlib.util.spec_from_file_location("equivalents", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  assert module.equivalents() == EQUIVALENT


def test_equality_is_symmetric_where_both_sides_are_plain():
  for entry in EQUIVALENT:
    if entry["family"] in ("integers", "rationals", "radicals"):
      verdict = judging.judge(entry["answer"], entry["gold"])
      assert verdict is Verdict.CORRECT, entry


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}"),
    (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"),
    (r"\frac{1}{\sqrt{3}-\sqrt{2}}", r"\sqrt{3}+\sqrt{2}"),
    (r"\sqrt[3]{2}\sqrt[3]{4}", "2"),
    (r"\sqrt[4]{4}", r"\sqrt{2}"),
    (r"\frac{1+i}{1-i}", "i"),
    (r"(\frac{1+\sqrt{5}}{2})^2", r"\frac{3+\sqrt{5}}{2}"),
  ],
)
def test_identities_of_radicals_hold_or_stay_open(gold, answer):
  nested = "5+2" in answer  # A root of a sum is not covered.
  expected = Verdict.UNDECIDED if nested else Verdict.CORRECT
  assert judging.judge(gold, answer) is expected


@pytest.mark.parametrize("number", ["2e+3", "2e-3", "1.5e+3", "2E+3", "-2E-3"])
def test_an_exponent_with_a_sign_may_be_a_sum_and_is_left_open(number):
  with verifier.MathVerifier(worker_count=0) as exact:
    for gold, answer in (
      (number, "2000"),
      ("2000", number),
      ("0.002", number),
      ("1500", number),
      (number.replace("e", "e ").replace("E", "E "), number.replace("+", "-")),
    ):
      verdict = exact.verify(gold, rf"\boxed{{{answer}}}")
      assert verdict is Verdict.UNDECIDED
  # Only its own spelling is the same in all readings.
  assert judging.judge(number, number) is Verdict.CORRECT
  assert admission.admit(number, "2000") is None
  assert admission.admit("2000", number) is None


def test_other_exponents_have_one_reading():
  assert judging.judge("2000", "2e3") is Verdict.CORRECT
  assert judging.judge("2000", "2E3") is Verdict.CORRECT
  assert judging.judge("0.001", "1e-3") is Verdict.CORRECT
  assert judging.judge("1000", "1E+3") is Verdict.CORRECT
  assert judging.judge("2e + 3", "3 + 2e") is Verdict.CORRECT
  assert judging.judge("2e+3", "2e + 3") is Verdict.CORRECT
  assert judging.judge("2000", "2e + 3") is Verdict.WRONG
  assert judging.judge("x^{2e+1}", "x^{20}") is Verdict.UNDECIDED


def test_an_order_counts_in_lists_unless_told_otherwise():
  assert judging.judge("1, 2", "2, 1") is Verdict.WRONG
  assert judging.judge("1, 2", "2, 1", unordered_lists=True) is Verdict.CORRECT
  assert judging.judge("1, 2", "1, 3", unordered_lists=True) is Verdict.WRONG
  assert judging.judge("(1, 2)", "(2, 1)", True) is Verdict.WRONG


@pytest.mark.parametrize("gold", ["", "1/0", "4 or 5", "\u200b5", "9" * 5000])
def test_a_gold_answer_that_is_none_decides_nothing(gold):
  assert verifier.gold_fault(gold)
  assert judging.judge(gold, gold) is Verdict.UNDECIDED
  assert judging.judge(gold, "5") is Verdict.UNDECIDED


def test_what_is_not_covered_is_told_from_what_is_malformed():
  open_ended = reading.read(r"\sin x")
  assert isinstance(open_ended, answers.Unread) and not open_ended.malformed
  malformed = reading.read("((1)")
  assert isinstance(malformed, answers.Unread) and malformed.malformed
  assert judging.judge(r"\sin x", r"\sin  x") is Verdict.CORRECT
  assert judging.judge(r"\sin x", "((1)") is Verdict.WRONG
