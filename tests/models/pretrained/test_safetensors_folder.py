"""Weights in one file or in several, as Hugging Face names them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import transformers

from reasoning_rl.models.pretrained import safetensors_file, safetensors_folder
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo

ARRAYS = {  # Of 48, 16, 24, 80 and 4 bytes in float32.
  name: np.arange(size, dtype=np.float32) + size
  for name, size in zip("edcba", (12, 4, 6, 20, 1), strict=True)
}
INFOS = {name: TensorInfo(x.shape, "F32") for name, x in ARRAYS.items()}


def write(folder, max_shard_bytes):
  safetensors_folder.write_folder(
    folder, INFOS, ARRAYS.__getitem__, max_shard_bytes=max_shard_bytes
  )


def read_back(folder):
  source = safetensors_file.SafetensorsSource(folder)
  assert set(source.tensors()) == set(ARRAYS)
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(source.read(name), array)


def test_a_small_model_is_one_file(tmp_path):
  write(tmp_path, 172)
  assert os.listdir(tmp_path) == ["model.safetensors"]
  read_back(tmp_path)


@pytest.mark.parametrize(
  ("most", "shards"),
  [(171, ["edcb", "a"]), (64, ["ed", "c", "b", "a"]), (1, list("edcba"))],
)
def test_a_large_model_is_cut_between_tensors(tmp_path, most, shards):
  write(tmp_path, most)
  index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
  assert index["metadata"] == {"total_size": 172}
  for number, names in enumerate(shards, 1):
    file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
    assert {n for n, home in index["weight_map"].items() if home == file} == (
      set(names)
    )
  assert len(os.listdir(tmp_path)) == len(shards) + 1
  read_back(tmp_path)


def test_transformers_opens_shards(tmp_path):
  config = transformers.LlamaConfig(
    vocab_size=7,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    tie_word_embeddings=False,
  )
  model = transformers.LlamaForCausalLM(config)
  arrays = {name: x.numpy() for name, x in model.state_dict().items()}
  infos = {name: TensorInfo(x.shape, "F32") for name, x in arrays.items()}
  safetensors_folder.write_folder(
    tmp_path, infos, arrays.__getitem__, max_shard_bytes=600
  )
  config.save_pretrained(tmp_path)
  assert len(list(tmp_path.glob("*.safetensors"))) > 1
  read = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
  for name, weight in read.state_dict().items():
    np.testing.assert_array_equal(weight.numpy(), arrays[name])


@pytest.mark.parametrize(
  "name", ["model.safetensors", "model.safetensors.index.json"]
)
def test_weights_that_are_there_are_left_alone(tmp_path, name):
  (tmp_path / name).write_text("mine")
  with pytest.raises(PretrainedError, match="is there already"):
    write(tmp_path, 64)
  assert os.listdir(tmp_path) == [name]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
  for most in (64, 1_000):
    with pytest.raises(PretrainedError, match="cannot write"):
      write(tmp_path / "nowhere", most)
