"""What the self-check tries from inside: effects, not names.

`before` runs while the walls of files, network and processes stand alone, for a
later layer would hide a hole in them; `run` then tries the rest under the
complete confinement. Both only report: the parent judges.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import resource
import socket

import kernel
import values

_NAMESPACES = ("user", "pid", "net", "ipc", "mnt", "uts")


def _works(action) -> bool:
  """Returns whether an action succeeds."""
  try:
    action()
  except (OSError, MemoryError, ValueError):
    return False
  return True


def namespaces() -> dict[str, int]:
  """Returns which namespaces this process is in, as the kernel numbers them."""
  return {n: os.stat(f"/proc/self/ns/{n}").st_ino for n in _NAMESPACES}


def before(config: dict) -> dict:
  """Returns what can be reached before Landlock and seccomp are there."""
  witness = config["witness"]
  return {
    "namespaces": namespaces(),
    "reaches_network": _works(lambda: _connect(witness["port"])),
    "processes": sum(name.isdigit() for name in os.listdir("/proc")),
    "reaches_file": _works(lambda: os.stat(witness["file"])),
  }


def rights() -> dict:
  """Returns what this process may do, before seccomp hides it."""
  return {
    "capabilities": kernel.has_capabilities(),
    "no_new_privs": kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS),
  }


def _connect(port: int) -> None:
  socket.create_connection(("127.0.0.1", port), timeout=1).close()


def run(config: dict) -> None:
  """Tries everything else and sends what it found."""
  layers, limits = config["layers"], config["limits"]
  closed = "/closed" if "root" in layers else config["witness"]["file"]
  found = {
    "environment": sorted(os.environ),
    "descriptors": [
      n for n in range(3, 256) if _works(lambda n=n: os.fstat(n))
    ],
    "users": [*os.getresuid(), *os.getresgid()],
    "groups": os.getgroups(),
    "opens_closed": _works(lambda: os.close(os.open(closed, os.O_RDONLY))),
    "makes_socket": _works(lambda: socket.socket(socket.AF_UNIX).close()),
    "makes_process": _works(_fork),
    "writes_outside": [
      path
      for path in ("/", config["readable"][0])
      if _works(lambda path=path: _write(path))
    ],
    "limits": _limits(limits),
    "scratch": _fill(limits) if "scratch" in layers else [],
  }
  data = values.encode(("found", found), 1 << 16)
  os.write(1, values.frame(data))


def _fork() -> None:
  child = os.fork()
  if child == 0:
    os._exit(0)
  os.waitpid(child, 0)


def _write(folder: str) -> None:
  if not os.path.isdir(folder):
    folder = os.path.dirname(folder)
  path = os.path.join(folder, "sandbox-probe")
  os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
  os.unlink(path)


def _limits(limits: dict) -> dict:
  """Returns limits as the kernel holds them, the memory's by trying it."""
  too_much = limits["memory_bytes"] + (1 << 20)
  held = {
    "cpu_seconds": resource.getrlimit(resource.RLIMIT_CPU)[1],
    "file_bytes": resource.getrlimit(resource.RLIMIT_FSIZE)[1],
    "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    "core_bytes": resource.getrlimit(resource.RLIMIT_CORE)[1],
  }
  held["memory"] = _works(lambda: mmap.mmap(-1, too_much).close())
  return held


def _fill(limits: dict) -> list[int]:
  """Returns how many bytes and how many files the scratch folder took."""
  size, chunk = 0, b"\0" * (1 << 20)
  descriptor = os.open("fill", os.O_CREAT | os.O_WRONLY, 0o600)
  try:
    while size <= 2 * limits["scratch_bytes"]:
      size += os.write(descriptor, chunk)
  except OSError as fault:
    if fault.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
      raise
  os.close(descriptor)
  os.unlink("fill")
  files = 0
  while files <= 2 * limits["scratch_files"]:
    if not _works(functools.partial(os.mkdir, str(files))):
      break
    files += 1
  for number in range(files):
    os.rmdir(str(number))
  return [size, files]
