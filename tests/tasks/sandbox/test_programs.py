"""The verifier of programs: its forms of tests, and what is undecided."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest

from reasoning_rl.tasks.sandbox import cases, programs, self_check

SQUARE = "def f(x):\n  return x * x\n"
ABOVE_TWO_WRONG = "def f(x):\n  return x * x if x < 3 else 0\n"


@pytest.fixture(scope="module")
def verifier():
  if not self_check.check_level("confined").is_complete:
    pytest.skip("this machine has no sandbox that is a wall")
  return programs.ProgramVerifier(timeout=5.0)


@pytest.fixture(scope="module")
def generous(verifier):
  return programs.ProgramVerifier(timeout=5.0, partial_credit=True)


FORMS = {
  "calls": cases.CallTests(
    tuple(cases.Call((x,), {}, x * x) for x in (1, 2, 3, 4))
  ),
  "asserts": cases.AssertTests(
    (
      "assert f(1) == 1",
      "assert f(2) == 4",
      "assert f(x=3) == 9",
      "assert f(0) == 0",
    )
  ),
  "asserts with a referee": cases.AssertTests(
    (
      "assert isclose(f(1), 1)",
      "assert f(2) in (4, 5)",
      "assert set([f(3)]) == {9}",
      "assert all(f(n) == n * n for n in range(3))",
    ),
    setup="from math import isclose\n",
  ),
}


@pytest.mark.parametrize("form", FORMS)
def test_right_and_wrong_programs_are_told_apart(verifier, form):
  tests = FORMS[form]
  right = verifier.verify(SQUARE, "f", tests)
  assert (right.outcome, right.passed, right.total) == ("correct", 4, 4)
  wrong = verifier.verify(ABOVE_TWO_WRONG, "f", tests)
  assert wrong.outcome == "wrong"
  # Without partial credit the first failure ends it.
  assert wrong.passed <= 2


@pytest.mark.parametrize(
  ("form", "passed"),
  [("calls", 2), ("asserts", 3), ("asserts with a referee", 3)],
)
def test_partial_credit_counts_every_test(generous, form, passed):
  verdict = generous.verify(ABOVE_TWO_WRONG, "f", FORMS[form])
  assert (verdict.outcome, verdict.passed) == ("wrong", passed)
  assert verdict.fraction == passed / 4
  raises = "def f(x):\n  return [1, 4, 9][x - 1] if x else 0\n"
  if form == "calls":
    assert generous.verify(raises, "f", FORMS[form]).passed == 3


def test_asserts_say_themselves_what_they_test(verifier):
  assert verifier.verify(SQUARE, None, FORMS["asserts"]).outcome == "correct"


def test_scripts_get_a_process_for_each_case(generous):
  source = (
    "import os, sys\n"
    "if os.path.exists('seen'): print('seen')\n"
    "try: open('seen', 'w').close()\n"
    "except OSError: pass\n"
    "print(sum(map(int, sys.stdin.read().split())))\n"
  )
  tests = cases.ScriptTests((("1 2", "3\n"), ("4 5", "9"), ("1", "2")))
  verdict = generous.verify(source, None, tests)
  assert (verdict.outcome, verdict.passed, verdict.total) == ("wrong", 2, 3)


def test_a_long_input_and_a_long_output_cross_the_wall(verifier):
  text = " ".join(map(str, range(100_000)))
  tests = cases.ScriptTests(((text, text),))
  assert verifier.verify("print(input())", None, tests).outcome == "correct"
  calls = cases.CallTests((cases.Call((text,), {}, text[::-1]),))
  reverse = "def f(x):\n  return x[::-1]\n"
  assert verifier.verify(reverse, "f", calls).outcome == "correct"


@pytest.mark.parametrize(
  "source",
  [
    "",
    "  \n",
    "def g(x):\n  return x * x\n",
    "f = 4\n",
    "def f(x:\n",
    "raise ValueError\n",
    "import no_such_module\n",
    "x" * (programs.MAX_PROGRAM_CHARS + 1),
    "\0",
    "def f(x):\n  return '\udc80'\n",
    "def f(x): raise KeyboardInterrupt\n",
  ],
)
def test_programs_that_do_not_work_are_wrong(verifier, source):
  assert verifier.verify(source, "f", FORMS["calls"]).outcome == "wrong"


@pytest.mark.parametrize(
  ("tests", "reason"),
  [
    (cases.CallTests(()), "there are none"),
    (cases.ScriptTests(()), "there are none"),
    (cases.AssertTests(()), "which function"),
    (cases.CallTests((cases.Call((b"x",), {}, 1),)), "not plain"),
    (cases.CallTests((cases.Call((1,), {}, object()),)), "not plain"),
    (cases.CheckTests("def check(candidate):\n  pass\n"), "never call"),
    (cases.CheckTests("def check(candidate:\n"), "never call"),
    (cases.CheckTests("while True: pass\n"), "never call"),
    (cases.CheckTests("def check(c):\n  c(print)\n"), "not plain"),
    (cases.CheckTests("def check(c):\n  1 / 0\n"), "never call"),
    (cases.CheckTests("import os\nos._exit(0)\n"), "never call"),
    (cases.ScriptTests((("x" * (8 << 20), "1"),)), "cannot be sent"),
  ],
)
def test_tests_at_fault_are_undecided_and_counted(tests, reason):
  own = programs.ProgramVerifier(timeout=1.0)
  name = None if isinstance(tests, cases.AssertTests) else "f"
  verdict = own.verify(SQUARE, name, tests)
  assert verdict.outcome == "undecided"
  assert reason in verdict.reason
  assert own.counts == {"undecided": 1}


def test_tests_that_hang_after_a_value_are_wrong():
  # A program may return what makes its tests hang: that must not mask it.
  own = programs.ProgramVerifier(timeout=1.0)
  tests = cases.CheckTests(
    "def check(c):\n  n = c(1)\n  while n: pass\n  assert c(2) == 4\n"
  )
  assert own.verify(SQUARE, "f", tests).outcome == "wrong"


def test_expected_exceptions_reach_the_tests(verifier):
  tests = cases.CheckTests(
    "def check(candidate):\n"
    "  try:\n"
    "    candidate(-1)\n"
    "  except ValueError:\n"
    "    return\n"
    "  assert False\n"
  )
  careful = "def f(x):\n  if x < 0: raise ValueError\n  return x\n"
  assert verifier.verify(careful, "f", tests).outcome == "correct"
  other = "def f(x):\n  if x < 0: raise KeyError\n  return x\n"
  assert verifier.verify(other, "f", tests).outcome == "wrong"
  assert verifier.verify(SQUARE, "f", tests).outcome == "wrong"


def test_a_nan_passes_where_the_tests_speak_of_nan(verifier):
  tests = cases.CheckTests(
    "import math\ndef check(c):\n  assert math.isnan(c(1))\n"
  )
  nan = "def f(x):\n  return float('nan')\n"
  assert verifier.verify(nan, "f", tests).outcome == "correct"


def test_many_programs_are_judged_in_order(verifier):
  jobs = [(SQUARE, "f", FORMS["calls"]), (ABOVE_TWO_WRONG, "f", FORMS["calls"])]
  outcomes = [v.outcome for v in verifier.verify_all(jobs * 2, workers=3)]
  assert outcomes == ["correct", "wrong"] * 2


def test_the_benchmark_prints_one_object(capsys, monkeypatch, verifier):
  path = pathlib.Path(__file__).parents[3] / "benchmarks/sandbox_overhead.py"
  spec = importlib.util.spec_from_file_location("sandbox_overhead", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  measure = module.measure
  monkeypatch.setattr(module, "measure", lambda: measure(repetitions=2))
  module.main()
  last = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert last["sandbox_overhead_ms"] > 0
  assert last["sandbox_level"] == verifier.report.level
