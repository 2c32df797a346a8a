"""Programs that use up what there is, or will not end: all are cut off."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

import pytest

from reasoning_rl.tasks.sandbox import (
  cases,
  command,
  levels,
  process,
  programs,
  self_check,
)

SECONDS = 1.0
UIDS = 256
FIRST_UID = command.FIRST_UID + os.getpid() % (command.UIDS // UIDS) * UIDS
ONE = cases.CallTests((cases.Call((1,), {}, 2),))
# Each does its worst in f, and gives the right value where it is let.
OVERLOADS = {
  "memory": "def f(x):\n  block = [bytearray(1 << 20) for _ in range(4096)]",
  "growing list": "def f(x):\n  a = [0]\n  while True: a += a",
  "huge number": "def f(x):\n  return 9 ** 9 ** 9",
  "huge text": "def f(x):\n  return 'x' * (100 << 20)",
  "huge answer": "def f(x):\n  return list(range(1 << 20))",
  "deep answer": "def f(x):\n  for _ in range(500): x = [x]\n  return x",
  "answer in a circle": "def f(x):\n  a = []\n  a.append(a)\n  return a",
  "endless loop": "def f(x):\n  while True: pass",
  "endless loop at once": "while True: pass",
  "sleep": "import time\ndef f(x):\n  time.sleep(600)\n  return 2",
  "sleep at once": "import time\ntime.sleep(600)\ndef f(x): return 2",
  "recursion": "def f(x):\n  return f(x)",
  "recursion of the interpreter": (
    "import sys\nsys.setrecursionlimit(1 << 30)\ndef f(x):\n  return f(x) + 1"
  ),
  "crash": "import ctypes\ndef f(x):\n  ctypes.string_at(0)",
  "abort": "import os\ndef f(x):\n  os.abort()",
  "signals ignored": (
    "import signal\n"
    "for n in range(1, 65):\n"
    "  try: signal.signal(n, signal.SIG_IGN)\n"
    "  except (OSError, ValueError): pass\n"
    "def f(x):\n  while True: pass"
  ),
  "exit refused": (
    "def f(x):\n"
    "  while True:\n"
    "    try:\n"
    "      while True: pass\n"
    "    except BaseException: pass"
  ),
  "stopped": "import os, signal\ndef f(x):\n  os.kill(os.getpid(), 19)\n  f(x)",
  "threads": (
    "import threading, time\ndef f(x):\n"
    "  for _ in range(9999):\n"
    "    threading.Thread(target=time.sleep, args=(600,)).start()"
  ),
  "fork bomb": "import os\ndef f(x):\n  while True: os.fork()",
  "fork bomb that goes on": (
    "import os\ndef f(x):\n  while True:\n"
    "    try: os.fork()\n    except OSError: pass"
  ),
  "flood of answers": (
    "import os\ndef f(x):\n"
    "  for n in range(3, 64):\n"
    "    try:\n      while True: os.write(n, b'x' * (1 << 16))\n"
    "    except OSError: pass"
  ),
  "flood of prints": "def f(x):\n  while True: print('x' * (1 << 16))",
  "exit with a long goodbye": (
    "import atexit, time, sys\natexit.register(time.sleep, 600)\n"
    "def f(x):\n  sys.exit()"
  ),
  "thread that stays": (
    "import threading, time, os\n"
    "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    "def f(x):\n  raise SystemExit"
  ),
  "pattern that explodes": (
    "import re\ndef f(x):\n  return re.match('(a+)+$', 'a' * 60 + 'b')"
  ),
  "compiler that explodes": "def f(x): return " + "(" * 500 + ")" * 500,
  "end of the process": "import os\ndef f(x):\n  os._exit(0)",
}


def skip_unless(level):
  report = self_check.check_level(level)
  if not report.is_complete:
    pytest.skip(
      f"this machine has no sandbox of level {level}: {report.reason}"
    )


def descendants_left():
  """Returns this process's children, zombies included."""
  path = pathlib.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
  return set(path.read_text().split())


@pytest.fixture(autouse=True)
def own_users(monkeypatch):
  """Takes unused users that no other worker's tests take at the same time."""
  monkeypatch.setattr(command, "FIRST_UID", FIRST_UID)
  monkeypatch.setattr(command, "UIDS", UIDS)


