"""The kernel calls that Python's standard library lacks, through ctypes."""

from __future__ import annotations

import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
SIGKILL = 9

# (x86_64, aarch64); the same on both from 424 on.
_NUMBERS = {
  "capget": (125, 90),
  "capset": (126, 91),
  "pivot_root": (155, 41),
  "landlock_create_ruleset": (444, 444),
  "landlock_add_rule": (445, 445),
  "landlock_restrict_self": (446, 446),
}
_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class KernelFault(OSError):
  """A kernel call that failed; says which."""


def machine_index() -> int:
  """Returns this machine's column in tables of system call numbers."""
  machine = os.uname().machine
  if machine not in ("x86_64", "aarch64"):
    raise KernelFault(0, f"no system call numbers for {machine}")
  return ("x86_64", "aarch64").index(machine)


def _checked(result: int, what: str) -> int:
  if result < 0:
    number = ctypes.get_errno()
    raise KernelFault(number, f"{what}: {os.strerror(number)}")
  return result


def syscall(name: str, *arguments: object) -> int:
  """Makes a system call by its name in the table above."""
  number = _NUMBERS[name][machine_index()]
  # As whole words: of a C int the kernel might read half a word too much.
  words = [ctypes.c_long(a) if type(a) is int else a for a in arguments]
  return _checked(_libc.syscall(number, *words), name)


def prctl(option: int, *arguments: object) -> int:
  """Calls prctl, filling up with zeros."""
  rest = [ctypes.c_ulong(0)] * (4 - len(arguments))
  given = [ctypes.c_ulong(a) if type(a) is int else a for a in arguments]
  return _checked(_libc.prctl(option, *given, *rest), f"prctl {option}")


def unshare(flags: int) -> None:
  """Leaves the parent's namespaces for new ones."""
  _checked(_libc.unshare(flags), f"unshare {flags:#x}")


def mount(
  source: str, target: str, kind: str, flags: int, data: str = ""
) -> None:
  """Mounts a file system."""
  arguments = (source.encode(), target.encode(), kind.encode())
  flags_word = ctypes.c_ulong(flags)
  result = _libc.mount(*arguments, flags_word, data.encode())
  _checked(result, f"mount {kind or source} on {target}")


def change_root(new_root: str) -> None:
  """Makes a mounted folder the root, and lets go of the old root."""
  os.chdir(new_root)
  syscall("pivot_root", b".", b".")
  # The old root lies over the new one now, at the same place.
  _checked(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
  os.chdir("/")


def map_identity(user: int, group: int) -> None:
  """Keeps its own user and group, and only those, in a new user namespace."""
  lines = {"setgroups": "deny", "uid_map": f"{user} {user} 1"}
  lines["gid_map"] = f"{group} {group} 1"
  for name, line in lines.items():
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
      file.write(line)


class _CapabilityHeader(ctypes.Structure):
  _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def drop_bounding_set() -> None:
  """Gives up every capability that a program file could give back."""
  for capability in range(64):
    try:
      prctl(PR_CAPBSET_DROP, capability)
    except KernelFault as fault:
      if fault.errno != errno.EINVAL or capability < 32:
        raise  # EINVAL: the kernel knows no more of them.
      break


def drop_capabilities() -> None:
  """Empties the permitted, effective, inheritable and ambient sets."""
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
  header = _CapabilityHeader(_CAPABILITY_VERSION, 0)
  empty = (ctypes.c_uint32 * 6)()
  syscall("capset", ctypes.byref(header), ctypes.byref(empty))


def has_capabilities() -> bool:
  """Returns whether this process holds or may regain any capability."""
  header = _CapabilityHeader(_CAPABILITY_VERSION, 0)
  words = (ctypes.c_uint32 * 6)()
  syscall("capget", ctypes.byref(header), ctypes.byref(words))
  return any(words)
