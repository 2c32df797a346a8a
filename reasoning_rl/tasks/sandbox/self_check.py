"""Which layers of the sandbox really hold on this machine: a probe tries.

The probe runs where programs will run, under the same confinement. It tries to
reach a socket, a file and an open descriptor that the parent holds out for it,
to see other processes, to fill the scratch folder, to make processes and
sockets. A layer counts where the attempt failed that it alone prevents.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import socket
import tempfile
import time
from collections.abc import Iterator

from reasoning_rl.tasks.sandbox import command, levels, process

# What Python and bubblewrap set themselves.
_OWN_VARIABLES = {"LC_CTYPE", "PWD"}
# The probe, and what started it inside its process namespace.
_OWN_PROCESSES = 4
_KERNEL_NAMES = {"network": "net", "root": "mnt"}


@dataclasses.dataclass(frozen=True)
class Report:
  """What the self-check of one level found.

  Attributes:
    level: The level that was tried.
    holds: The layers that hold.
    missing: The layers that the level needs and that do not hold.
    reason: Why the level cannot be had, "" where it can.
  """

  level: str
  holds: tuple[str, ...]
  missing: tuple[str, ...]
  reason: str

  @property
  def is_complete(self) -> bool:
    """Whether programs may run at this level."""
    return not self.reason


def check(plan: command.Plan) -> Report:
  """Runs the probe under a plan and judges what it found.

  Args:
    plan: As made by `command.plan`; layers left out there are found missing.
  """
  needed = [
    name
    for name in levels.LEVELS[plan.level]
    if name not in levels.OPTIONAL[plan.level]
  ]
  try:
    facts, found = _probe(plan)
  except (process.StartFault, process.ChildFault, levels.SandboxError) as fault:
    return Report(plan.level, (), tuple(needed), str(fault))
  holds = _judge(plan, facts, found)
  kept = tuple(name for name in plan.layers if holds[name])
  missing = tuple(name for name in needed if not holds[name])
  lacks = [f"{name} ({levels.LAYERS[name]})" for name in missing]
  reason = f"nothing prevents {', '.join(lacks)}" if lacks else ""
  return Report(plan.level, kept, missing, reason)


@functools.cache
def check_level(level: str) -> Report:
  """Returns the report of a level with its default limits, made once.

  Where it cannot be had as a whole it is tried without its optional layers.
  """
  report = check(command.plan(level))
  if not report.is_complete and levels.OPTIONAL[level]:
    without = check(command.plan(level, without=levels.OPTIONAL[level]))
    return without if without.is_complete else report
  return report


def choose(
  level_required: str, limits: levels.Limits
) -> tuple[command.Plan, Report]:
  """Returns the strongest plan that holds on this machine.

  Args:
    level_required: The weakest level that will do.
    limits: What one program may use.

  Raises:
    SandboxError: If this machine gives no such level; names one that it gives.
  """
  names = list(levels.LEVELS)
  command.plan(level_required)  # Refuses an unknown level.
  enough = names[: names.index(level_required) + 1]
  for level in enough:
    first = check_level(level)
    if not first.is_complete:
      continue
    lacks = tuple(n for n in levels.OPTIONAL[level] if n not in first.holds)
    plan = command.plan(level, limits, lacks)
    report = check(plan)  # With the limits that will hold.
    if report.is_complete:
      return plan, report
    raise levels.SandboxError(
      f"the sandbox does not start with these limits: {report.reason}"
    )
  others = [n for n in names if n not in enough and check_level(n).is_complete]
  advice = "no level holds here"
  if others:
    advice = f"the level {others[0]} holds here"
    if others[0] == "minimal":
      advice += ", which is no wall against a program that means harm"
  raise levels.SandboxError(
    f"the sandbox level {level_required} cannot be had on this machine:"
    f" {check_level(level_required).reason}; {advice}"
  )


def _probe(plan: command.Plan) -> tuple[dict, dict]:
  with _witness() as witness, process.Child(plan, "probe", witness) as child:
    child.wait_until_ready()
    try:
      found = child.receive(time.monotonic() + plan.limits.start_seconds)
    except process.ChildFault as fault:
      raise process.ChildFault(child.complaint() or str(fault)) from fault
    return child.facts, found[1]


@contextlib.contextmanager
def _witness() -> Iterator[dict]:
  """Holds out what a confined process must not reach."""
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(tempfile.NamedTemporaryFile())
    os.chmod(file.name, 0o644)
    # Where any user could reach it, so that only the sandbox is in the way.
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    yield {
      "file": file.name,
      "port": listener.getsockname()[1],
      "descriptors": (listener.fileno(),),
    }


def _judge(plan: command.Plan, facts: dict, found: dict) -> dict[str, bool]:
  """Returns for every layer whether it holds."""
  root = os.geteuid() == 0
  scratch, limits = found["scratch"], plan.limits
  apart = {
    name: facts["namespaces"][kernel]
    != os.stat(f"/proc/self/ns/{kernel}").st_ino
    for name in ("user", "pid", "network", "ipc", "uts", "root")
    for kernel in [_KERNEL_NAMES.get(name, name)]
  }
  users = set(found["users"]) | set(found["groups"])
  expected = {
    "cpu_seconds": limits.cpu_seconds,
    "descriptors": limits.descriptors,
    "core_bytes": 0,
    "memory": False,
  }
  return {
    **apart,
    "pid": apart["pid"] and facts["processes"] <= _OWN_PROCESSES,
    "network": apart["network"] and not facts["reaches_network"],
    "root": apart["root"] and not facts["reaches_file"],
    "scratch": bool(scratch)
    and scratch[0] <= limits.scratch_bytes
    and scratch[1] <= limits.scratch_files,
    # Who is no root has no user to give away, and nothing but its own rights.
    "uid": min(users) >= command.FIRST_UID if root else 0 not in users,
    "capabilities": not facts["capabilities"],
    "limits": all(found["limits"][name] == at for name, at in expected.items()),
    "no_new_privs": facts["no_new_privs"] == 1,
    "seccomp": not found["makes_socket"] and not found["makes_process"],
    "landlock": not found["opens_closed"] and not found["writes_outside"],
    "environment": set(found["environment"]) <= _OWN_VARIABLES,
    "descriptors": not found["descriptors"],
  }
