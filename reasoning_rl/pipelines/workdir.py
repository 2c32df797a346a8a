"""The folder of one run: what it holds, who may write to it, what is done.

  config.json                  the resolved config; another one is refused
  stages.json                  each finished stage and its summary
  checkpoints/{policy,prm}/    Orbax
  trajectories/<iteration>/    TFDS datasets
  metrics/                     TensorBoard and JSON lines
  report/                      HTML, PNG, JSON

Until something was kept, another config may still take the folder: one that
could not be used leaves nothing behind.

A run holds a lock on the folder that ends with its process, however that
ends. JSON is written beside its place and moved there, so a killed run leaves
the old file or the new one, and never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import ml_collections

from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines.errors import WorkdirError

_LOCK = ".lock"
_FORMAT = "reasoning_rl workdir 1"  # Tells our config.json from others'.
_SHOWN_DIFFERENCES = 8
# What a run leaves that came to nothing; it is written anew.
_NOTHING = ("config.json", "tokenizer.json", "compilation_cache", _LOCK)


class Workdir:
  """Paths in a run's folder and the ledger of its finished stages."""

  def __init__(self, path: str | os.PathLike[str]):
    """Names the folder, without touching it.

    Args:
      path: The folder.
    """
    self.path = pathlib.Path(path).expanduser()
    self.config_path = self.path / "config.json"
    self.stages_path = self.path / "stages.json"
    self.policy_checkpoints = self.path / "checkpoints" / "policy"
    self.prm_checkpoints = self.path / "checkpoints" / "prm"
    self.trajectories_root = self.path / "trajectories"
    self.metrics = self.path / "metrics"
    self.report = self.path / "report"
    self.report_page = self.report / "index.html"

  def trajectories(self, name: int | str) -> pathlib.Path:
    """Returns a dataset's folder, the loop's by iteration; not made here."""
    return self.trajectories_root / str(name)

  def read_config(self) -> dict[str, Any]:
    """Returns the config that the run was started with, as plain values."""
    stored = _read_json(self.config_path)
    if stored is None:
      raise WorkdirError(
        f"workdir {self.path} holds no run: there is no config.json in it"
      )
    if stored.get("format") != _FORMAT:
      raise WorkdirError(
        f"{self.config_path} was not written by this package:"
        " give another --workdir"
      )
    return stored["config"]

  def finished(self, stage: str) -> bool:
    """Returns whether `finish(stage, ...)` was called, now or earlier."""
    return stage in self.stages()

  def finish(self, stage: str, summary: Mapping[str, Any]) -> None:
    """Records a stage as done.

    Args:
      stage: Its name, for example `train_prm/2`.
      summary: What later stages and the report want to know of it. Values
        that JSON holds, or NumPy or JAX arrays, which become lists.
    """
    stages = self.stages()
    if stage in stages:
      raise ValueError(f"stage {stage!r} is already finished")
    stages[stage] = dict(summary)
    _write_json(self.stages_path, stages)

  def summary(self, stage: str) -> dict[str, Any]:
    """Returns the summary that a finished stage left."""
    stages = self.stages()
    if stage not in stages:
      raise WorkdirError(
        f"stage {stage!r} is not finished in workdir {self.path}: run it first"
      )
    return stages[stage]

  def stages(self) -> dict[str, Any]:
    """Returns the summary of every finished stage, by name."""
    return _read_json(self.stages_path) or {}


@contextlib.contextmanager
def open_workdir(
  path: str | os.PathLike[str], config: ml_collections.ConfigDict
) -> Iterator[Workdir]:
  """Prepares a run's folder, or continues in it, and keeps others out of it.

  Args:
    path: The folder; made where it does not exist.
    config: The run's config; a folder started with another one is refused.

  Yields:
    The workdir, locked until the context ends.

  Raises:
    WorkdirError: The folder cannot be written, belongs to something else, was
      started with another config, or is in use.
  """
  workdir = Workdir(path)
  with _sentences(workdir.path):
    _refuse_foreign(workdir)
    workdir.path.mkdir(parents=True, exist_ok=True)
    lock = _lock(workdir.path)
  with lock:
    with _sentences(workdir.path):
      _prepare(workdir, config)
    yield workdir


