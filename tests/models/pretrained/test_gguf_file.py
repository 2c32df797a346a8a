"""GGUF files against the `gguf` package, transformers and slow references."""

from __future__ import annotations

import os

import gguf
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers

from reasoning_rl.models.pretrained import gguf_file, gguf_names
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo
from tests.models.pretrained import gguf_reference as reference

SIZES = dict(
  vocab_size=37,
  hidden_size=24,
  intermediate_size=40,
  num_hidden_layers=2,
  num_attention_heads=6,
  num_key_value_heads=2,
  max_position_embeddings=128,
)
FAMILIES = {
  "llama": transformers.LlamaConfig(
    **SIZES, rms_norm_eps=1e-5, rope_parameters={"rope_theta": 1e5}
  ),
  "qwen2": transformers.Qwen2Config(
    **SIZES, tie_word_embeddings=True, rope_parameters={"rope_theta": 1e6}
  ),
  "qwen3": transformers.Qwen3Config(
    **SIZES, head_dim=8, rope_parameters={"rope_theta": 1e6}
  ),
  "gemma3": transformers.Gemma3TextConfig(
    **SIZES | {"num_hidden_layers": 7},
    head_dim=8,
    query_pre_attn_scalar=8,
    sliding_window=16,
    rope_parameters={
      "full_attention": {
        "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6
      },
      "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
  ),
}  # fmt: skip


def random_model(family):
  """Returns a tiny model of transformers whose every weight is random."""
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family])
  with torch.no_grad():
    for weight in model.parameters():
      weight.normal_()
  return model


