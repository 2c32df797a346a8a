"""Confines its own process, layer by layer, and then runs what it was sent.

Started by `python -I -S start.py` with three pipes: commands come on 0, values
go out on 1, and 2 is for whatever fails before the confinement is complete; a
program that prints gets 2 as its standard output afterwards. The first frame is
the configuration. Every layer that is asked for is made or the process ends:
the parent gets its "ready" from a process that is confined, or from none.
"""

from __future__ import annotations

import os
import resource
import sys

import harness
import kernel
import landlock
import seccomp
import values

MAX_CONFIG_BYTES = 1 << 20


def read_frame(descriptor: int, max_bytes: int) -> object:
  """Returns the next value from a pipe; ends the process at its end."""
  size = values.frame_length(_read_exactly(descriptor, 4))
  if size > max_bytes:
    raise values.ValueFault("a frame that is too long")
  return values.decode(_read_exactly(descriptor, size))


def _read_exactly(descriptor: int, size: int) -> bytes:
  parts = []
  while size:
    part = os.read(descriptor, min(size, 1 << 20))
    if not part:
      os._exit(0)
    parts.append(part)
    size -= len(part)
  return b"".join(parts)


def write_frame(descriptor: int, payload: bytes) -> None:
  """Writes encoded bytes with their length in front."""
  data = memoryview(values.frame(payload))
  while data:
    data = data[os.write(descriptor, data) :]


def set_limits(limits: dict) -> None:
  """Sets hard resource limits; the soft ones are the same."""
  names = {
    "cpu_seconds": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
    "descriptors": resource.RLIMIT_NOFILE,
    "core_bytes": resource.RLIMIT_CORE,
    "message_bytes": resource.RLIMIT_MSGQUEUE,
    "locked_bytes": resource.RLIMIT_MEMLOCK,
  }
  for name, number in names.items():
    if name in limits:
      resource.setrlimit(number, (limits[name], limits[name]))


def confine(config: dict) -> dict:
  """Makes every layer that the configuration names.

  Returns:
    What a later layer would hide from the probe: see `probe.before`.
  """
  layers = config["layers"]
  if not config["has_tool"]:
    # No longer than the parent. A tool sees to that itself.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
  if config["own_namespaces"]:
    import own_root

    own_root.enter(config["own_namespaces"], config)
  if "capabilities" in layers and os.geteuid() == 0:
    kernel.drop_bounding_set()  # What is held stays held until it is dropped.
  if "uid" in layers:
    os.setgroups([])
    os.setresgid(*[config["uid"]] * 3)
    os.setresuid(*[config["uid"]] * 3)
  if not config["has_tool"]:
    # Again: a change of user forgets it.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
  facts = {}
  if config["role"] == "probe":
    import probe

    facts = probe.before(config)
  if "user" in layers:
    _enter_user_namespace(config, facts)
  if "capabilities" in layers:
    if "user" in layers:
      kernel.drop_bounding_set()  # A new user namespace comes with a full one.
    kernel.drop_capabilities()
  if "no_new_privs" in layers:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
  kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
  if facts:
    facts |= probe.rights()
  if "landlock" in layers:
    scratch = config["scratch"] if "scratch" in layers else ""
    landlock.restrict(config["readable"], scratch)
  if "limits" in layers:
    set_limits(config["limits"])
  if "seccomp" in layers:
    seccomp.restrict()
  return facts


def _enter_user_namespace(config: dict, facts: dict) -> None:
  """Takes a user namespace of its own, and in it the mounts it may make.

  A scratch folder with a limit on its files has to be mounted here: bubblewrap
  can limit the bytes only.
  """
  # After a change of user /proc/self belongs to root until this is set again.
  kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
  user, group = os.geteuid(), os.getegid()
  kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
  kernel.map_identity(user, group)
  if facts:
    import probe

    facts["namespaces"] = probe.namespaces()
  quiet = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
  limits = config["limits"]
  if "scratch" in config["layers"]:
    size = f"size={limits['scratch_bytes']},nr_inodes={limits['scratch_files']}"
    kernel.mount("tmpfs", config["scratch"], "tmpfs", quiet, size)
    os.chdir(config["scratch"])
  if "root" in config["layers"]:
    hidden = quiet | kernel.MS_RDONLY
    kernel.mount("tmpfs", "/proc", "tmpfs", hidden, "size=4k,nr_inodes=2")


def main() -> None:
  """Reads the configuration, confines itself, reports, and goes on."""
  config = read_frame(0, MAX_CONFIG_BYTES)
  if "descriptors" in config["layers"]:
    os.closerange(3, 65536)
  # A program that reads its input gets a file, made while that is allowed.
  stdin = os.memfd_create("stdin") if config["role"] == "script" else -1
  facts = confine(config)
  write_frame(1, values.encode(("ready", facts), MAX_CONFIG_BYTES))
  sys.path.pop(0)
  if config["role"] == "probe":
    import probe

    probe.run(config)
  else:
    harness.run(config, stdin)
