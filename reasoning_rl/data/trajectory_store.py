"""Trajectories on disk: a TFDS dataset that is written once and checked.

A directory holds one ArrayRecord dataset that `tfds.builder_from_directory`
opens, and `manifest.json` with the number of records and the SHA-256 of every
file. ArrayRecord opens a truncated file as one of 0 records, so everything is
compared with the manifest before the first record is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from reasoning_rl import types
from reasoning_rl.data import records as records_lib

MANIFEST = "manifest.json"
_VERSION = "1.0.0"
_SPLIT = "train"
_READ_CHUNK = 4096  # Records fetched in one call.


def write(
  directory: str | os.PathLike[str],
  trajectory: types.Trajectory,
  lineage: records_lib.Lineage,
  text: records_lib.Text,
) -> None:
  """Writes trajectories to a new directory, which appears when complete.

  A killed write leaves nothing at `directory`, so writing again is safe. One
  process at a time may write a directory.

  Args:
    directory: Must not exist yet, or be empty.
    trajectory: At least one row.
    lineage: Where the rows came from.
    text: A tokenizer's `decode`, or the thoughts of every row as text.
  """
  directory = pathlib.Path(directory)
  if directory.exists() and any(directory.iterdir()):
    raise FileExistsError(
      f"{directory} already holds files and trajectories are written once;"
      " choose another directory or remove it."
    )
  records_lib.check_trajectory(trajectory, text)
  staging = directory.with_name(f".{directory.name}.incomplete")
  shutil.rmtree(staging, ignore_errors=True)
  staging.mkdir(parents=True)
  try:
    finished = _build(
      staging, records_lib.to_records(trajectory, lineage, text)
    )
    manifest = {
      "version": _VERSION,
      "record_count": len(trajectory.problem_id),
      "prompt_size": trajectory.prompt.shape[1],
      "completion_size": trajectory.completion.shape[1],
      "thought_size": trajectory.thought_end.shape[1],
      "lineage": dataclasses.asdict(lineage),
      "files": {
        path.name: _digest(path) for path in sorted(finished.iterdir())
      },
    }
    content = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (finished / MANIFEST).write_text(content, encoding="utf-8")
    for path in (*finished.iterdir(), finished):
      _flush(path)
    os.rename(finished, directory)
    _flush(directory.parent)
  finally:
    shutil.rmtree(staging, ignore_errors=True)


def is_finished(directory: str | os.PathLike[str]) -> bool:
  """Returns True where `write` has completed; `open_source` checks the rest."""
  return (pathlib.Path(directory) / MANIFEST).is_file()


class TrajectorySource(Sequence[records_lib.Record]):
  """Random access to stored records, each a dict of NumPy arrays.

  Attributes:
    lineage: Where the trajectories came from.
    prompt_size: Positions of a prompt when they were written.
    completion_size: Positions of a completion, likewise.
    thought_size: Thoughts of a trajectory, likewise.
  """

  def __init__(self, directory: str | os.PathLike[str]):
    """Opens and checks a directory that `write` has filled."""
    directory = pathlib.Path(directory)
    manifest = _read_manifest(directory)
    self.lineage = records_lib.Lineage(**manifest["lineage"])
    self.prompt_size: int = manifest["prompt_size"]
    self.completion_size: int = manifest["completion_size"]
    self.thought_size: int = manifest["thought_size"]
    builder = tfds.builder_from_directory(directory)
    self._source: Any = builder.as_data_source(
      _SPLIT,
      deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
    )
    if len(self._source) != manifest["record_count"]:
      raise records_lib.TrajectoryFileError(
        f"{directory} has {len(self._source)} records instead of"
        f" {manifest['record_count']}; restore it or collect it again."
      )

  def __len__(self) -> int:
    """Returns the number of trajectories."""
    return len(self._source)

  def __getitem__(self, index: int) -> records_lib.Record:
    """Returns one record; negative indices count from the end."""
    if not -len(self) <= index < len(self):
      raise IndexError(f"There is no record {index} among {len(self)}.")
    return _parse(self._source[index % len(self)])

  def __iter__(self) -> Iterator[records_lib.Record]:
    """Yields all records in the order in which they were written."""
    for start in range(0, len(self), _READ_CHUNK):
      stop = min(start + _READ_CHUNK, len(self))
      yield from map(_parse, self._source.__getitems__(range(start, stop)))


def open_source(directory: str | os.PathLike[str]) -> TrajectorySource:
  """Opens a directory of trajectories after checking every file in it."""
  return TrajectorySource(directory)


def load(
  directory: str | os.PathLike[str],
  prompt_size: int | None = None,
  completion_size: int | None = None,
  thought_size: int | None = None,
) -> types.Trajectory:
  """Reads all trajectories into padded NumPy arrays.

  Args:
    directory: What `write` has filled.
    prompt_size: Positions of a prompt; None takes the size it had.
    completion_size: Positions of a completion, likewise.
    thought_size: Thoughts of a trajectory, likewise.

  Returns:
    Rows in the order in which they were written, padded with zeros.
  """
  source = open_source(directory)
  return records_lib.to_trajectory(
    source,
    source.prompt_size if prompt_size is None else prompt_size,
    source.completion_size if completion_size is None else completion_size,
    source.thought_size if thought_size is None else thought_size,
  )


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Writes given records, in their order, without TensorFlow."""

  name = "trajectories"
  VERSION = tfds.core.Version(_VERSION)

  def __init__(self, records: Iterator[records_lib.Record], data_dir: str):
    self._records = records
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    features: dict[str, Any] = {
      name: tfds.features.Scalar(dtype)
      for name, dtype in records_lib.SCALARS.items()
    }
    for name, dtype in records_lib.ARRAYS.items():
      features[name] = tfds.features.Tensor(shape=(None,), dtype=dtype)
    features["thoughts"] = tfds.features.Tensor(shape=(None,), dtype=np.str_)
    features["lineage"] = tfds.features.FeaturesDict(
      {name: tfds.features.Text() for name in records_lib.LINEAGE_FIELDS}
    )
    return tfds.core.DatasetInfo(
      builder=self,
      description="Sampled solutions, one record per trajectory.",
      features=tfds.features.FeaturesDict(features),
      # The rollouts of a problem are neighbours and stay so.
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    return {_SPLIT: self._generate_examples()}

  def _generate_examples(self) -> Iterator[tuple[int, records_lib.Record]]:
    yield from enumerate(self._records)

  def _log_download_bytes(self) -> None:
    """Prints nothing: there is nothing to download."""

  def _log_download_done(self) -> None:
    """Prints nothing: the directory named here is about to move."""


def _build(
  staging: pathlib.Path, records: Iterator[records_lib.Record]
) -> pathlib.Path:
  """Writes the dataset under `staging` and returns its directory."""
  # The caller shows progress; TFDS would print three bars per write.
  tfds.disable_progress_bar()
  builder = _Builder(records, data_dir=str(staging))
  builder.download_and_prepare(download_dir=str(staging / "downloads"))
  return pathlib.Path(builder.data_dir)


def _read_manifest(directory: pathlib.Path) -> dict[str, Any]:
  """Returns the manifest after comparing every file with it."""
  path = directory / MANIFEST
  try:
    manifest = json.loads(path.read_bytes())
    sizes = ("prompt_size", "completion_size", "thought_size", "record_count")
    if not all(type(manifest[name]) is int for name in sizes):
      raise ValueError("a size is not a whole number")
    if set(manifest["lineage"]) != set(records_lib.LINEAGE_FIELDS):
      raise ValueError("its lineage has other fields")
    files = dict(manifest["files"])
  except FileNotFoundError:
    raise records_lib.TrajectoryFileError(
      f"{path} is missing, so {directory} holds no finished trajectories;"
      " collect them or name another directory."
    ) from None
  except (ValueError, KeyError, TypeError) as error:
    raise records_lib.TrajectoryFileError(
      f"{path} cannot be read ({error}); restore it or collect the"
      " trajectories again."
    ) from error
  for name, digest in files.items():
    _check_file(directory / name, digest)
  return manifest


def _check_file(path: pathlib.Path, digest: str) -> None:
  if not path.is_file():
    problem = "is missing"
  elif _digest(path) != digest:
    problem = f"is damaged ({path.stat().st_size} bytes, another SHA-256)"
  else:
    return
  raise records_lib.TrajectoryFileError(
    f"{path} {problem}; restore it or collect the trajectories again."
  )


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: pathlib.Path) -> None:
  """Waits until a file or directory is on the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _parse(serialized: bytes) -> records_lib.Record:
  """Reads one tf.Example; TFDS' own generic reader takes five times longer."""
  feature = tf_example_pb2.Example.FromString(serialized).features.feature
  record: records_lib.Record = {}
  for name, dtype in records_lib.SCALARS.items():
    record[name] = dtype(_values(feature[name])[0])
  for name, dtype in records_lib.ARRAYS.items():
    if name in feature or name not in records_lib.LATER:
      record[name] = np.array(_values(feature[name]), dtype)
  record["thoughts"] = [
    thought.decode("utf-8") for thought in _values(feature["thoughts"])
  ]
  record["lineage"] = {
    name: _values(feature[f"lineage/{name}"])[0].decode("utf-8")
    for name in records_lib.LINEAGE_FIELDS
  }
  return records_lib.complete(record)


def _values(feature: Any) -> Any:
  return getattr(feature, feature.WhichOneof("kind")).value
