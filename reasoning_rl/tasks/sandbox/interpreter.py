"""Which files a bare interpreter and its standard library consist of."""

from __future__ import annotations

import compileall
import functools
import os
import pathlib
import subprocess
import sys

CHILD = str(pathlib.Path(__file__).parent / "child")

# The program loader's names, and its cache of libraries.
_LOADER = (
  "/lib64/ld-linux-x86-64.so.2",
  "/lib/ld-linux-aarch64.so.1",
  "/lib/ld-musl-x86_64.so.1",
  "/lib/ld-musl-aarch64.so.1",
  "/etc/ld.so.cache",
)
# Modules for screens, networks and tests: each library that they would need is
# one more mount, and so a millisecond more for every program.
_UNWANTED = ("_tkinter", "_curses", "_curses_panel", "readline", "nis", "_dbm")
_UNWANTED += ("_gdbm", "_ssl", "_uuid", "_crypt", "_ctypes_test", "_testcapi")
# Prints where modules come from. Then imports every extension module, so that
# all the libraries they need are mapped, and prints what is mapped.
_SURVEY = """
import importlib, os, sys
folders = [os.path.realpath(path) for path in sys.path if os.path.isdir(path)]
for folder in folders:
  for name in os.listdir(folder):
    module = name.split(".")[0]
    if name.endswith(".so") and module not in sys.argv[1:]:
      try:
        importlib.import_module(module)
      except Exception:
        pass
with open("/proc/self/maps") as file:
  paths = {line.split(maxsplit=5)[-1].strip() for line in file}
files = [p for p in paths if os.path.isfile(p) and ".so" in p]
print("\\n".join([*folders, *files]))
"""


def executable() -> str:
  """Returns the interpreter itself, outside any virtual environment."""
  return os.path.realpath(
    getattr(sys, "_base_executable", "") or sys.executable
  )


@functools.cache
def readable() -> tuple[str, ...]:
  """Returns the files and folders that a program may read, and nothing else.

  The standard library, the interpreter, the shared libraries that these map,
  the sandbox's own scripts, and the null device.
  """
  # Compiled once, here: inside nothing can be written.
  compileall.compile_dir(CHILD, quiet=2)
  found = _survey()
  paths = {executable(), CHILD, os.devnull, *found}
  paths |= {os.path.realpath(path) for path in _LOADER if os.path.exists(path)}
  inside = lambda path, outer: path != outer and path.startswith(outer + "/")
  return tuple(
    path
    for path in sorted(paths)
    if not any(inside(path, outer) for outer in paths)
  )


@functools.cache
def hidden() -> tuple[str, ...]:
  """Returns folders inside the readable ones that hold other packages."""
  folders = [path for path in readable() if os.path.isdir(path)]
  return tuple(
    os.path.join(folder, name)
    for folder in folders
    for name in ("site-packages", "dist-packages")
    if os.path.isdir(os.path.join(folder, name))
  )


@functools.cache
def links() -> tuple[tuple[str, str], ...]:
  """Returns (path, target) of the links that the files are asked for by.

  Those in the root, like /lib -> usr/lib, come first: the others' paths hold
  none of them.
  """
  root = [
    (f"/{name}", os.readlink(f"/{name}"))
    for name in ("lib", "lib32", "lib64", "bin", "sbin")
    if os.path.islink(f"/{name}")
  ]
  files = {path for path in readable() if os.path.isfile(path)}
  names = {path for path in _LOADER if os.path.islink(path)}
  for folder in {os.path.dirname(path) for path in files if ".so" in path}:
    with os.scandir(folder) as entries:
      names |= {e.path for e in entries if ".so." in e.name and e.is_symlink()}
  found = {}
  for name in sorted(names):
    folder, base = os.path.split(name)
    if os.path.realpath(name) in files:
      found[os.path.join(os.path.realpath(folder), base)] = os.path.realpath(
        name
      )
  return (*root, *found.items())


def scratch() -> str:
  """Returns where programs may write: /tmp, unless that would hide a file."""
  needed = any(path.startswith("/tmp/") for path in readable())
  return "/scratch" if needed else "/tmp"


def is_readable_to_all() -> bool:
  """Returns whether any user may read the interpreter and its library."""
  paths = [pathlib.Path(path) for path in readable() if os.path.isdir(path)]
  folders = {folder for path in paths for folder in (path, *path.parents)}
  return all(folder.stat().st_mode & 0o005 == 0o005 for folder in folders)


@functools.cache
def _survey() -> list[str]:
  """Returns the folders of the library, and the files that are mapped."""
  survey = subprocess.run(
    [executable(), "-I", "-S", "-c", _SURVEY, *_UNWANTED],
    env={},
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=60,
    check=True,
  )
  return survey.stdout.splitlines()