def _refuse_foreign(workdir: Workdir) -> None:
  """Raises where the folder holds anything but a run of this package."""
  if workdir.config_path.exists():
    workdir.read_config()
    return
  # A run killed at its very start leaves these two and no config.
  ours = {_LOCK, _temporary(workdir.config_path).name}
  if workdir.path.exists() and set(os.listdir(workdir.path)) - ours:
    raise WorkdirError(
      f"workdir {workdir.path} holds files that are not of a run:"
      " give a new or empty folder"
    )


def _prepare(workdir: Workdir, config: ml_collections.ConfigDict) -> None:
  """Writes the config, or compares it with the one written, makes folders."""
  if workdir.config_path.exists() and _has_kept(workdir):
    _refuse_other_config(workdir, config)
  else:
    plain = json.loads(config_lib.to_json(config))
    digest = config_lib.config_hash(config)
    record = {"format": _FORMAT, "hash": digest, "config": plain}
    _write_json(workdir.config_path, record)
  for folder in (
    workdir.policy_checkpoints,
    workdir.prm_checkpoints,
    workdir.trajectories_root,
    workdir.metrics,
    workdir.report,
  ):
    folder.mkdir(parents=True, exist_ok=True)


def _has_kept(workdir: Workdir) -> bool:
  """Returns whether the folder holds anything that a run has made."""
  ours = (*_NOTHING, _temporary(workdir.config_path).name)
  return any(
    path.is_file() and path.relative_to(workdir.path).parts[0] not in ours
    for path in workdir.path.rglob("*")
  )


def _refuse_other_config(
  workdir: Workdir, config: ml_collections.ConfigDict
) -> None:
  differences = config_lib.diff(workdir.read_config(), config)
  if differences:
    shown = differences[:_SHOWN_DIFFERENCES]
    if len(differences) > len(shown):
      shown.append(f"and {len(differences) - len(shown)} more")
    raise WorkdirError(
      f"workdir {workdir.path} was started with another config"
      f" ({'; '.join(shown)}): use that config or another --workdir"
    )


def _lock(path: pathlib.Path) -> IO[str]:
  """Returns the open lock file; closing it, or dying, unlocks the folder."""
  file = open(path / _LOCK, "a+", encoding="utf-8")
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    file.seek(0)
    holder = file.read().strip()
    file.close()
    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
      raise
    raise WorkdirError(
      f"workdir {path} is in use by another run (process {holder or 'unknown'})"
      ": wait for it or give another --workdir"
    ) from error
  file.truncate(0)
  file.write(f"{os.getpid()}\n")
  file.flush()
  return file


@contextlib.contextmanager
def _sentences(path: pathlib.Path) -> Iterator[None]:
  """Turns the system's refusals inside it into a sentence."""
  try:
    yield
  except OSError as error:
    raise WorkdirError(
      f"cannot write to workdir {path} ({error.strerror}):"
      " give a folder that you may write to"
    ) from error


def _temporary(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(path.name + ".tmp")


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  """Writes the whole file or nothing."""
  text = json.dumps(value, indent=2, default=lambda array: array.tolist())
  temporary = _temporary(path)
  with open(temporary, "w", encoding="utf-8") as file:
    file.write(text + "\n")
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)


def _read_json(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns the object in a file, or None where there is no file."""
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    return None
  except ValueError as error:
    raise WorkdirError(
      f"{path} is damaged: delete it, or give another --workdir"
    ) from error
  if not isinstance(value, dict):
    raise WorkdirError(f"{path} holds no JSON object: give another --workdir")
  return value
