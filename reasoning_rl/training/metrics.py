"""Metrics of a run as JSON lines and as TensorBoard event files.

A directory holds one step counter: "metrics.jsonl", one object a line, and the
event files beside it. What is not finite is null in the JSON, which knows no
NaN. With several processes only the first one writes.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import tensorboardX

FILE_NAME = "metrics.jsonl"


class MetricsWriter:
  """Appends metrics to a directory; use it as a context manager."""

  def __init__(
    self, directory: str | os.PathLike, resume_step: int | None = None
  ):
    """Opens `directory`, which is created where it is missing.

    Args:
      directory: Where the files lie.
      resume_step: The step that a resumed run continues from. Metrics of later
        steps, written by the run that died, are dropped; None drops nothing.
    """
    self._file = self._events = None
    if jax.process_index() != 0:
      return
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE_NAME
    if path.exists():
      _truncate(path, resume_step)
    self._file = path.open("a", encoding="utf-8")
    self._events = tensorboardX.SummaryWriter(
      os.fspath(directory),
      # TensorBoard then hides the events of the run that died.
      purge_step=None if resume_step is None else resume_step + 1,
    )

  def __enter__(self) -> MetricsWriter:
    """Returns the writer."""
    return self

  def __exit__(self, *unused: object) -> None:
    """Closes the files."""
    self.close()

  def write(
    self, step: int, metrics: Mapping[str, Any], prefix: str = ""
  ) -> None:
    """Writes one line and one event per metric.

    Args:
      step: The step that the metrics belong to.
      metrics: Scalars by name.
      prefix: Put before each name, with a slash: "train" gives "train/loss".
    """
    start = f"{prefix}/" if prefix else ""
    values = {start + name: _number(name, x) for name, x in metrics.items()}
    if self._file is None:
      return
    line = {
      name: value if math.isfinite(value) else None
      for name, value in values.items()
    }
    text = json.dumps({"step": int(step)} | line, allow_nan=False)
    self._file.write(text + "\n")
    self._file.flush()
    for name, value in values.items():
      self._events.add_scalar(name, value, int(step))

  def flush(self) -> None:
    """Sends the event files to the disk; JSON lines are flushed at once."""
    if self._events is not None:
      self._events.flush()

  def close(self) -> None:
    """Closes the files; closing twice is harmless."""
    if self._file is not None:
      self._file.close()
      self._events.close()
      self._file = self._events = None


def read(directory: str | os.PathLike) -> list[dict[str, Any]]:
  """Returns the lines of a directory's metrics, oldest first."""
  text = (pathlib.Path(directory) / FILE_NAME).read_text(encoding="utf-8")
  return _parse(text)


def _number(name: str, value: Any) -> float | int:
  """Returns a scalar as a Python number."""
  try:
    if getattr(value, "ndim", 0) > 0:
      raise TypeError
    value = float(value)
  except (TypeError, ValueError):
    raise ValueError(
      f'Metric "{name}" is not a number: reduce it to a scalar first.'
    ) from None
  return value


def _parse(text: str) -> list[dict[str, Any]]:
  """Returns the whole lines of `text`; a torn last line is left out."""
  lines = text.split("\n")[:-1]
  return [json.loads(line) for line in lines]


def _truncate(path: pathlib.Path, resume_step: int | None) -> None:
  """Drops a torn last line, and the lines of steps beyond `resume_step`."""
  text = path.read_text(encoding="utf-8")
  kept = [
    json.dumps(line) + "\n"
    for line in _parse(text)
    if resume_step is None or line["step"] <= resume_step
  ]
  if "".join(kept) == text:
    return
  replacement = path.with_suffix(".tmp")
  replacement.write_text("".join(kept), encoding="utf-8")
  os.replace(replacement, path)
