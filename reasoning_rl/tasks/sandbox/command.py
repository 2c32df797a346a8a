"""From a level to a command line, and to what the child is told to do."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil

from reasoning_rl.tasks.sandbox import interpreter, levels

# Users that no system gives to anybody. Each process gets one of its own, so
# that no two programs may signal or count against each other.
FIRST_UID, UIDS = 0x6000_0000, 1 << 24


@dataclasses.dataclass(frozen=True)
class Plan:
  """How programs are confined.

  Attributes:
    level: One of `levels.LEVELS`.
    layers: Which layers are made: the level's, less what a test leaves out.
    limits: What one program may use.
  """

  level: str
  layers: tuple[str, ...]
  limits: levels.Limits


def plan(
  level: str,
  limits: levels.Limits | None = None,
  without: tuple[str, ...] = (),
) -> Plan:
  """Returns the plan of a level.

  Args:
    level: One of `levels.LEVELS`.
    limits: What one program may use; None for the defaults.
    without: Layers to leave out, for tests of what they are good for.
  """
  if level not in levels.LEVELS:
    raise levels.SandboxError(
      f"unknown sandbox level {level!r}: use one of {', '.join(levels.LEVELS)}"
    )
  unknown = set(without) - set(levels.LAYERS)
  if unknown:
    raise levels.SandboxError(f"unknown sandbox layers {sorted(unknown)}")
  layers = [name for name in levels.LEVELS[level] if name not in without]
  if "user" not in layers and "scratch" in layers:
    layers.remove("scratch")  # It is mounted in a user namespace of its own.
  return Plan(level, tuple(layers), limits or levels.Limits())


def configuration(plan: Plan, role: str, witness: dict | None = None) -> dict:
  """Returns what the child's `stage` is told; plain values only."""
  limits = dataclasses.asdict(plan.limits)
  limits |= {"core_bytes": 0, "message_bytes": 0, "locked_bytes": 0}
  scratch = limits["scratch_bytes"]
  # A script's input and its prints are files as well.
  limits["file_bytes"] = max(scratch, limits["answer_bytes"])
  # An unused user must be able to read the library, where no root is built.
  unused = "root" in plan.layers or interpreter.is_readable_to_all()
  left_out = () if os.geteuid() == 0 and unused else ("uid",)
  layers = [name for name in plan.layers if name not in left_out]
  if not {"uid", "user"} & set(layers):
    # The kernel would count all the processes of the user who runs this.
    del limits["processes"]
  own = plan.layers if plan.level == "isolated" else ()
  namespaces = ("pid", "network", "ipc", "uts", "root")
  return {
    "role": role,
    "layers": layers,
    "own_namespaces": [name for name in own if name in namespaces],
    "has_tool": plan.level == "strict",
    "limits": limits,
    "uid": FIRST_UID + secrets.randbelow(UIDS),
    "readable": list(interpreter.readable()),
    "hidden": list(interpreter.hidden()),
    "scratch": interpreter.scratch(),
    "links": [list(link) for link in interpreter.links()],
    "witness": witness or {},
  }


def command_line(plan: Plan) -> list[str]:
  """Returns the command that starts the child's `stage`."""
  python = [interpreter.executable(), "-I", "-S", "-X", "utf8"]
  python.append(os.path.join(interpreter.CHILD, "start.py"))
  return _bubblewrap(plan) + python if plan.level == "strict" else python


def environment(plan: Plan) -> dict[str, str]:
  """Returns the environment of the child."""
  return {} if "environment" in plan.layers else dict(os.environ)


def _bubblewrap(plan: Plan) -> list[str]:
  tool = shutil.which("bwrap")
  if tool is None:
    raise levels.SandboxError(
      "the strict sandbox needs bubblewrap, and there is no bwrap on the PATH:"
      " install it (apt-get install bubblewrap) or ask for the level isolated"
    )
  layers = plan.layers
  command = [tool, "--die-with-parent", "--new-session"]
  names = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts"}
  command += [
    f"--unshare-{option}" for name, option in names.items() if name in layers
  ]
  if os.geteuid() == 0:
    # Rights to become an unused user, which then has none.
    command += ["--cap-drop", "ALL"]
    for right in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
      command += ["--cap-add", right]
  else:
    command += ["--unshare-user"]
  if "root" not in layers:
    return [*command, "--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--"]
  links, files = interpreter.links(), interpreter.readable()
  folders = {os.path.dirname(path) for path in files}
  for path, target in links:
    # A folder's link leads to a folder that has to be there.
    is_folder = not target.startswith("/")
    folders.add("/" + target if is_folder else os.path.dirname(path))
    command += ["--symlink", target, path] if is_folder else []
  # Otherwise bubblewrap makes the folders above for their owner alone.
  for folder in sorted(folders):
    command += ["--dir", folder]
  for path in files:
    bind = "--dev-bind" if path == os.devnull else "--ro-bind"
    command += [bind, path, path]
  for path, target in links:
    command += ["--symlink", target, path] if target.startswith("/") else []
  for path in interpreter.hidden():
    command += ["--tmpfs", path, "--remount-ro", path]
  for path in (interpreter.scratch(), "/closed"):
    command += ["--dir", path]
  return [*command, "--proc", "/proc", "--remount-ro", "/", "--"]
