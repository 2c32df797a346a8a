"""Runs a program, or the tests of one, inside the sandbox.

This is the one file of the package that executes code it was sent. The parent
never imports it: `stage` does, in a process of its own, once it is confined.

A *program* is asked for calls and answers with values. A *script* is run once,
with text in and text out. A *referee* runs tests whose form the parent cannot
read; a call of the tested function is a question that it sends to the parent,
who has the program answer it in the program's own process. So the tests never
meet the program's code or objects, only plain values.
"""

from __future__ import annotations

import builtins
import os
import sys
import types

import values

# What a raised exception may be called on the other side.
_RAISED = {
  name: kind
  for name, kind in vars(builtins).items()
  if isinstance(kind, type) and issubclass(kind, Exception)
}


def run(config: dict, stdin: int) -> None:
  """Plays the role that the configuration names, until the parent hangs up."""
  max_bytes = config["limits"]["answer_bytes"]
  role = {"program": _Program, "referee": _Referee, "script": _Script}
  # Away from the places where a program would print to by chance.
  commands, answers = os.dup(0), os.dup(1)
  null = os.open(os.devnull, os.O_RDWR)
  os.dup2(stdin if stdin >= 0 else null, 0)
  os.dup2(2 if config["role"] == "script" else null, 1)
  os.dup2(null, 2)
  # What `site` would have made, without which `exit()` is no function.
  builtins.exit = builtins.quit = sys.exit
  role[config["role"]](_Wire(commands, answers, max_bytes)).serve()


class _Wire:
  """Frames to and from the parent."""

  def __init__(self, commands: int, answers: int, max_bytes: int):
    self._commands = commands
    self._answers = answers
    self._max_bytes = max_bytes

  def read(self) -> tuple:
    size = values.frame_length(self._exactly(4))
    return values.decode(self._exactly(size))

  def write(self, *value: object) -> None:
    try:
      payload = values.encode(value, self._max_bytes)
    except values.ValueFault as fault:
      payload = values.encode(("unplain", str(fault)[:200]), 4096)
    data = memoryview(values.frame(payload))
    while data:
      data = data[os.write(self._answers, data) :]

  def _exactly(self, size: int) -> bytes:
    parts = []
    while size:
      part = os.read(self._commands, min(size, 1 << 20))
      if not part:
        os._exit(0)
      parts.append(part)
      size -= len(part)
    return b"".join(parts)


def _execute(source: str, name: str) -> dict:
  """Runs source text as a module of that name and returns its globals."""
  module = types.ModuleType(name)
  sys.modules[name] = module  # Dataclasses look their module up.
  exec(compile(source, f"<{name}>", "exec"), module.__dict__)
  return module.__dict__


def _end_threads() -> None:
  """Waits for threads and runs exit functions, as an interpreter's end does."""
  threading = sys.modules.get("threading")
  if threading is not None:
    threading._shutdown()
  import atexit

  atexit._run_exitfuncs()


class _Program:
  """Defines what a program defines and answers calls of it."""

  def __init__(self, wire: _Wire):
    self._wire = wire
    self._names: dict = {}

  def serve(self) -> None:
    while True:
      kind, *rest = self._wire.read()
      try:
        if kind == "define":
          self._names = _execute(rest[0], "program")
          reply = ("defined",)
        else:
          function, arguments, keywords = rest
          called = self._names[function]
          reply = ("value", called(*arguments, **keywords))
      except BaseException as error:
        reply = ("raised", type(error).__name__)
      self._wire.write(*reply)


class _Script:
  """Runs a program that reads its standard input and prints."""

  def __init__(self, wire: _Wire):
    self._wire = wire

  def serve(self) -> None:
    _, source, text = self._wire.read()
    data = memoryview(text.encode("utf-8", "surrogatepass"))
    while data:
      data = data[os.write(0, data) :]
    os.lseek(0, 0, os.SEEK_SET)
    self._wire.write("started")
    try:
      try:
        _execute(source, "__main__")
      except SystemExit as error:
        if error.code not in (None, 0):
          raise
      _end_threads()
      sys.stdout.flush()
      reply = ("finished",)
    except BaseException as error:
      reply = ("raised", type(error).__name__)
    self._wire.write(*reply)
    os._exit(0)


class _Referee:
  """Runs tests against a stand-in for the tested function."""

  def __init__(self, wire: _Wire):
    self._wire = wire

  def serve(self) -> None:
    while True:
      _, setup, source, name, checks = self._wire.read()
      try:
        # The setup may define the function too: the stand-in comes after.
        names = _execute(setup, "setup")
        names[name] = self._ask
        exec(compile(source, "<tests>", "exec"), names)
        if checks:
          names["check"](self._ask)
        reply = ("judged", True)
      except UnaskedFault as fault:
        reply = ("unasked", str(fault))
      except BaseException as error:
        reply = ("judged", False, type(error).__name__)
      self._wire.write(*reply)

  def _ask(self, *arguments: object, **keywords: object) -> object:
    """Stands in for the tested function: the parent gets the call answered."""
    try:
      values.encode((arguments, keywords), self._wire._max_bytes)
    except values.ValueFault as fault:
      raise UnaskedFault(str(fault)) from None
    self._wire.write("call", arguments, keywords)
    kind, *rest = self._wire.read()
    if kind == "value":
      return rest[0]
    raise _RAISED.get(rest[0], RuntimeError)("raised by the program")


class UnaskedFault(BaseException):
  """A test calls the function with what is no plain value."""
