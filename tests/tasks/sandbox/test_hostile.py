"""Hostile programs: they get through outside, and none does at the walls."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from reasoning_rl.tasks.sandbox import command, levels, process, self_check

HERE = pathlib.Path(__file__).parent
SOURCES = [HERE / name for name in ("hostile_files.py", "hostile_kernel.py")]
# What this machine or its kernel does not do outside either.
MAY_FAIL_OUTSIDE = {
  "start_a_program_from_memory": "a script in memory needs a /proc/self/fd",
  "load_a_filter_into_the_kernel": "some kernels lack it",
  "make_a_ring_of_system_calls": "administrators turn it off",
  "handle_its_own_page_faults": "administrators turn it off",
  "call_in_x32": "most kernels lack it",
  "call_in_32_bits": "some kernels lack it",
  "read_the_session_keyring": "there may be none",
  "add_a_key": "containers forbid it",
  "read_the_arguments_of_the_parent": "the parent has no secret arguments",
  "lock_memory": "limits of the machine",
  "use_installed_packages": "there may be none beside the library",
}
RUNNER = """
import json, os, sys
text, names, witness = json.loads(sys.stdin.read())
exec(compile(text, "<hostile>", "exec"), globals())
for name in names:
  sys.stdout.flush()
  child = os.fork()
  if child == 0:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
      through = globals()[name](witness) is True
    except BaseException:
      through = False
    os._exit(0 if through else 1)
  print(json.dumps([name, os.waitpid(child, 0)[1] == 0]))
"""


def names_in(path):
  body = ast.parse(path.read_text()).body
  functions = [node for node in body if isinstance(node, ast.FunctionDef)]
  return [node.name for node in functions if node.args.args[0].arg == "w"]


@contextlib.contextmanager
def witnesses():
  """Holds out a folder with files, sockets and a process to go for."""
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    os.chmod(folder, 0o777)
    scratch = stack.enter_context(tempfile.TemporaryDirectory())
    found = {"folder": folder, "scratch": scratch, "secret": "dark"}
    for name in ("file", "spare", "doomed", "movable"):
      found[name] = f"{folder}/{name}"
      pathlib.Path(found[name]).write_text("witness")
      os.chmod(found[name], 0o666)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
    found["abstract"] = f"sandbox-test-{os.getpid()}"
    abstract.bind("\0" + found["abstract"])
    abstract.listen()
    named = stack.enter_context(socket.socket(socket.AF_UNIX))
    found["socket"] = folder + "/socket"
    named.bind(found["socket"])
    named.listen()
    victim = subprocess.Popen(["sleep", "300"])
    stack.callback(victim.wait)
    stack.callback(victim.kill)
    found |= {"port": listener.getsockname()[1], "pid": victim.pid}
    found["descriptor"] = listener.fileno()
    found["inode"] = os.fstat(listener.fileno()).st_ino
    yield found, listener, victim


def outside(path, witness):
  """Returns which programs get through with no sandbox around them."""
  job = json.dumps([path.read_text(), names_in(path), witness])
  run = subprocess.run(
    [sys.executable, "-I", "-c", RUNNER],
    input=job,
    capture_output=True,
    text=True,
    timeout=120,
    env={"WITNESS": "seen"},
    pass_fds=(witness["descriptor"],),
  )
  return dict(json.loads(line) for line in run.stdout.splitlines())


def inside(plan, path, witness):
  """Returns which programs get through, and runs each of them.

  They share a process, so that what one opens another may use; one that ends
  the process costs a new one.
  """
  found, left = {}, list(names_in(path))
  witness = {**witness, "scratch": "."}
  while left:
    with process.Child(plan, "program") as child:
      child.wait_until_ready()
      child.send("define", path.read_text())
      assert child.receive(time.monotonic() + 20) == ("defined",)
      while left:
        name = left.pop(0)
        child.send("call", name, (witness,), {})
        try:
          answer = child.receive(time.monotonic() + 10)
        except process.ChildFault as fault:
          found[name] = str(fault)
          break
        found[name] = answer
  return found


def skip_unless(level):
  report = self_check.check_level(level)
  if not report.is_complete:
    pytest.skip(
      f"this machine has no sandbox of level {level}: {report.reason}"
    )


def test_at_least_sixty_hostile_programs_are_tried():
  assert sum(len(names_in(path)) for path in SOURCES) >= 60


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_hostile_programs_get_through_where_there_is_no_sandbox(path):
  if os.geteuid() != 0:
    pytest.skip("many of them need root outside, and this is another user")
  with witnesses() as (witness, _, _):
    through = outside(path, witness)
  assert set(through) == set(names_in(path))
  failed = {name for name, got in through.items() if not got}
  assert failed <= set(MAY_FAIL_OUTSIDE)


@pytest.mark.parametrize("level", ["strict", "isolated"])
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_hostile_program_gets_through_the_walls(path, level, monkeypatch):
  skip_unless(level)
  monkeypatch.setenv("WITNESS", "seen")
  with witnesses() as (witness, listener, victim):
    before = sorted(os.listdir(witness["folder"]))
    found = inside(command.plan(level), path, witness)
    assert set(found) == set(names_in(path))
    through = [n for n, got in found.items() if got == ("value", True)]
    assert through == []
    # And what they went for is as it was.
    assert sorted(os.listdir(witness["folder"])) == before
    for name in ("file", "spare", "doomed", "movable"):
      assert pathlib.Path(witness[name]).read_text() == "witness"
    with pytest.raises(BlockingIOError):
      listener.accept()
    assert victim.poll() is None


# What the level without namespaces gives is less, and named.
CONFINED_LETS = {"find_a_host_file_by_stat", "use_installed_packages"}


def test_without_namespaces_programs_see_names_and_packages_only():
  skip_unless("confined")
  lets = set()
  with witnesses() as (witness, listener, victim):
    for path in SOURCES:
      found = inside(command.plan("confined"), path, witness)
      lets |= {n for n, got in found.items() if got == ("value", True)}
    with pytest.raises(BlockingIOError):
      listener.accept()
    assert victim.poll() is None
  assert lets <= CONFINED_LETS


def test_limits_must_be_positive():
  with pytest.raises(ValueError, match="memory_bytes must be positive"):
    levels.Limits(memory_bytes=0)
