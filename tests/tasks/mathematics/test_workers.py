"""Worker processes that hang, die, lie and never start; and math-verify."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from reasoning_rl import extras
from reasoning_rl.tasks.mathematics import admission, judging, workers
from reasoning_rl.tasks.mathematics.judging import Verdict

PAIR = ("a", "b")
DEADLINE = 0.4
LATE = 0.5  # How far past the deadline a verdict may come.
READY = "import sys,time,os,json\nprint('ready',flush=True)\n"


def pool(script: str, count: int = 1, deadline: float = DEADLINE):
  command = [sys.executable, "-I", "-c", READY + script]
  return workers.WorkerPool(count, deadline, command=command)


def looping(body: str) -> str:
  return "for line in sys.stdin:\n  r=json.loads(line)\n  " + body


@pytest.mark.parametrize(
  ("body", "reason"),
  [
    ("time.sleep(60)", "deadline"),
    ("exec('while True: pass')", "deadline"),
    ("print('corr',end='',flush=True);time.sleep(60)", "deadline"),
    ("os._exit(1)", "died"),
    ("os.kill(os.getpid(),9)", "died"),
    ("print('CORRECT',flush=True)", "garbage"),
    ("print('correct',flush=True);os.write(1,b'x'*99999)", "garbage"),
    ("os.write(1,b'x'*99999)", "garbage"),
    ("os.write(1,b'\\xff\\n')", "garbage"),
    ("print(flush=True)", "garbage"),
    ("print('undecided',flush=True)", "unread"),
  ],
)
def test_a_worker_that_fails_leaves_the_verdict_open(body, reason):
  with pool(looping(body)) as failing:
    failing.start()
    start = time.monotonic()
    (outcome,) = failing.judge_many([PAIR])
    taken = time.monotonic() - start
  # A reply followed by rubbish counts if it was whole when it was read.
  if "correct',flush" in body and outcome.reason == "decided":
    return
  assert outcome == workers.Outcome(Verdict.UNDECIDED, reason)
  assert taken < DEADLINE + LATE


def test_a_worker_that_was_killed_is_replaced_and_the_rest_is_judged():
  body = "time.sleep(60*(r['gold']=='hang'));print('correct',flush=True)"
  with pool(looping(body)) as failing:
    pairs = [("1", "1"), ("hang", "1"), ("1", "1"), ("hang", "1"), ("1", "1")]
    outcomes = failing.judge_many(pairs)
    assert failing.restarts == 2
  assert [outcome.verdict.value for outcome in outcomes] == [
    *("correct", "undecided", "correct", "undecided", "correct")
  ]


def test_replies_go_to_the_pairs_they_belong_to():
  body = "print('correct' if r['gold']==r['answer'] else 'wrong',flush=True)"
  pairs = [(str(i % 3), str(i % 2)) for i in range(60)]
  with pool(looping(body), count=3, deadline=20.0) as echoing:
    outcomes = echoing.judge_many(pairs)
  for (gold, answer), outcome in zip(pairs, outcomes, strict=True):
    expected = Verdict.CORRECT if gold == answer else Verdict.WRONG
    assert outcome == workers.Outcome(expected, "decided")


def test_a_worker_that_dies_idle_costs_no_verdict():
  body = "print('correct',flush=True)"
  with pool(looping(body), deadline=20.0) as dying:
    dying.start()
    for worker in dying._workers:
      os.kill(worker.process.pid, signal.SIGKILL)
      worker.process.wait()
    (outcome,) = dying.judge_many([PAIR])
  assert outcome.verdict is Verdict.CORRECT


def test_no_process_is_left_behind():
  ending = pool(looping("time.sleep(60)"))
  ending.start()
  (worker,) = ending._workers
  ending.close()
  ending.close()  # Closing twice is no error.
  assert worker.process.returncode == -signal.SIGKILL
  with pytest.raises(ProcessLookupError):
    os.kill(worker.process.pid, 0)


def test_workers_that_never_start_are_an_error_that_says_so():
  command = [sys.executable, "-I", "-c", "raise SystemExit(1)"]
  with workers.WorkerPool(1, DEADLINE, command=command) as dead:
    with pytest.raises(workers.WorkerError, match="no worker of math-verify"):
      dead.judge_many([PAIR])
    with pytest.raises(workers.WorkerError):
      dead.start()


def test_a_pool_without_workers_or_time_is_refused():
  with pytest.raises(ValueError, match="at least one worker"):
    workers.WorkerPool(0)
  with pytest.raises(ValueError, match="positive deadline"):
    workers.WorkerPool(1, 0.0)


def test_math_verify_missing_is_said_with_its_command(monkeypatch):
  monkeypatch.setitem(sys.modules, "math_verify", None)
  with pytest.raises(extras.MissingExtraError, match=r"\[verify\]"):
    workers.WorkerPool(1)


def test_the_worker_imports_nothing_of_this_package_nor_jax():
  source = workers.SCRIPT.read_text()
  assert "reasoning_rl" not in source and "jax" not in source
  light = subprocess.run(
    [
      sys.executable,
      "-c",
      "import sys, reasoning_rl.tasks.mathematics.verifier;"
      "print('jax' in sys.modules, 'sympy' in sys.modules)",
    ],
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
    check=True,
  )
  assert light.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module")
def real():
  pytest.importorskip("math_verify")
  with workers.WorkerPool(1, deadline=20.0) as ready:
    ready.start()
    yield ready


@pytest.mark.parametrize(
  ("gold", "answer", "expected"),
  [
    (r"\sin x", r"\sin(x)", "correct"),
    (r"\sin x", r"\cos x", "wrong"),
    (r"2\log 2", r"\log 4", "correct"),
    ("x + y = 3", "y + x = 3", "correct"),
    ("x + y = 3", "x + y = 4", "wrong"),
    ("5", "|-5|", "correct"),
    (r"\cos 1", r"0.540302305868140", "wrong"),
    (r"\cos 1", r"0.5403", "wrong"),
    (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2)", "correct"),
    (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2]", "wrong"),
    (
      r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
      r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
      "correct",
    ),
    (
      r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
      r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}",
      "wrong",
    ),
  ],
)
def test_math_verify_decides_what_the_grammar_does_not(
  real, gold, answer, expected
):
  assert judging.judge(gold, answer) is not Verdict.WRONG
  (outcome,) = real.judge_many([admission.admit(gold, answer)])
  assert (outcome.verdict.value, outcome.reason) == (expected, "decided")


@pytest.mark.parametrize(
  "text",
  [
    "__import__('os').system('touch CANARY')",
    "open('CANARY','w')",
    r"\text{__import__('os').system('touch CANARY')}",
    "exec(\"open('CANARY','w')\")",
  ],
)
def test_code_does_not_run_even_past_the_allow_list(real, text, tmp_path):
  canary = tmp_path / "canary"
  text = text.replace("CANARY", str(canary))
  assert admission.admit("1", text) is None
  for pair in (("1", text), (text, "1")):
    (outcome,) = real.judge_many([pair])
    assert outcome.verdict is not Verdict.CORRECT
  assert not canary.exists()


def test_the_guard_ends_a_worker_that_would_run_a_text(tmp_path):
  canary = tmp_path / "canary"
  # The worker's own guard, in a process that then evaluates.
  code = (
    "import importlib.util,sys\n"
    f"s=importlib.util.spec_from_file_location('w',{str(workers.SCRIPT)!r})\n"
    "w=importlib.util.module_from_spec(s);s.loader.exec_module(w)\n"
    "sys.addaudithook(w.guard)\n"
  )
  for deed in (
    f"open({str(canary)!r},'w')",
    f"import os;os.system('touch {canary}')",
    f"eval(\"open({str(canary)!r},'w')\")",
    "eval('1+1')",
    "import os;os.fork()",
    "import socket;socket.socket()",
  ):
    ended = subprocess.run([sys.executable, "-I", "-c", code + deed])
    assert ended.returncode == 3, deed
  harmless = code + "eval('Integer (4 )',{'Integer':int})"
  ended = subprocess.run([sys.executable, "-I", "-c", harmless])
  assert ended.returncode == 0
  assert not canary.exists()


def test_what_hangs_sympy_is_over_at_the_deadline():
  pytest.importorskip("math_verify")
  with workers.WorkerPool(1, deadline=1.0) as short:
    short.start()
    start = time.monotonic()
    (outcome,) = short.judge_many([("1", "9^{9^{9^9}}")])  # Not admitted.
    assert time.monotonic() - start < 1.0 + LATE
  assert outcome.verdict is not Verdict.CORRECT


@pytest.mark.parametrize(
  "text",
  [
    "9^{9^9}",
    "9^{99999}",
    "2^{2^{2}}",
    "x^(2^3)",
    "1" * 21,
    "999!",
    "(5)!",
    "5!!",
    "((((((((((1))))))))))",
    r"\int_0^1 x",
    r"\sum_{i=1}^{9} i",
    r"\write18{id}",
    r"\text{a}",
    "import",
    "a__b",
    "5=4",
    "x=5=y",
    "1" * 300,
    "'a'",
    "a;b",
    "a@b",
    "a#b",
    "(1",
    "1_0",
    "[5]",
    r"\sin x, \cos x",
  ],
)
def test_what_math_verify_must_not_see_is_not_admitted(text):
  assert admission.admit(r"\sin x", text) is None


def test_decimals_go_as_fractions():
  gold, answer = admission.admit("0.5x", r"\sin 1.25")
  assert gold == r"\frac{5}{10}x"
  assert answer == r"\sin \frac{125}{100}"
  assert json.dumps(gold)


def test_a_variable_is_stripped_where_one_side_gives_it():
  assert admission.admit(r"\sin x", r"y = \sin x") == (r"\sin x", r"\sin x")
  assert admission.admit(r"\sin x", r"5 = \sin x") is None
  assert admission.admit("x+y=3", "y+x=3") == ("x+y=3", "y+x=3")


@pytest.mark.parametrize(
  ("gold", "answer", "expected"),
  [
    ("x + y = 3", "2x + 2y = 6", "correct"),  # The same line.
    ("x + y = 3", "2x + 2y = 7", "wrong"),
    ("x + y = 3", "3 - x = y", "correct"),
    (r"\sin^2 x + \cos^2 x", "1", "correct"),
    (r"\sin^2 x + \cos^2 x", "2", "wrong"),
    (r"\sin 2x", r"2 \sin x \cos x", "correct"),
    (r"\log(x^2) + 1", r"\log(x^2) + 2", "wrong"),
    ("e^{2x}", "(e^x)^2", "correct"),
    ("e^{2x}", "e^{3x}", "wrong"),
    ("x + y + z^2 = e", "x + y + z^2 = 1", "wrong"),
    ("2^x", "4^{x/2}", "correct"),
  ],
)
def test_a_point_tells_different_expressions_and_never_the_same_ones(
  real, gold, answer, expected
):
  (outcome,) = real.judge_many([admission.admit(gold, answer)])
  assert (outcome.verdict.value, outcome.reason) == (expected, "decided")


@pytest.mark.parametrize(
  ("flags", "code"), [(workers.PYTHON[1:], 0), (("-s", "-P"), 3)]
)
def test_a_module_that_was_never_compiled_may_be_imported_late(
  tmp_path, flags, code
):
  (tmp_path / "late.py").write_text("VALUE = 1\n")
  run = (
    "import runpy, sys\n"
    f"worker = runpy.run_path({str(workers.SCRIPT)!r})\n"
    f"sys.path.append({str(tmp_path)!r})\n"
    "sys.addaudithook(worker['guard'])\n"
    "import late"
  )
  ended = subprocess.run(
    [sys.executable, *flags, "-c", run],
    env=workers.ENVIRONMENT,
    capture_output=True,
  )
  assert ended.returncode == code
