"""The verifier as a task uses it."""

from __future__ import annotations

import json
import pathlib
import time

import pytest

from reasoning_rl.tasks.mathematics import verifier
from reasoning_rl.tasks.mathematics.judging import Verdict

DATA = pathlib.Path(__file__).parents[2] / "testdata"


@pytest.fixture(scope="module")
def full():
  pytest.importorskip("math_verify")
  with verifier.MathVerifier(worker_count=2, deadline=20.0) as both:
    yield both


def lines(name: str) -> list[dict[str, str]]:
  with (DATA / name).open(encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def test_verdicts_are_counted_by_path():
  exact = verifier.MathVerifier(worker_count=0)
  verdicts = exact.verify_many(
    ["5", "5", "5", r"\sin x", "1/0"],
    [r"\boxed{5}", "#### 6", "no idea", r"\boxed{\cos x}", r"\boxed{1}"],
  )
  assert [verdict.value for verdict in verdicts] == [
    *("correct", "wrong", "wrong", "undecided", "undecided")
  ]
  assert exact.statistics() == {
    "exact/correct": 1,
    "exact/wrong": 1,
    "gold/undecided": 1,
    "no answer/wrong": 1,
    "not covered/undecided": 1,
  }


def test_prompt_and_truncation_reach_the_extraction():
  exact = verifier.MathVerifier(worker_count=0)
  prompt = "Question: what is two and three?\n#### 5\n"
  assert exact.verify("5", "#### 5", truncated=True) is Verdict.WRONG
  assert exact.verify("5", prompt, prompt) is Verdict.WRONG
  assert exact.verify("5", "#### 5\n", prompt) is Verdict.CORRECT


def test_sequences_of_different_lengths_are_refused():
  exact = verifier.MathVerifier(worker_count=0)
  with pytest.raises(ValueError, match="2 gold answers, 1 completions"):
    exact.verify_many(["1", "2"], ["1"])
  assert exact.verify_many([], []) == []


def test_hostile_answers_get_their_verdicts_with_math_verify_too(full):
  entries = lines("mathematics_adversarial.jsonl")
  verdicts = full.verify_many(
    [entry["gold"] for entry in entries],
    [entry["completion"] for entry in entries],
  )
  for entry, verdict in zip(entries, verdicts, strict=True):
    if entry["expected"] in ("correct", "wrong"):
      assert verdict.value == entry["expected"], entry
    else:
      assert verdict is not Verdict.CORRECT, entry


def test_equivalents_beyond_the_grammar_are_accepted(full):
  entries = lines("mathematics_equivalents.jsonl")
  entries = [entry for entry in entries if entry["family"] == "functions"]
  verdicts = full.verify_many(
    [entry["gold"] for entry in entries],
    [rf"\boxed{{{entry['answer']}}}" for entry in entries],
  )
  for entry, verdict in zip(entries, verdicts, strict=True):
    assert verdict is Verdict.CORRECT, entry


def test_a_batch_is_judged_like_its_members(full):
  golds = ["5", r"\sin x", r"\log 4", "x+y=1", "7"]
  completions = [
    *(r"\boxed{5}", r"\boxed{\sin(x)}", r"\boxed{2\log 2}"),
    *(r"\boxed{x+y=2}", "none"),
  ]
  alone = [
    full.verify(gold, completion)
    for gold, completion in zip(golds, completions, strict=True)
  ]
  assert full.verify_many(golds, completions) == alone
  assert [verdict.value for verdict in alone] == [
    *("correct", "correct", "correct", "wrong", "wrong")
  ]


@pytest.mark.slow
def test_no_verdict_of_the_fuzzed_is_past_its_deadline():
  pytest.importorskip("math_verify")
  import random

  pieces = [r"\sin", r"\log", "x", "y", "2", "7", "+", "-", "^2", "(", ")", "|"]
  pieces += [r"\frac{1}{x}", "e^x", "=", r"\cup", "(1,2)", "5!", r"\sqrt{x}"]
  rng = random.Random(15)
  with verifier.MathVerifier(worker_count=1, deadline=2.0) as timed:
    timed.verify(r"\sin x", r"\boxed{\cos x}")
    for _ in range(300):
      noise = "".join(rng.choices(pieces, k=rng.randint(2, 9)))
      restarts = timed._pool.restarts
      start = time.monotonic()
      verdict = timed.verify(r"\tan(3x) + 17", rf"\boxed{{{noise}}}")
      # A new worker's start comes before its verdict's time.
      if timed._pool.restarts == restarts:
        assert time.monotonic() - start < 2.5, noise
      else:
        timed._pool.start()
      assert verdict is not Verdict.CORRECT, noise
