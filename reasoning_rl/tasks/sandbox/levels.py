"""The layers of the sandbox, the levels they add up to, and their limits."""

from __future__ import annotations

import dataclasses

# Each layer, by what is possible without it.
LAYERS = {
  "user": "rights in the host's user namespace",
  "pid": "seeing and signalling other processes",
  "network": "the host's network",
  "ipc": "the host's shared memory and semaphores",
  "uts": "the host's name",
  "root": "the host's files",
  "scratch": "filling the disk with bytes or files",
  "uid": "the rights of the user who runs this",
  "capabilities": "privileged kernel calls",
  "limits": "using up memory, processor time and descriptors",
  "no_new_privs": "gaining rights from a set-user-id program",
  "seccomp": "kernel calls that a computation does not need",
  "landlock": "files that the root holds by mistake",
  "environment": "reading the environment",
  "descriptors": "using the open files of this process",
}
_NAMESPACES = ("user", "pid", "network", "ipc", "uts", "root", "scratch")

# From the strongest to the weakest. `strict` is all layers on bubblewrap,
# `isolated` all layers in pure Python, `confined` what needs no namespace, and
# `minimal` limits alone: no wall against a program that means harm.
LEVELS = {
  "strict": tuple(LAYERS),
  "isolated": tuple(LAYERS),
  "confined": tuple(name for name in LAYERS if name not in _NAMESPACES),
  "minimal": ("limits", "environment", "descriptors"),
}
# What a level may lack: older kernels have no Landlock, and without a root of
# its own an unused user cannot read an interpreter in a private folder.
OPTIONAL = {
  "strict": (),
  "isolated": ("landlock",),
  "confined": ("uid",),
  "minimal": (),
}


class SandboxError(RuntimeError):
  """A sandbox that cannot be had as asked; says what is missing."""


@dataclasses.dataclass(frozen=True)
class Limits:
  """What one program may use.

  Attributes:
    seconds: Wall time from the program's start, all its tests together; of
      a script, each test.
    cpu_seconds: Processor time.
    memory_bytes: Address space, the interpreter's own (some 30 MB) included.
    scratch_bytes: What the scratch folder holds, /tmp as a rule.
    scratch_files: How many files and folders it holds.
    processes: Threads, the main one included.
    descriptors: Open files.
    answer_bytes: The largest value that crosses the wall in either direction.
    output_bytes: The most that a script may print.
    start_seconds: Wall time until a helper process must be ready; a slower one
      is the machine's fault and not the program's.
  """

  seconds: float = 10.0
  cpu_seconds: int = 10
  memory_bytes: int = 512 << 20
  scratch_bytes: int = 8 << 20
  scratch_files: int = 256
  processes: int = 32
  descriptors: int = 64
  answer_bytes: int = 4 << 20
  output_bytes: int = 4 << 20
  start_seconds: float = 20.0

  def __post_init__(self):
    """Checks that every limit is positive."""
    for field in dataclasses.fields(self):
      if not getattr(self, field.name) > 0:
        raise ValueError(f"the sandbox's {field.name} must be positive")
