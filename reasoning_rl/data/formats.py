"""Trajectories as JSON lines, to and from other programs.

One record per line, with its own index and the number of records in the file:
a file cut anywhere, even between two lines, is recognised as cut.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from reasoning_rl.data import records as records_lib

_INDEX = "record_index"
_COUNT = "record_count"


def export_jsonl(
  records: Sequence[records_lib.Record], path: str | os.PathLike[str]
) -> None:
  """Writes records, e.g. an opened trajectory store, as JSON lines.

  Args:
    records: At least one record.
    path: A new file; it appears when complete.
  """
  path = pathlib.Path(path)
  if path.exists():
    raise FileExistsError(
      f"{path} already exists; choose another name or remove it."
    )
  if not len(records):
    raise ValueError("There are no trajectories to export.")
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.incomplete")
  with partial.open("w", encoding="utf-8") as file:
    for index, record in enumerate(records):
      numbered = {_INDEX: index, _COUNT: len(records), **_to_json(record)}
      file.write(json.dumps(numbered, allow_nan=False) + "\n")
  os.replace(partial, path)


def import_jsonl(path: str | os.PathLike[str]) -> list[records_lib.Record]:
  """Reads what `export_jsonl` wrote.

  Args:
    path: A complete file. One that is cut, or a line with missing, unknown or
      ill-typed fields, raises a `TrajectoryFileError` naming file and line.

  Returns:
    Records for `records.to_trajectory`.
  """
  records = list(_read_lines(pathlib.Path(path)))
  if not records:
    raise records_lib.TrajectoryFileError(
      f"{path} is empty; export the trajectories again."
    )
  return records


def _read_lines(path: pathlib.Path) -> Iterator[records_lib.Record]:
  if not path.is_file():
    raise records_lib.TrajectoryFileError(
      f"{path} is missing; name a file that export_jsonl wrote."
    )
  number, count = 0, 0
  with path.open("rb") as file:
    for number, line in enumerate(file, 1):
      try:
        if not line.endswith(b"\n"):
          raise ValueError("the line is cut off")
        fields = json.loads(line)
        count = _check_position(fields, number, count)
        yield _from_json(fields)
      except (ValueError, TypeError, OverflowError) as error:
        raise records_lib.TrajectoryFileError(
          f"{path}, line {number}: {error}; export the trajectories again."
        ) from error
  if number < count:
    raise records_lib.TrajectoryFileError(
      f"{path}, line {number + 1}: the file ends after {number} of {count}"
      " records; export the trajectories again."
    )


def _check_position(fields: Any, number: int, count: int) -> int:
  """Takes the line's number out of `fields` and returns the record count."""
  if not isinstance(fields, dict):
    raise ValueError("a record is not a JSON object")
  expected = {_INDEX, _COUNT, *records_lib.FIELDS}
  older = expected.difference(records_lib.LATER)
  wrong = sorted((set(fields) - expected) | (older - set(fields)))
  if wrong:
    raise ValueError(f"these fields are missing or unknown: {wrong}")
  index, stated = fields.pop(_INDEX), fields.pop(_COUNT)
  if index != number - 1 or type(stated) is not int or index >= stated:
    raise ValueError(f"record {number - 1} is out of place or repeated")
  if count and stated != count:
    raise ValueError(f"the file states both {count} and {stated} records")
  return stated


def _to_json(record: records_lib.Record) -> dict[str, Any]:
  return {
    name: value.tolist()
    if isinstance(value, np.ndarray | np.generic)
    else value
    for name, value in record.items()
  }


def _from_json(fields: dict[str, Any]) -> records_lib.Record:
  record: records_lib.Record = {}
  for name, dtype in records_lib.SCALARS.items():
    record[name] = dtype(_typed(name, [fields[name]], dtype)[0])
  for name, dtype in records_lib.ARRAYS.items():
    if name in fields or name not in records_lib.LATER:
      record[name] = np.array(_typed(name, fields[name], dtype), dtype)
  lineage = fields["lineage"]
  if not isinstance(lineage, dict) or set(lineage) != set(
    records_lib.LINEAGE_FIELDS
  ):
    raise ValueError(f"`lineage` must have {list(records_lib.LINEAGE_FIELDS)}")
  for name, value in lineage.items():
    _typed(name, [value], np.str_)
  record["thoughts"] = _typed("thoughts", fields["thoughts"], np.str_)
  record["lineage"] = lineage
  record = records_lib.complete(record)
  records_lib.check_record(record)
  return record


def _typed(name: str, values: Any, dtype: type) -> list[Any]:
  """Returns a list whose items all have the Python type of `dtype`."""
  allowed = {
    np.int32: (int,),
    np.float32: (float, int),
    np.bool_: (bool,),
    np.str_: (str,),
  }[dtype]
  # `type` and not `isinstance`: True is no number here.
  if not isinstance(values, list) or any(
    type(value) not in allowed for value in values
  ):
    wanted = " or ".join(kind.__name__ for kind in allowed)
    raise ValueError(f"`{name}` must hold {wanted}")
  return values