def sandboxed_processes():
  """Returns the processes, zombies included, of this file's unused users."""
  found = []
  for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    try:
      line = [t for t in status.read_text().splitlines() if t[:4] == "Uid:"]
    except OSError:
      continue
    if line and 0 <= int(line[0].split()[1]) - FIRST_UID < UIDS:
      found.append(status)
  return found


def test_overloads_are_wrong_in_time_and_leave_nothing_behind():
  skip_unless("strict")
  verifier = programs.ProgramVerifier("strict", timeout=SECONDS)
  before = descendants_left()

  def timed(source):
    start = time.monotonic()
    return verifier.verify(source, "f", ONE), time.monotonic() - start

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    results = list(pool.map(timed, OVERLOADS.values()))
  for name, (verdict, took) in zip(OVERLOADS, results, strict=True):
    assert verdict.outcome == "wrong", (name, verdict)
    # The start comes on top, and this machine may be busy.
    assert took < SECONDS + 10, (name, took)
  assert descendants_left() <= before
  assert sandboxed_processes() == []


@pytest.mark.parametrize("level", ["isolated", "confined"])
def test_the_other_levels_cut_off_as_well(level):
  skip_unless(level)
  limits = levels.Limits(seconds=SECONDS, cpu_seconds=2)
  plan = command.plan(level, limits)
  before = descendants_left()
  for name in (
    "memory",
    "signals ignored",
    "fork bomb that goes on",
    "threads",
  ):
    with process.Child(plan, "program") as child:
      child.wait_until_ready()
      child.send("define", OVERLOADS[name])
      deadline = time.monotonic() + SECONDS
      child.receive(deadline)
      child.send("call", "f", (1,), {})
      try:
        assert child.receive(deadline)[0] != "value", name
      except process.ChildFault:
        pass
    assert descendants_left() <= before, name
  assert sandboxed_processes() == []


DAEMON = """
import os, time
def f(x):
  for _ in range(3):
    if os.fork() == 0:
      os.setsid()
      if os.fork() == 0:
        time.sleep(600)
      os._exit(0)
  return 2
"""


def test_daemons_die_with_the_sandbox_even_where_they_could_be_started():
  # Without seccomp a program may fork: the process namespace has to do.
  skip_unless("strict")
  for level in ("strict", "isolated"):
    plan = command.plan(level, without=("seccomp",))
    with process.Child(plan, "program") as child:
      child.wait_until_ready()
      child.send("define", DAEMON)
      child.receive(time.monotonic() + 10)
      child.send("call", "f", (1,), {})
      assert child.receive(time.monotonic() + 10) == ("value", 2)
      if os.geteuid() == 0:
        assert len(sandboxed_processes()) >= 4
    deadline = time.monotonic() + 5
    while sandboxed_processes() and time.monotonic() < deadline:
      time.sleep(0.05)
    assert sandboxed_processes() == []


def test_a_program_dies_with_the_process_that_verifies_it(tmp_path):
  skip_unless("isolated")
  script = tmp_path / "verify.py"
  script.write_text(
    "import os, time\n"
    "from reasoning_rl.tasks.sandbox import command, process\n"
    f"command.FIRST_UID, command.UIDS = {FIRST_UID}, {UIDS}\n"
    "for level in ('isolated', 'strict'):\n"
    "  try:\n"
    "    child = process.Child(command.plan(level), 'program')\n"
    "    child.wait_until_ready()\n"
    "  except Exception:\n"
    "    continue\n"
    "  child.send('define', 'while True: pass')\n"
    "  child._pump(1)\n"
    "print('busy', flush=True)\n"
    "time.sleep(600)\n"
  )
  root = pathlib.Path(__file__).parents[3]
  run = subprocess.Popen(
    [sys.executable, str(script)],
    stdout=subprocess.PIPE,
    env={**os.environ, "PYTHONPATH": str(root)},
  )
  assert run.stdout.readline() == b"busy\n"
  if os.geteuid() == 0:
    assert sandboxed_processes() != []
  run.kill()
  run.wait()
  run.stdout.close()
  deadline = time.monotonic() + 5
  while sandboxed_processes() and time.monotonic() < deadline:
    time.sleep(0.05)
  assert sandboxed_processes() == []
