"""Namespaces and a minimal root without a tool, from pure Python."""

from __future__ import annotations

import os

import kernel

_NAMESPACES = {
  "pid": kernel.CLONE_NEWPID,
  "network": kernel.CLONE_NEWNET,
  "ipc": kernel.CLONE_NEWIPC,
  "uts": kernel.CLONE_NEWUTS,
  "root": kernel.CLONE_NEWNS,
}
# The new root is built over this folder, which hides nothing that is needed.
_STAND = "/sys"


def enter(layers: list[str], config: dict) -> None:
  """Moves into new namespaces and a root that holds only what is named.

  Returns in a grandchild: the process that was started waits for it, and its
  child is the first process of the new process namespace. When that one ends,
  by whatever signal, the kernel ends everything in there.

  Args:
    layers: Which of the namespaces to make.
    config: What the parent sent: see `stage`.
  """
  flags = sum(_NAMESPACES[name] for name in layers if name in _NAMESPACES)
  if not flags:
    return
  if os.geteuid() != 0:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(flags | kernel.CLONE_NEWUSER)
    kernel.map_identity(user, group)
  else:
    kernel.unshare(flags)
  _fork_and_wait()
  if "pid" in layers:
    _fork_and_wait()
  if "root" in layers:
    _build_root(config)


def _fork_and_wait() -> None:
  """Goes on in a child that dies with this process, which only waits."""
  child = os.fork()
  if child == 0:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    return
  # The pipes' ends belong to the child alone: their closing is its death.
  os.closerange(0, 64)
  while True:
    try:
      pid, _ = os.wait()
    except ChildProcessError:
      os._exit(0)
    if pid == child:
      os._exit(0)


def _build_root(config: dict) -> None:
  quiet = kernel.MS_NOSUID | kernel.MS_NODEV
  kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
  kernel.mount("tmpfs", _STAND, "tmpfs", quiet, "size=1m,nr_inodes=512")
  os.chmod(_STAND, 0o755)
  for path, target in config["links"]:
    os.makedirs(os.path.dirname(_STAND + path), exist_ok=True)
    os.symlink(target, _STAND + path)
    if not target.startswith("/"):  # In the root, to a folder.
      os.makedirs(f"{_STAND}/{target}", exist_ok=True)
  for path in config["readable"]:
    _bind(path, _STAND + path)
  for path in config["hidden"]:
    kernel.mount("tmpfs", _STAND + path, "tmpfs", quiet, "size=4k,mode=755")
  for path in (config["scratch"], "/proc", "/closed"):
    os.makedirs(_STAND + path, exist_ok=True)
  kernel.mount("proc", _STAND + "/proc", "proc", quiet | kernel.MS_NOEXEC)
  kernel.change_root(_STAND)
  kernel.mount(
    "", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | quiet
  )


def _bind(source: str, target: str) -> None:
  if os.path.isdir(source):
    os.makedirs(target, exist_ok=True)
  else:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
  kernel.mount(source, target, "", kernel.MS_BIND)
  # Flags that the host set stay: a user namespace may not take them away.
  flags = os.statvfs(target).f_flag & (kernel.MS_NOEXEC | 0x1C00)
  flags |= kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY
  flags |= kernel.MS_NOSUID
  if not source.startswith("/dev/"):
    flags |= kernel.MS_NODEV
  kernel.mount("", target, "", flags)
