"""A pool of worker processes that run math-verify, each verdict on a deadline.

sympy can be made to hang, to eat memory and to crash, and Python cannot stop it
from within. So it runs in processes of its own, started afresh and not forked
(a fork of a JAX process may deadlock), and the parent kills one that is late
and starts another. Whatever goes wrong there is an undecided verdict.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from reasoning_rl import extras
from reasoning_rl.tasks.mathematics.judging import Verdict

SCRIPT = pathlib.Path(__file__).with_name("math_verify_worker.py")
MEMORY_BYTES = 2 << 30
START_SECONDS = 120.0
MAX_FAILED_STARTS = 3
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_MAX_REPLY = 16
# Isolated as by -I, which would also ignore the seed: the order of sympy's sets
# follows it, and a verdict must not change from one process to the next. -B: a
# module imported late is compiled, and who writes a file is ended.
PYTHON = (sys.executable, "-s", "-P", "-B")
ENVIRONMENT = {
  "PATH": "/usr/bin:/bin",
  "LANG": "C.UTF-8",
  "OMP_NUM_THREADS": "1",
  "PYTHONHASHSEED": "0",
}


class WorkerError(RuntimeError):
  """No worker of math-verify can be started; says why."""


class Outcome(NamedTuple):
  """A verdict and how it came about.

  Attributes:
    verdict: The verdict.
    reason: decided, or why not: deadline, died, garbage, no worker, or
      unread where math-verify itself has no reading.
  """

  verdict: Verdict
  reason: str


class _Worker:
  """One process: starting, idle or busy with a request until its deadline."""

  def __init__(self, command: Sequence[str]):
    self.process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      bufsize=0,
      cwd="/",
      env=ENVIRONMENT,
      start_new_session=True,
    )
    self.ready = False
    self.request: int | None = None
    self.deadline = time.monotonic() + START_SECONDS
    self.reply = b""

  def send(self, request: int, pair: tuple[str, str], seconds: float) -> bool:
    """Hands over one request; False if the process is gone."""
    line = json.dumps({"gold": pair[0], "answer": pair[1], "seconds": seconds})
    try:
      # Far below what a pipe holds, so this never waits for the worker.
      os.write(self.process.stdin.fileno(), line.encode() + b"\n")
    except OSError:
      return False
    self.request, self.reply = request, b""
    self.deadline = time.monotonic() + seconds
    return True

  def read(self) -> str | None:
    """Returns a whole reply, "" if there is none yet, None if it is over."""
    try:
      received = os.read(self.process.stdout.fileno(), _MAX_REPLY + 1)
    except OSError:
      received = b""
    self.reply += received
    if not received:
      return None
    if self.reply.endswith(b"\n"):
      return self.reply[:-1].decode("ascii", "replace") or "?"
    return "?" if len(self.reply) > _MAX_REPLY else ""

  def kill(self) -> None:
    """Kills the process and its group, and waits for its end."""
    with contextlib.suppress(OSError):
      os.killpg(self.process.pid, signal.SIGKILL)
    self.process.kill()
    self.process.wait()
    self.process.stdin.close()
    self.process.stdout.close()


class WorkerPool:
  """Judges pairs of answers with math-verify, several at a time.

  Attributes:
    deadline: Seconds that one verdict may take.
    restarts: Workers that had to be replaced.
  """

  def __init__(
    self,
    workers: int = 2,
    deadline: float = 5.0,
    memory_bytes: int = MEMORY_BYTES,
    command: Sequence[str] | None = None,
  ):
    """Checks that math-verify is there; the workers start at first use.

    Args:
      workers: Processes.
      deadline: Seconds that one verdict may take.
      memory_bytes: Address space of a process.
      command: What to run instead of the worker of this package.
    """
    if workers < 1 or deadline <= 0:
      raise ValueError(
        f"{workers} workers with a deadline of {deadline} s: give at least one"
        " worker and a positive deadline"
      )
    if command is None:
      module = extras.require("math_verify", "verify")
      packages = pathlib.Path(module.__file__).parents[1]
      command = [*PYTHON, str(SCRIPT), str(packages)]
      command.append(str(memory_bytes))
    self.deadline = deadline
    self.restarts = 0
    self._command = list(command)
    self._size = workers
    self._workers: list[_Worker] = []
    self._failed_starts = 0
    self._started = False
    self._lock = threading.Lock()

  def judge_many(self, pairs: Sequence[tuple[str, str]]) -> list[Outcome]:
    """Returns an outcome for each (gold, answer), both admitted.

    Raises:
      WorkerError: If no worker has ever started.
    """
    outcomes: dict[int, Outcome] = {}
    with self._lock:
      waiting = collections.deque(range(len(pairs)))
      while len(outcomes) < len(pairs):
        self._fill(len(pairs) - len(outcomes))
        if not self._workers:
          outcomes |= self._give_up(waiting)
          break
        self._dispatch(waiting, pairs)
        self._wait()
        self._collect(outcomes)
    return [outcomes[index] for index in range(len(pairs))]

  def start(self) -> None:
    """Starts the workers and waits until all are ready.

    Raises:
      WorkerError: If none starts.
    """
    with self._lock:
      self._fill(self._size)
      while self._workers and not all(w.ready for w in self._workers):
        self._wait()
        self._collect({})
        self._fill(self._size)
      if not self._workers:
        self._give_up(())

  def close(self) -> None:
    """Kills the workers."""
    with self._lock:
      while self._workers:
        self._workers.pop().kill()

  def __enter__(self) -> WorkerPool:
    """Returns the pool."""
    return self

  def __exit__(self, *_: object) -> None:
    """Kills the workers."""
    self.close()

  def _fill(self, wanted: int) -> None:
    """Starts workers up to the pool's size, or to what is wanted."""
    while len(self._workers) < min(self._size, wanted):
      if self._failed_starts >= MAX_FAILED_STARTS:
        return
      self._workers.append(_Worker(self._command))

  def _give_up(self, waiting: Sequence[int]) -> dict[int, Outcome]:
    self._failed_starts = 0  # Another call tries again.
    if not self._started:
      raise WorkerError(
        "no worker of math-verify starts: run"
        f" {' '.join(self._command)} to see why"
      )
    return {index: Outcome(Verdict.UNDECIDED, "no worker") for index in waiting}

  def _dispatch(
    self, waiting: collections.deque[int], pairs: Sequence[tuple[str, str]]
  ) -> None:
    for worker in list(self._workers):
      if waiting and worker.ready and worker.request is None:
        if worker.send(waiting[0], pairs[waiting[0]], self.deadline):
          waiting.popleft()
        else:
          self._drop(worker)  # It died idle; the request goes to another.

  def _wait(self) -> None:
    """Waits until a worker has something to say or is late."""
    active = [w for w in self._workers if w.request is not None or not w.ready]
    if not active:
      return
    timeout = min(w.deadline for w in active) - time.monotonic()
    select.select([w.process.stdout for w in active], [], [], max(0.0, timeout))

  def _collect(self, outcomes: dict[int, Outcome]) -> None:
    for worker in list(self._workers):
      if worker.ready and worker.request is None:
        continue
      readable, _, _ = select.select([worker.process.stdout], [], [], 0)
      reply = worker.read() if readable else ""
      if reply == "" and time.monotonic() < worker.deadline:
        continue
      if not worker.ready:
        self._admit(worker, reply)
        continue
      request, worker.request = worker.request, None
      if reply in _VERDICTS:
        verdict = _VERDICTS[reply]
        reason = "unread" if verdict is Verdict.UNDECIDED else "decided"
        outcomes[request] = Outcome(verdict, reason)
        continue
      reason = {"": "deadline", None: "died"}.get(reply, "garbage")
      outcomes[request] = Outcome(Verdict.UNDECIDED, reason)
      self._drop(worker)

  def _admit(self, worker: _Worker, reply: str | None) -> None:
    """Takes a worker into service at its first word, or drops it."""
    if reply == "ready":
      worker.ready = self._started = True
      self._failed_starts = 0
    else:
      self._failed_starts += 1
      self._drop(worker)

  def _drop(self, worker: _Worker) -> None:
    worker.kill()
    self._workers.remove(worker)
    self.restarts += 1
