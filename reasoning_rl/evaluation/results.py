"""The file results.json: written atomically, validated on reading.

What stands in it is told in `results_schema`. Also the small records that the
evaluation puts there, and on what the figures were measured.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from reasoning_rl.evaluation import accounting, bootstrap, results_schema

SCHEMA = results_schema.SCHEMA


def write_results(
  path: str | os.PathLike[str], results: Mapping[str, Any]
) -> pathlib.Path:
  """Writes results.json; a reader sees the old file or the new one, whole.

  Dataclasses (`Interval`, `Cost`, `RewardQuality`, `TreeView`), NumPy scalars
  and arrays may stand anywhere inside; a number that is not finite becomes
  null.

  Args:
    path: Where to; its directory is made.
    results: In the schema of `results_schema`.

  Returns:
    The path written.
  """
  path = pathlib.Path(path)
  plain = to_plain(results)
  results_schema.validate(plain, path.name)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(
    dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
  )
  try:
    with os.fdopen(handle, "w", encoding="utf-8") as file:
      json.dump(plain, file, indent=1, allow_nan=False, ensure_ascii=False)
      file.write("\n")
      file.flush()
      os.fsync(file.fileno())
    # mkstemp makes a private file; results are to be read by all.
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise
  return path


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads and validates results.json."""
  path = pathlib.Path(path)
  try:
    results = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{path} is not readable as JSON ({error}): write it again with the "
      "evaluate stage."
    ) from error
  results_schema.validate(results, path.name)
  return results


def to_plain(value: Any) -> Any:
  """Returns `value` in JSON's own types; not finite numbers become None."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = dataclasses.fields(value)
    return {f.name: to_plain(getattr(value, f.name)) for f in fields}
  if isinstance(value, Mapping):
    return {key: to_plain(item) for key, item in value.items()}
  if isinstance(value, np.ndarray | np.generic):
    return to_plain(value.tolist())
  if isinstance(value, Sequence) and not isinstance(value, str):
    return [to_plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def curve_point(
  budget: int, accuracy: bootstrap.Interval, cost: accounting.Cost
) -> dict[str, Any]:
  """Returns one point of a curve: accuracy and cost at a budget of samples."""
  return {"budget": budget, "accuracy": accuracy, **dataclasses.asdict(cost)}


def comparison(
  a: str, b: str, difference: bootstrap.Difference, setting: str = ""
) -> dict[str, Any]:
  """Returns the record of the claim "a is above b", with it in words.

  Args:
    a: The method claimed to be better.
    b: The other.
    difference: a − b, from `bootstrap.paired_difference`.
    setting: What was held equal, such as "16 samples' worth of tokens".
  """
  verdict = bootstrap.verdict(difference)
  says = {
    "clearly above": f"{a} is clearly above {b}",
    "above": f"{a} is above {b}",
    "not shown": f"It is not shown that {a} is above {b}",
    "reversed": f"The order is reversed: {b} is above {a}",
  }[verdict]
  low, high = 100 * difference.low, 100 * difference.high
  sentence = (
    f"{says[0].upper()}{says[1:]}{' at ' + setting if setting else ''}: a "
    f"difference of {100 * difference.difference:+.1f} points "
    f"[{low:+.1f}, {high:+.1f}]."
  )
  return {
    "a": a,
    "b": b,
    **dataclasses.asdict(difference),
    "verdict": verdict,
    "sentence": sentence,
  }


def current_commit() -> str:
  """Returns the commit of the source tree, marked where it was changed."""
  folder = pathlib.Path(__file__).resolve().parent
  try:
    commit, status = (
      subprocess.run(
        ["git", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
      ).stdout.strip()
      for arguments in (
        ["rev-parse", "HEAD"],
        ["status", "--porcelain", "--untracked-files=no"],
      )
    )
  except (OSError, subprocess.SubprocessError):
    return "unknown"  # An installed package, or no git.
  return f"{commit}-changed" if status else commit


def hardware() -> dict[str, Any]:
  """Returns what the figures were measured on."""
  devices = jax.devices()
  if hasattr(os, "sched_getaffinity"):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count() or 1
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return {
    "processor": _processor(),
    "cores": cores,
    "memory_bytes": memory,
    "device": f"{len(devices)} x {devices[0].device_kind}",
    "software": f"Python {platform.python_version()}, JAX {jax.__version__}",
  }


def _processor() -> str:
  """Returns the processor's name as the system tells it."""
  cpuinfo = pathlib.Path("/proc/cpuinfo")
  if cpuinfo.exists():
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
      if line.startswith("model name"):
        return line.split(":", 1)[1].strip()
  return platform.processor() or platform.machine() or "unknown"
