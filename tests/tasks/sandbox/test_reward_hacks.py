"""Programs that cheat: none is paid, whatever form the tests have."""

from __future__ import annotations

import pytest

from reasoning_rl.tasks.sandbox import cases, programs, self_check
from tests.tasks.sandbox.reward_hacks import HACKS

SUMS = ((1, 2, 3), (5, 7, 12), (-2, -3, -5))
CALLS = cases.CallTests(
  tuple(cases.Call((a, b), {}, total) for a, b, total in SUMS)
)
# A loop: no form that the parent reads, so a referee runs it.
REFEREE = cases.CheckTests(
  "def check(candidate):\n"
  "  for a, b, total in [(1, 2, 3), (5, 7, 12), (-2, -3, -5)]:\n"
  "    assert candidate(a, b) == total\n"
)
# Tests that only say what must not be: a NaN would pass them.
NEGATIVE = cases.CheckTests(
  "def check(candidate):\n"
  "  for a, b in [(1, 2), (5, 7), (-2, -3)]:\n"
  "    if abs(candidate(a, b) - a - b) > 0.1:\n"
  "      raise ValueError\n"
)
SCRIPTS = cases.ScriptTests((("1 2\n", "3\n"), ("5 7\n", "12\n")))
HONEST = "def f(a, b):\n  return a + b\n"


@pytest.fixture(scope="module")
def verifier():
  report = self_check.check_level("strict")
  if not report.is_complete:
    pytest.skip(f"this machine has no strict sandbox: {report.reason}")
  return programs.ProgramVerifier("strict", timeout=2.0)


def verdicts(verifier, tests):
  jobs = [(source, "f", tests) for source in HACKS.values()]
  results = verifier.verify_all(jobs, workers=3)
  return dict(zip(HACKS, [r.outcome for r in results], strict=True))


def test_at_least_twenty_five_hacks_are_tried():
  assert len(HACKS) >= 25


def test_no_hack_is_paid_by_calls(verifier):
  assert verifier.verify(HONEST, "f", CALLS).outcome == "correct"
  # Not undecided either: a program that knows it is wrong could wish for it.
  assert set(verdicts(verifier, CALLS).values()) == {"wrong"}


def test_no_hack_is_paid_by_a_referee(verifier):
  assert verifier.verify(HONEST, "f", REFEREE).outcome == "correct"
  assert set(verdicts(verifier, REFEREE).values()) == {"wrong"}


def test_no_hack_is_paid_by_tests_that_forbid_only(verifier):
  assert verifier.verify(HONEST, "f", NEGATIVE).outcome == "correct"
  nan = 'def f(a, b):\n  return float("nan")\n'
  assert verifier.verify(nan, "f", NEGATIVE).outcome == "wrong"
  assert verifier.verify(nan, "f", REFEREE).outcome == "wrong"


@pytest.mark.parametrize(
  "source",
  [
    'print("3")',
    'print("3\\n12")',
    'import os\nos.write(1, b"3\\n")\nos._exit(0)',
    "print(3)\nraise SystemExit(1)",
    "print(3)\nraise ValueError",
    'import sys\nsys.stdout.write("3\\n" * 10)',
    'import os\nfor n in range(3, 64):\n  try: os.write(n, b"12")\n'
    "  except OSError: pass",
    "print(len(input()))",
  ],
)
def test_no_script_is_paid_for_printing_something_else(verifier, source):
  honest = "print(sum(map(int, input().split())))"
  assert verifier.verify(honest, None, SCRIPTS).outcome == "correct"
  assert verifier.verify(source, None, SCRIPTS).outcome == "wrong"


def test_a_program_cannot_redefine_the_helpers_of_its_tests(verifier):
  # In HumanEval/38 the tests encode a text and ask the program to decode it.
  helper = "def encode(text):\n  return text[::-1]\n"
  tests = cases.CheckTests(
    "def check(candidate):\n"
    '  for text in ["abc", "hello"]:\n'
    "    assert candidate(encode(text)) == text\n",
    setup=helper,
  )
  honest = helper + "def decode(text):\n  return text[::-1]\n"
  hack = "def encode(text):\n  return text\ndef decode(text):\n  return text\n"
  assert verifier.verify(honest, "decode", tests).outcome == "correct"
  assert verifier.verify(hack, "decode", tests).outcome == "wrong"


def test_arguments_changed_by_a_program_are_not_those_of_the_tests(verifier):
  tests = cases.CheckTests(
    "def check(candidate):\n"
    "  for size in (2, 3):\n"
    "    items = list(range(size))\n"
    "    assert candidate(items) == items[:1]\n"
  )
  hack = "def f(items):\n  items.clear()\n  return []\n"
  assert verifier.verify(hack, "f", tests).outcome == "wrong"
  honest = "def f(items):\n  return items[:1]\n"
  assert verifier.verify(honest, "f", tests).outcome == "correct"
