"""Safetensors files against the `safetensors` package."""

from __future__ import annotations

import errno
import json
import os

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from reasoning_rl.models.pretrained import safetensors_file
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo


def model(seed=0):
  """Returns arrays of each type, sizes of one and none among them."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
  return {
    "model.embed_tokens.weight": normal(7, 5),
    "model.norm.weight": normal(5).astype(ml_dtypes.bfloat16),
    "half": normal(3, 1, 3).astype(np.float16),
    "scalar": np.array(0.5, np.float32),
    "nothing": np.zeros((0, 4), np.float32),
  }


def same(read, wanted):
  widened = np.float32 if wanted.dtype == np.float16 else wanted.dtype
  assert read.dtype == widened
  np.testing.assert_array_equal(read, wanted.astype(widened))


def test_what_is_written_is_read_and_opens_in_the_package(tmp_path):
  arrays = model()
  path = tmp_path / "model.safetensors"
  safetensors_file.write_safetensors(path, arrays, {"from": "a test"})
  assert os.listdir(tmp_path) == ["model.safetensors"]
  source = safetensors_file.SafetensorsSource(path)
  assert source.metadata == {"format": "pt", "from": "a test"}
  assert set(source.tensors()) == set(arrays)
  assert source.tensors()["half"] == TensorInfo((3, 1, 3), "F16")
  theirs = safetensors.numpy.load_file(path)
  for name, array in arrays.items():
    same(source.read(name), array)
    assert theirs[name].dtype == array.dtype
    np.testing.assert_array_equal(theirs[name], array)
  with safetensors.safe_open(path, "np") as file:
    assert file.metadata() == {"format": "pt", "from": "a test"}


def test_what_the_package_wrote_is_read(tmp_path):
  arrays = model(seed=1)
  safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
  source = safetensors_file.SafetensorsSource(tmp_path)
  assert source.metadata == {}
  for name, array in arrays.items():
    same(source.read(name), array)


def test_a_weight_is_a_view_of_the_file_and_cannot_be_written(tmp_path):
  path = tmp_path / "model.safetensors"
  safetensors_file.write_safetensors(path, model())
  read = safetensors_file.SafetensorsSource(path).read
  for name in ("model.embed_tokens.weight", "model.norm.weight"):
    assert not read(name).flags.writeable
    assert not read(name).flags.owndata


def test_shards_are_read_through_their_index(tmp_path):
  first, second = {"a": np.ones((2, 3), np.float32)}, model()
  write_shards(tmp_path, {"x-1.safetensors": first, "x-2.safetensors": second})
  source = safetensors_file.SafetensorsSource(tmp_path)
  assert set(source.tensors()) == set(first) | set(second)
  for name, array in (first | second).items():
    same(source.read(name), array)


def write_shards(folder, shards, total_size=0.5):
  weight_map = {}
  for shard, arrays in shards.items():
    safetensors_file.write_safetensors(folder / shard, arrays)
    weight_map |= dict.fromkeys(arrays, shard)
  index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
  (folder / safetensors_file.INDEX).write_text(json.dumps(index))


def test_one_file_comes_before_an_index(tmp_path):
  write_shards(tmp_path, {"x-1.safetensors": {"a": np.ones(2, np.float32)}})
  whole = {"b": np.ones(3, np.float32)}
  safetensors_file.write_safetensors(tmp_path / "model.safetensors", whole)
  source = safetensors_file.SafetensorsSource(tmp_path)
  assert list(source.tensors()) == ["b"]


def test_links_of_the_cache_of_the_hub_are_followed(tmp_path):
  (tmp_path / "blobs").mkdir()
  folder = tmp_path / "snapshots" / "0a1b"
  folder.mkdir(parents=True)
  blob = tmp_path / "blobs" / "sha"
  safetensors_file.write_safetensors(blob, {"a": np.ones(2, np.float32)})
  (folder / "model.safetensors").symlink_to("../../blobs/sha")
  same(safetensors_file.SafetensorsSource(folder).read("a"), np.ones(2, "f"))


def test_a_stream_is_converted_to_what_is_announced(tmp_path):
  path = tmp_path / "model.safetensors"
  infos = {"a": TensorInfo((2, 2), "BF16"), "b": TensorInfo((3,), "F32")}
  arrays = {"a": np.float32([[1, 2], [3, 1 / 3]]), "b": np.float32([1, 2, 3])}
  safetensors_file.write_stream(path, infos, arrays.__getitem__)
  source = safetensors_file.SafetensorsSource(path)
  same(source.read("a"), arrays["a"].astype(ml_dtypes.bfloat16))
  same(source.read("b"), arrays["b"])


def test_transposed_arrays_are_written_in_their_own_order(tmp_path):
  path = tmp_path / "model.safetensors"
  array = np.arange(6, dtype=np.float32).reshape(2, 3).T
  safetensors_file.write_safetensors(path, {"a": array})
  same(safetensors_file.SafetensorsSource(path).read("a"), array)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
  tmp_path, monkeypatch
):
  path = tmp_path / "model.safetensors"
  safetensors_file.write_safetensors(path, {"a": np.ones(2, np.float32)})

  def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(safetensors_file.os, "fsync", full)
  with pytest.raises(PretrainedError, match="No space left"):
    safetensors_file.write_safetensors(path, {"b": np.ones(2, np.float32)})
  assert os.listdir(tmp_path) == ["model.safetensors"]
  assert list(safetensors_file.SafetensorsSource(path).tensors()) == ["a"]


@pytest.mark.parametrize(
  ("array", "complaint"),
  [
    (np.ones(2, np.int32), "stored as I32: weights are read as F32, F16, BF16"),
    (np.ones(2, np.float64), "stored as F64"),
    (np.float32([1, np.nan]), "infinite numbers or NaN"),
    (np.float32([-np.inf, np.inf]), "infinite numbers or NaN"),
    (np.float16([np.inf]), "infinite numbers or NaN"),
    (np.float32([1, np.nan]).astype(ml_dtypes.bfloat16), "infinite numbers"),
  ],
)
def test_what_is_no_weight_is_listed_and_not_read(tmp_path, array, complaint):
  path = tmp_path / "model.safetensors"
  safetensors.numpy.save_file({"a": array}, path)
  source = safetensors_file.SafetensorsSource(path)
  assert source.tensors()["a"].shape == array.shape
  with pytest.raises(PretrainedError, match=complaint):
    source.read("a")


def test_numbers_whose_sum_overflows_are_read(tmp_path):
  path = tmp_path / "model.safetensors"
  array = np.full(8, 3e38, np.float32)
  safetensors_file.write_safetensors(path, {"a": array})
  same(safetensors_file.SafetensorsSource(path).read("a"), array)


def test_a_missing_tensor_is_named(tmp_path):
  path = tmp_path / "model.safetensors"
  safetensors_file.write_safetensors(path, {"a": np.ones(2, np.float32)})
  with pytest.raises(PretrainedError, match="no tensor 'b'"):
    safetensors_file.SafetensorsSource(path).read("b")


def test_integers_are_not_written(tmp_path):
  with pytest.raises(PretrainedError, match="'a' is of int32"):
    safetensors_file.write_safetensors(
      tmp_path / "x", {"a": np.ones(2, np.int32)}
    )
  assert not os.listdir(tmp_path)


def test_a_file_cut_after_it_was_opened_is_not_touched(tmp_path):
  path = tmp_path / "model.safetensors"
  arrays = {"a": np.ones(10_000, np.float32)}
  safetensors_file.write_safetensors(path, arrays)
  source = safetensors_file.SafetensorsSource(path)
  os.truncate(path, 4096)
  with pytest.raises(PretrainedError, match="cut short"):
    source.read("a")
