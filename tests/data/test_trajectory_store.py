"""Tests of `reasoning_rl.data.trajectory_store`."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from reasoning_rl.data import batching, trajectory_store
from reasoning_rl.data import records as records_lib


def as_text(ids):
  return ",".join(map(str, ids))


@pytest.fixture
def stored(tmp_path, trajectory, lineage):
  directory = tmp_path / "trajectories" / "0"
  trajectory_store.write(directory, trajectory, lineage, as_text)
  return directory


def data_file(directory):
  (path,) = directory.glob("*.array_record*")
  return path


def test_loading_gives_back_exactly_what_was_written(stored, trajectory):
  loaded = trajectory_store.load(stored)
  jax.tree.map(np.testing.assert_array_equal, loaded, trajectory)
  dtypes = jax.tree.map(lambda a, b: a.dtype == b.dtype, loaded, trajectory)
  assert all(jax.tree.leaves(dtypes))


def test_what_was_stored_before_forced_tokens_were_is_read(
  tmp_path, trajectory, lineage, monkeypatch
):
  with monkeypatch.context() as older:
    older.delitem(records_lib.COMPLETION, "forced_mask")
    older.delitem(records_lib.ARRAYS, "forced_mask")
    trajectory_store.write(tmp_path / "0", trajectory, lineage, as_text)
  loaded = trajectory_store.load(tmp_path / "0")
  assert trajectory.forced_mask.any()
  expected = trajectory.replace(
    forced_mask=np.zeros_like(trajectory.forced_mask)
  )
  jax.tree.map(np.testing.assert_array_equal, loaded, expected)


def test_loading_into_other_sizes_keeps_the_rows(stored, trajectory):
  wider = trajectory_store.load(stored, prompt_size=9, thought_size=4)
  np.testing.assert_array_equal(wider.prompt[:, :5], trajectory.prompt)
  assert not wider.prompt[:, 5:].any()
  np.testing.assert_array_equal(wider.labels[:, :3], trajectory.labels)
  with pytest.raises(ValueError, match="only 1 fit"):
    trajectory_store.load(stored, completion_size=1)


def test_the_source_gives_records_in_any_order(stored, trajectory, lineage):
  source = trajectory_store.open_source(stored)
  expected = list(records_lib.to_records(trajectory, lineage, as_text))
  assert len(source) == 7
  assert source.lineage == lineage
  for index in (6, 0, 3, -1):
    record = source[index]
    assert set(record) == set(records_lib.FIELDS)
    for name, value in expected[index].items():
      np.testing.assert_array_equal(record[name], value)
  assert [r["thoughts"] for r in source] == [r["thoughts"] for r in expected]
  with pytest.raises(IndexError, match="no record 7"):
    _ = source[7]


def test_thoughts_may_be_given_as_text(tmp_path, trajectory, lineage):
  text = [
    [f"thought {row}.{index}\n" for index in range(count)]
    for row, count in enumerate(trajectory.thought_count)
  ]
  trajectory_store.write(tmp_path / "0", trajectory, lineage, text)
  source = trajectory_store.open_source(tmp_path / "0")
  assert [record["thoughts"] for record in source] == text


def test_tfds_opens_the_directory_by_itself(stored, trajectory):
  builder = tfds.builder_from_directory(stored)
  assert builder.info.splits["train"].num_examples == 7
  source = builder.as_data_source("train")
  for row, record in enumerate(source):
    assert record["problem_id"] == trajectory.problem_id[row]
    assert record["lineage"]["problem"] == b"arithmetic/train"
    length = trajectory.completion_length[row]
    np.testing.assert_array_equal(
      record["completion"], trajectory.completion[row, :length]
    )
    np.testing.assert_array_equal(
      record["label_mask"],
      trajectory.label_mask[row, : trajectory.thought_count[row]],
    )


def test_the_source_feeds_the_batcher(stored, trajectory):
  source = trajectory_store.open_source(stored)
  drawn = next(batching.batches(source, 4, seed=3))
  index = next(batching.index_batches(7, 4, seed=3))
  problem_ids = [record["problem_id"] for record in drawn]
  np.testing.assert_array_equal(problem_ids, trajectory.problem_id[index])


def test_a_finished_directory_is_never_written_again(
  stored, trajectory, lineage
):
  before = data_file(stored).read_bytes()
  with pytest.raises(FileExistsError, match="written once"):
    trajectory_store.write(stored, trajectory, lineage, as_text)
  assert data_file(stored).read_bytes() == before


def test_a_write_that_fails_leaves_nothing_and_can_be_repeated(
  tmp_path, trajectory, lineage
):
  def fails(ids):
    raise RuntimeError("decoder broke")

  directory = tmp_path / "0"
  with pytest.raises(RuntimeError, match="decoder broke"):
    trajectory_store.write(directory, trajectory, lineage, fails)
  assert not trajectory_store.is_finished(directory)
  assert not list(tmp_path.iterdir())
  trajectory_store.write(directory, trajectory, lineage, as_text)
  assert trajectory_store.is_finished(directory)
  assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_writing_and_reading_print_nothing(stored, capfd):
  trajectory_store.load(stored)
  # The fixture has written before; what it printed is in here too.
  assert capfd.readouterr() == ("", "")


def test_leftovers_of_a_killed_write_do_not_get_in(
  tmp_path, trajectory, lineage
):
  leftover = tmp_path / ".0.incomplete" / "trajectories" / "1.0.0"
  leftover.mkdir(parents=True)
  (leftover / "dataset_info.json").write_text("{")
  trajectory_store.write(tmp_path / "0", trajectory, lineage, as_text)
  assert len(trajectory_store.open_source(tmp_path / "0")) == 7


def test_no_trajectories_are_refused(tmp_path, trajectory, lineage):
  nothing = batching.take(trajectory, slice(0, 0))
  with pytest.raises(ValueError, match="no trajectories"):
    trajectory_store.write(tmp_path / "0", nothing, lineage, as_text)
  assert not list(tmp_path.iterdir())


def cut(content):
  return content[: len(content) // 2]


def flip(content):
  middle = len(content) // 2
  changed = bytes([content[middle] ^ 1])
  return content[:middle] + changed + content[middle + 1 :]


@pytest.mark.parametrize(
  "damage", [cut, flip, lambda _: b"", lambda content: content + b"garbage"]
)
def test_a_damaged_data_file_is_named_and_never_read(stored, damage):
  path = data_file(stored)
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(records_lib.TrajectoryFileError, match=path.name):
    trajectory_store.open_source(stored)
  with pytest.raises(records_lib.TrajectoryFileError, match="is damaged"):
    trajectory_store.load(stored)


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_a_missing_file_is_named(stored, name):
  (stored / name).unlink()
  with pytest.raises(
    records_lib.TrajectoryFileError, match=f"{name} is missing"
  ):
    trajectory_store.open_source(stored)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_manifest_is_named(stored, content):
  (stored / "manifest.json").write_bytes(content)
  with pytest.raises(
    records_lib.TrajectoryFileError, match="manifest.json cannot be read"
  ):
    trajectory_store.open_source(stored)


def test_a_count_that_differs_from_the_stored_one_is_refused(stored):
  path = stored / "manifest.json"
  manifest = json.loads(path.read_text())
  manifest["record_count"] = 8
  path.write_text(json.dumps(manifest))
  with pytest.raises(
    records_lib.TrajectoryFileError, match="7 records instead of 8"
  ):
    trajectory_store.open_source(stored)


def test_a_directory_without_trajectories_is_named(tmp_path):
  for directory in (tmp_path, tmp_path / "nowhere"):
    with pytest.raises(
      records_lib.TrajectoryFileError, match="no finished trajectories"
    ):
      trajectory_store.open_source(directory)