def neighbours(rows, heads):
  """Returns rows as llama.cpp keeps them: a pair's halves side by side."""
  size = rows.shape[0] // heads
  order = [
    head * size + half * (size // 2) + pair
    for head in range(heads)
    for pair in range(size // 2)
    for half in (0, 1)
  ]
  return rows[order]


def convert(family, model, path):
  """Writes a model as llama.cpp's converter would, in float32."""
  config, writer = model.config, gguf.GGUFWriter(path, family)
  writer.add_block_count(config.num_hidden_layers)
  writer.add_context_length(config.max_position_embeddings)
  writer.add_embedding_length(config.hidden_size)
  writer.add_feed_forward_length(config.intermediate_size)
  writer.add_head_count(config.num_attention_heads)
  writer.add_head_count_kv(config.num_key_value_heads)
  writer.add_layer_norm_rms_eps(config.rms_norm_eps)
  writer.add_eos_token_id(5)
  rope = config.rope_parameters
  if family == "gemma3":
    writer.add_sliding_window(config.sliding_window)
    rope = rope["full_attention"]
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(rope["factor"])
  writer.add_rope_freq_base(rope["rope_theta"])
  if family in ("qwen3", "gemma3"):
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
  architecture = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[family]
  names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
  for name, weight in model.state_dict().items():
    if name == "lm_head.weight" and config.tie_word_embeddings:
      continue
    array = weight.numpy()
    if family == "llama" and "q_proj" in name:
      array = neighbours(array, config.num_attention_heads)
    if family == "llama" and "k_proj" in name:
      array = neighbours(array, config.num_key_value_heads)
    if family == "gemma3" and name.endswith("norm.weight"):
      array = array + 1
    writer.add_tensor(names.get_name(name, (".weight", ".bias")), array)
  finish(writer)


def finish(writer):
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_comes_back_as_hugging_face_has_it(tmp_path, family):
  model = random_model(family)
  convert(family, model, tmp_path / "x.gguf")
  source = gguf_file.GGUFSource(tmp_path / "x.gguf")
  wanted = dict(model.state_dict())
  if model.config.tie_word_embeddings:
    del wanted["lm_head.weight"]
  assert set(source.tensors()) == set(wanted)
  for name, weight in wanted.items():
    shape = tuple(weight.shape)
    assert source.tensors()[name] == TensorInfo(shape, "F32")
    added = family == "gemma3" and "norm" in name
    np.testing.assert_allclose(
      source.read(name), weight.numpy(), rtol=0, atol=3e-7 if added else 0
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_config_is_the_one_that_transformers_had(tmp_path, family):
  model = random_model(family)
  convert(family, model, tmp_path / "x.gguf")
  config = gguf_file.GGUFSource(tmp_path / "x.gguf").config()
  assert config["architectures"] == [type(model).__name__]
  read = transformers.AutoConfig.for_model(**config)
  wanted = model.config.to_dict() | {"eos_token_id": 5}
  # What says nothing of how the model computes.
  for key in ("bos_token_id", "pad_token_id", "architectures", "dtype"):
    wanted.pop(key, None)
  known = {key: read.to_dict()[key] for key in wanted}
  # Of no effect where it is the default.
  if family == "llama":
    wanted.pop("head_dim"), known.pop("head_dim")
  assert known == wanted


@pytest.mark.parametrize("kind", sorted(reference.KINDS))
def test_blocks_become_the_numbers_that_they_say(tmp_path, kind):
  raw = reference.random_blocks(kind, rows=9, blocks=5)
  _, block, _ = reference.KINDS[kind]
  writer = write_llama(tmp_path / "x.gguf")
  dtype = gguf.GGMLQuantizationType[kind]
  writer.add_tensor("token_embd.weight", raw, raw_dtype=dtype)
  finish(writer)
  source = gguf_file.GGUFSource(tmp_path / "x.gguf")
  name = "model.embed_tokens.weight"
  assert source.tensors()[name] == TensorInfo((9, 5 * block), kind)
  read, wanted = source.read(name), reference.dense(kind, raw)
  assert read.dtype == np.float32
  np.testing.assert_allclose(read, wanted, rtol=1e-6, atol=1e-5)


def write_llama(path, **changes):
  writer = gguf.GGUFWriter(path, "llama")
  keys = dict(
    block_count=1,
    context_length=8,
    embedding_length=4,
    feed_forward_length=4,
    head_count=2,
    layer_norm_rms_eps=1e-6,
  )
  for key, value in (keys | changes).items():
    getattr(writer, f"add_{key}")(value)
  return writer


def test_more_numbers_than_are_made_dense_at_once_are_in_order(
  tmp_path, monkeypatch
):
  raw = reference.random_blocks("Q4_1", rows=7, blocks=3)
  writer = write_llama(tmp_path / "x.gguf")
  dtype = gguf.GGMLQuantizationType.Q4_1
  writer.add_tensor("token_embd.weight", raw, raw_dtype=dtype)
  finish(writer)
  source = gguf_file.GGUFSource(tmp_path / "x.gguf")
  monkeypatch.setattr(gguf_file, "_CHUNK", 64)  # 21 blocks, 2 at once.
  np.testing.assert_allclose(
    source.read("model.embed_tokens.weight"),
    reference.dense("Q4_1", raw),
    rtol=1e-6,
    atol=1e-5,
  )


@pytest.mark.parametrize(
  ("dtype", "read_as"),
  [
    (np.float32, np.float32),
    (np.float16, np.float32),
    (ml_dtypes.bfloat16, ml_dtypes.bfloat16),
  ],
)
def test_dense_numbers_are_read_as_they_are(tmp_path, dtype, read_as):
  array = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
  writer = write_llama(tmp_path / "x.gguf")
  if dtype == ml_dtypes.bfloat16:
    kind = gguf.GGMLQuantizationType.BF16
    writer.add_tensor("output.weight", array.view(np.uint8), raw_dtype=kind)
    writer.add_tensor(
      "blk.0.attn_q.weight", array.view(np.uint8), raw_dtype=kind
    )
  else:
    writer.add_tensor("output.weight", array)
    writer.add_tensor("blk.0.attn_q.weight", array)
  finish(writer)
  source = gguf_file.GGUFSource(tmp_path / "x.gguf")
  read = source.read("lm_head.weight")
  assert read.dtype == read_as
  np.testing.assert_array_equal(read, array.astype(read_as))
  read = source.read("model.layers.0.self_attn.q_proj.weight")
  assert read.dtype == read_as
  np.testing.assert_array_equal(read, array.astype(read_as))  # Heads of two.


def test_rows_of_a_head_are_put_back_in_order():
  # Two heads of six: the pairs (0, 3), (1, 4), (2, 5) stand side by side.
  rows = np.array([0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11])
  np.testing.assert_array_equal(gguf_names.halves(rows, 2), np.arange(12))
  columns = np.stack([rows, rows + 100], axis=1)
  np.testing.assert_array_equal(
    gguf_names.halves(columns, 2), np.arange(12)[:, None] + [0, 100]
  )
  # One head of twelve is another order of the same rows.
  assert gguf_names.halves(rows, 1).tolist()[:6] == [0, 1, 2, 6, 7, 8]


def test_metadata_is_plain_python(tmp_path):
  writer = write_llama(tmp_path / "x.gguf")
  tokens = ["a", "Ġ", "", "é", "😀"]
  writer.add_token_list(tokens)
  writer.add_token_scores([0.5, -1.0])
  writer.add_add_bos_token(True)
  writer.add_array("test.flags", [True, False])
  writer.add_int64("test.long", -(1 << 40))
  writer.add_chat_template("{{ x }}")
  writer.add_tensor("output.weight", np.ones((2, 4), np.float32))
  finish(writer)
  metadata = gguf_file.GGUFSource(tmp_path / "x.gguf").metadata
  assert metadata["tokenizer.ggml.tokens"] == tokens
  assert metadata["tokenizer.ggml.scores"] == [0.5, -1.0]
  assert metadata["tokenizer.ggml.add_bos_token"] is True
  assert metadata["test.flags"] == [True, False]
  assert metadata["test.long"] == -(1 << 40)
  assert metadata["tokenizer.chat_template"] == "{{ x }}"


def with_embedding(writer):
  writer.add_tensor("token_embd.weight", np.ones((7, 4), np.float32))
  finish(writer)
  return writer


def llama3_factors(scaling):
  config = transformers.LlamaConfig(
    head_dim=64, rope_parameters={"rope_theta": 5e5} | scaling
  )
  of = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"]
  plain = 5e5 ** -(np.arange(0, 64, 2) / 64)
  return (plain / of(config, "cpu")[0].numpy()).astype(np.float32)


def test_the_stretched_rotation_of_llama_3_is_recognised(tmp_path):
  scaling = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
  }
  writer = write_llama(
    tmp_path / "x.gguf", rope_freq_base=5e5, key_length=64, value_length=64
  )
  factors = llama3_factors(scaling)
  assert factors[0] == 1 and np.isclose(factors[-1], 32)
  writer.add_tensor("rope_freqs.weight", factors)
  with_embedding(writer)
  source = gguf_file.GGUFSource(tmp_path / "x.gguf")
  assert list(source.tensors()) == ["model.embed_tokens.weight"]
  assert source.config()["rope_scaling"] == scaling


def test_another_stretched_rotation_is_refused(tmp_path):
  writer = write_llama(
    tmp_path / "x.gguf", rope_freq_base=5e5, key_length=64, value_length=64
  )
  writer.add_tensor("rope_freqs.weight", np.linspace(1, 32, 32, dtype="f"))
  with_embedding(writer)
  with pytest.raises(PretrainedError, match="that are not Llama 3's"):
    gguf_file.GGUFSource(tmp_path / "x.gguf").config()


@pytest.mark.parametrize(
  ("changes", "complaint"),
  [
    ({"rope_scaling_type": gguf.RopeScalingType.YARN}, "positions by 'yarn'"),
    ({"rope_dimension_count": 1}, "has 1 as llama.rope.dimension_count"),
    ({"value_length": 8}, "has 8 as llama.attention.value_length"),
    ({"rope_freq_base": float("nan")}, "has nan as llama.rope.freq_base"),
    ({"layer_norm_rms_eps": -1.0}, "has -1.0 as llama.attention"),
    ({"context_length": 0}, "has 0 as llama.context_length"),
    ({"key_length": 3, "value_length": 3}, "has 3 as llama.attention.key_"),
  ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path, changes, complaint):
  with_embedding(write_llama(tmp_path / "x.gguf", **changes))
  with pytest.raises(PretrainedError, match=complaint):
    gguf_file.GGUFSource(tmp_path / "x.gguf").config()


@pytest.mark.parametrize(
  ("changes", "complaint"),
  [
    ({"expert_count": 8}, "mixture of experts"),
    ({"head_count": [2, 2]}, r"has \[2, 2\] as llama.attention.head_count"),
    ({"head_count_kv": 3}, "has 3 as llama.attention.head_count_kv"),
    ({"block_count": 1_001}, "has 1001 as llama.block_count"),
  ],
)
def test_a_model_that_is_not_read_is_refused_at_once(
  tmp_path, changes, complaint
):
  with_embedding(write_llama(tmp_path / "x.gguf", **changes))
  with pytest.raises(PretrainedError, match=complaint):
    gguf_file.GGUFSource(tmp_path / "x.gguf")


@pytest.mark.parametrize(
  "name",
  [
    *("blk.1.attn_q.weight", "blk.00.attn_q.weight", "blk.0.attn_q", "rope"),
    *("blk.0.attn_q_norm.weight", "blk.0.ffn_gate_exps.weight", "x.weight"),
  ],
)
def test_a_tensor_that_no_such_model_has_is_refused(tmp_path, name):
  writer = write_llama(tmp_path / "x.gguf")
  writer.add_tensor(name, np.ones((4, 4), np.float32))
  with_embedding(writer)
  with pytest.raises(PretrainedError, match="has a tensor"):
    gguf_file.GGUFSource(tmp_path / "x.gguf")


def test_a_missing_package_is_named_when_it_is_needed(tmp_path, monkeypatch):
  writer = write_llama(tmp_path / "x.gguf")
  kind = gguf.GGMLQuantizationType.Q8_0
  raw = reference.random_blocks("Q8_0", rows=2, blocks=1)
  writer.add_tensor("token_embd.weight", raw, raw_dtype=kind)
  finish(writer)
  source = gguf_file.GGUFSource(tmp_path / "x.gguf")

  def missing(module):
    raise ModuleNotFoundError(f"No module named {module!r}", name="gguf")

  monkeypatch.setattr("importlib.import_module", missing)
  with pytest.raises(ImportError, match=r"pip install -e '.\[hf\]'"):
    source.read("model.embed_tokens.weight")


SMOLLM2 = os.environ.get("SMOLLM2_GGUF", "")


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2, reason="SMOLLM2_GGUF names no file")
def test_smollm2_is_read_as_transformers_reads_it():
  pytest.importorskip("accelerate")  # Without it they read no GGUF.
  source = gguf_file.GGUFSource(SMOLLM2)
  folder, name = os.path.split(SMOLLM2)
  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.float32
  )
  theirs = dict(model.state_dict())
  del theirs["lm_head.weight"]  # Tied.
  assert set(source.tensors()) == set(theirs)
  for name, weight in theirs.items():
    np.testing.assert_allclose(source.read(name), weight.numpy(), atol=1e-6)
  read = transformers.AutoConfig.for_model(**source.config())
  for key in ("rope_parameters", *SIZES):
    assert getattr(read, key) == getattr(model.config, key)
  # They keep the tail that 32 bits give the number; its config.json has none.
  assert read.rms_norm_eps == 1e-5
  assert model.config.rms_norm_eps == np.float32(1e-5)
