"""One helper process in the sandbox, as its parent sees it.

Nothing the child says is believed but that it said it: answers are plain
values, read with a deadline and a bound on their size. How it ends is never
looked at.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time

from reasoning_rl.tasks.sandbox import command
from reasoning_rl.tasks.sandbox.child import values

_CHUNK = 1 << 16
_MAX_COMPLAINT = 2000


class ChildFault(Exception):
  """The child broke the rules or is gone; the text says how."""


class StartFault(Exception):
  """The child never got ready: the machine's fault and not the program's."""


class Child:
  """A confined process that takes commands and answers with plain values.

  Attributes:
    facts: What the child reported when it was ready.
    printed: What it has written to its standard output, if it is a script.
  """

  def __init__(
    self, plan: command.Plan, role: str, witness: dict | None = None
  ):
    """Starts a process; `wait_until_ready` comes next.

    Args:
      plan: How it is confined.
      role: "program", "script", "referee" or "probe".
      witness: What a probe tries to reach.
    """
    self.facts: dict = {}
    self.printed = b""
    self._limits = plan.limits
    self._answers = bytearray()
    self._unsent = bytearray()
    self._open = True
    opened = (witness or {}).get("descriptors", ())
    try:
      self._process = subprocess.Popen(
        command.command_line(plan),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=command.environment(plan),
        cwd="/",
        bufsize=0,
        pass_fds=opened,
        start_new_session=True,
      )
    except OSError as error:
      raise StartFault(f"no helper process can be started: {error}") from error
    self._selector = selectors.DefaultSelector()
    pipes = (self._process.stdout, self._process.stderr)
    for pipe in (self._process.stdin, *pipes):
      os.set_blocking(pipe.fileno(), False)
    for pipe in pipes:
      self._selector.register(pipe, selectors.EVENT_READ)
    self._queue(command.configuration(plan, role, witness))

  def __enter__(self) -> Child:
    """Returns itself: the process is killed when the block is left."""
    return self

  def __exit__(self, *_: object) -> None:
    """Kills the process and all it started."""
    self.kill()

  def wait_until_ready(self) -> None:
    """Waits until the child says that it is confined.

    Raises:
      StartFault: If it does not come to that in `start_seconds`.
    """
    deadline = time.monotonic() + self._limits.start_seconds
    try:
      kind, self.facts = self.receive(deadline)
    except (ChildFault, ValueError, TypeError) as fault:
      raise StartFault(self.complaint() or str(fault)) from fault
    if kind != "ready":
      raise StartFault("the helper process did not confine itself")
    self._read(self._process.stderr)
    self.printed = b""  # Whatever else came before: no print of the program.

  def complaint(self) -> str:
    """Returns the last line that the child has printed."""
    with contextlib.suppress(ChildFault, KeyError):
      self._read(self._process.stderr)
    text = self.printed[-_MAX_COMPLAINT:].decode(errors="replace").strip()
    return text.splitlines()[-1] if text else ""

  def send(self, *value: object) -> None:
    """Queues a command; it is written while waiting for answers."""
    self._queue(value)

  def receive(self, deadline: float) -> tuple:
    """Returns the next answer.

    Args:
      deadline: In the time of `time.monotonic`.

    Raises:
      ChildFault: If none comes in time, or one that is no plain value.
    """
    while True:
      answer = self._next_answer()
      if answer is not None:
        return answer
      if not self._open:
        raise ChildFault("the process ended")
      left = deadline - time.monotonic()
      if left <= 0:
        raise ChildFault("the time is up")
      self._pump(left)

  def read_to_end(self, deadline: float) -> None:
    """Reads what is printed until all writers are gone, or time is up."""
    while self._process.stderr in self._readers():
      left = deadline - time.monotonic()
      if left <= 0:
        raise ChildFault("the time is up")
      self._pump(left)

  def kill(self) -> None:
    """Kills the process tree and waits for it: no zombie stays."""
    if self._process.returncode is not None:
      return
    # The first process of the namespace ends all others with it, and whoever
    # started it waits for it and ends as well.
    for child in _children(self._process.pid):
      with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
    self._close()
    try:
      self._process.wait(0.5)
    except subprocess.TimeoutExpired:
      pass
    with contextlib.suppress(OSError):
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()

  def _close(self) -> None:
    self._selector.close()
    for pipe in (
      self._process.stdin,
      self._process.stdout,
      self._process.stderr,
    ):
      pipe.close()

  def _queue(self, value: object) -> None:
    payload = values.encode(value, self._limits.answer_bytes + _CHUNK)
    if not self._unsent:
      events = selectors.EVENT_WRITE
      with contextlib.suppress(KeyError):
        self._selector.register(self._process.stdin, events)
    self._unsent += values.frame(payload)

  def _readers(self) -> list:
    return [key.fileobj for key in self._selector.get_map().values()]

  def _pump(self, timeout: float) -> None:
    """Moves what can be moved on the three pipes."""
    for key, _ in self._selector.select(timeout):
      if key.fileobj is self._process.stdin:
        self._write()
      else:
        self._read(key.fileobj)

  def _write(self) -> None:
    try:
      sent = os.write(self._process.stdin.fileno(), self._unsent[:_CHUNK])
      del self._unsent[:sent]
    except BlockingIOError:
      return
    except OSError:
      self._unsent.clear()  # It is gone: reading will tell.
    if not self._unsent:
      self._selector.unregister(self._process.stdin)

  def _read(self, pipe: object) -> None:
    try:
      data = os.read(pipe.fileno(), _CHUNK)
    except BlockingIOError:
      return
    if not data:
      with contextlib.suppress(KeyError):
        self._selector.unregister(pipe)
      if pipe is self._process.stdout:
        self._open = False
    elif pipe is self._process.stdout:
      self._answers += data
      if len(self._answers) > self._limits.answer_bytes + _CHUNK:
        raise ChildFault("the answer is too large")
    else:
      self.printed += data
      if len(self.printed) > self._limits.output_bytes:
        raise ChildFault("it prints too much")

  def _next_answer(self) -> tuple | None:
    if len(self._answers) < 4:
      return None
    size = values.frame_length(bytes(self._answers[:4]))
    if size > self._limits.answer_bytes:
      raise ChildFault("the answer is too large")
    if len(self._answers) < 4 + size:
      return None
    try:
      answer = values.decode(bytes(self._answers[4 : 4 + size]))
    except values.ValueFault as fault:
      raise ChildFault(f"the answer is no plain value: {fault}") from fault
    del self._answers[: 4 + size]
    if type(answer) is not tuple or not answer:
      raise ChildFault("the answer has a wrong form")
    return answer


def _children(pid: int) -> list[int]:
  """Returns the direct children of a process, [] where it cannot be known."""
  try:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
      return [int(word) for word in file.read().split()]
  except OSError:
    return []
