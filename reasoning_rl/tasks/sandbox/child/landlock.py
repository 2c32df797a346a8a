"""Landlock: which paths this process may still touch, by the kernel's word."""

from __future__ import annotations

import ctypes
import os

import kernel

_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
TRUNCATE = 1 << 14
# How many file rights each version of the interface knows. The first two did
# not know truncation, and are not enough.
_FILE_RIGHTS = {3: 15, 4: 15}
_NEWER_FILE_RIGHTS = 16

_READ = EXECUTE | READ_FILE | READ_DIR
_SCRATCH = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE
_SCRATCH |= REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE


class _Ruleset(ctypes.Structure):
  _fields_ = [
    ("file", ctypes.c_uint64),
    ("network", ctypes.c_uint64),
    ("scope", ctypes.c_uint64),
  ]


class _PathBeneath(ctypes.Structure):
  _pack_ = 1
  _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def restrict(readable: list[str], scratch: str) -> None:
  """Leaves only reading below `readable`, and writing below `scratch`.

  No TCP and, where the kernel knows it, no signal and no abstract socket that
  leaves this process's domain. It needs no-new-privileges.

  Args:
    readable: Files and folders that may be read and executed.
    scratch: The folder that may be written, "" for none.
  """
  version = kernel.syscall(
    "landlock_create_ruleset", None, ctypes.c_size_t(0), _CREATE_VERSION
  )
  if version < 3:
    raise kernel.KernelFault(0, "this Landlock lets files be truncated")
  rights = (1 << _FILE_RIGHTS.get(version, _NEWER_FILE_RIGHTS)) - 1
  ruleset = _Ruleset(
    rights, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0
  )
  # An older kernel takes a shorter struct.
  size = 24 if version >= 6 else 16 if version >= 4 else 8
  handle = kernel.syscall(
    "landlock_create_ruleset", ctypes.byref(ruleset), ctypes.c_size_t(size), 0
  )
  for path in readable:
    _allow(handle, path, _READ & rights)
  if scratch:
    _allow(handle, scratch, _SCRATCH & rights)
  kernel.syscall("landlock_restrict_self", handle, 0)
  os.close(handle)


def _allow(ruleset: int, path: str, rights: int) -> None:
  if not os.path.isdir(path):
    rights &= _OF_FILES
    if path == os.devnull:
      rights |= WRITE_FILE
  parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
  rule = _PathBeneath(rights, parent)
  kernel.syscall(
    "landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0
  )
  os.close(parent)
