"""What is read from config.json, and what is refused and how."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from reasoning_rl.models import attention, transformer
from reasoning_rl.models.pretrained import families
from reasoning_rl.models.pretrained.source import PretrainedError

# As the published models say it; sizes and rules are theirs.
SMOLLM2 = dict(
  model_type="llama",
  architectures=["LlamaForCausalLM"],
  attention_bias=False,
  attention_dropout=0.0,
  head_dim=None,
  hidden_act="silu",
  hidden_size=576,
  intermediate_size=1536,
  max_position_embeddings=8192,
  mlp_bias=False,
  num_attention_heads=9,
  num_hidden_layers=30,
  num_key_value_heads=3,
  pretraining_tp=1,
  rms_norm_eps=1e-5,
  rope_scaling=None,
  rope_theta=100_000,
  tie_word_embeddings=True,
  torch_dtype="bfloat16",
  vocab_size=49152,
)
QWEN2 = dict(
  model_type="qwen2",
  hidden_act="silu",
  hidden_size=896,
  intermediate_size=4864,
  max_position_embeddings=32768,
  max_window_layers=21,
  num_attention_heads=14,
  num_hidden_layers=24,
  num_key_value_heads=2,
  rms_norm_eps=1e-6,
  rope_theta=1_000_000.0,
  sliding_window=32768,
  tie_word_embeddings=True,
  use_sliding_window=False,
  vocab_size=151936,
)
GEMMA3 = dict(
  model_type="gemma3_text",
  attn_logit_softcapping=None,
  final_logit_softcapping=None,
  head_dim=256,
  hidden_activation="gelu_pytorch_tanh",
  hidden_size=640,
  intermediate_size=2048,
  max_position_embeddings=32768,
  num_attention_heads=4,
  num_hidden_layers=18,
  num_key_value_heads=1,
  query_pre_attn_scalar=256,
  rms_norm_eps=1e-6,
  rope_local_base_freq=10_000.0,
  rope_scaling=None,
  rope_theta=1_000_000.0,
  sliding_window=512,
  sliding_window_pattern=6,
  use_bidirectional_attention=False,
  vocab_size=262144,
)
QWEN3 = QWEN2 | dict(model_type="qwen3", head_dim=128, max_window_layers=24)
LLAMA3 = dict(
  rope_type="llama3",
  factor=32.0,
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  original_max_position_embeddings=8192,
)
DEEP = dict(rope_type="default", rope_theta=5.0)


def read(values, **options) -> transformer.NetworkConfig:
  return families.network_config(values, "config.json", **options)


def test_smollm2_is_read_as_it_is_published():
  assert read(SMOLLM2) == transformer.NetworkConfig(
    vocab_size=49152,
    model_size=576,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_size=64,
    mlp_size=1536,
    max_positions=8192,
    rope_base=100_000.0,
    norm_epsilon=1e-5,
  )


def test_gemma_slides_in_all_but_every_sixth_layer():
  config = read(GEMMA3)
  assert set(range(18)) - set(config.sliding_layers) == {5, 11, 17}
  assert (config.sliding_window, config.sliding_rope_base) == (512, 10_000.0)
  assert config.rope_base == 1_000_000.0 and config.tied_embedding
  assert config.centered_norms and config.post_norms and config.qk_norm
  assert config.embedding_scale == 640**0.5
  assert config.query_scale is None  # The default is 1 / √256 as well.
  assert read(GEMMA3 | dict(query_pre_attn_scalar=168)).query_scale == 168**-0.5


def test_qwen_slides_above_a_layer_if_at_all():
  assert read(QWEN2).sliding_layers == ()
  sliding = read(QWEN2 | dict(use_sliding_window=True))
  assert sliding.sliding_layers == (21, 22, 23)
  assert sliding.sliding_rope_base is None and sliding.qkv_bias
  assert read(QWEN3).qk_norm and not read(QWEN3).qkv_bias


def test_both_ways_to_say_the_rotation_are_read():
  scaled = read(SMOLLM2 | dict(rope_scaling=LLAMA3))
  assert scaled.rope_scaling == attention.RopeScaling("llama3", 32, 1, 4, 8192)
  parameters = LLAMA3 | dict(rope_theta=100_000)
  new = {k: v for k, v in SMOLLM2.items() if not k.startswith("rope_")}
  assert read(new | dict(rope_parameters=parameters)) == scaled
  both = dict(full_attention=DEEP, sliding_attention=DEEP | dict(rope_theta=7))
  config = read(GEMMA3 | dict(rope_parameters=both))
  assert (config.rope_base, config.sliding_rope_base) == (5.0, 7.0)
  old = dict(rope_scaling=dict(type="linear", factor=8))
  assert read(GEMMA3 | old).rope_scaling.factor == 8


@pytest.mark.parametrize(
  "values, key",
  [
    (SMOLLM2 | dict(model_type="mixtral"), "model_type"),
    (SMOLLM2 | dict(model_type=["llama"]), "model_type"),
    (GEMMA3 | dict(model_type="gemma3"), "model_type"),
    (SMOLLM2 | dict(attention_bias=True), "attention_bias"),
    (SMOLLM2 | dict(mlp_bias=True), "mlp_bias"),
    (SMOLLM2 | dict(auto_map={"AutoModel": "x.Y"}), "auto_map"),
    (SMOLLM2 | dict(quantization_config={"bits": 4}), "quantization_config"),
    (SMOLLM2 | dict(num_local_experts=8), "num_local_experts"),
    (SMOLLM2 | dict(moe_intermediate_size=8), "moe_intermediate_size"),
    (SMOLLM2 | dict(partial_rotary_factor=0.5), "partial_rotary_factor"),
    (SMOLLM2 | dict(sliding_window=4096), "sliding_window"),
    (SMOLLM2 | dict(hidden_act="relu"), "hidden_act"),
    (SMOLLM2 | dict(hidden_act=3), "hidden_act"),
    (SMOLLM2 | dict(hidden_size=True), "hidden_size"),
    (SMOLLM2 | dict(hidden_size=576.0), "hidden_size"),
    (SMOLLM2 | dict(hidden_size=-576), "hidden_size"),
    (SMOLLM2 | dict(hidden_size=10**30), "hidden_size"),
    (SMOLLM2 | dict(num_hidden_layers=10**9), "num_hidden_layers"),
    (SMOLLM2 | dict(num_key_value_heads=2), "num_key_value_heads"),
    (SMOLLM2 | dict(num_attention_heads=0), "num_attention_heads"),
    (SMOLLM2 | dict(head_dim=63), "head_dim"),
    (SMOLLM2 | dict(rms_norm_eps="1e-5"), "rms_norm_eps"),
    (SMOLLM2 | dict(rms_norm_eps=1e400), "rms_norm_eps"),
    (SMOLLM2 | dict(rope_theta=0), "rope_theta"),
    (SMOLLM2 | dict(rope_theta=10**400), "rope_theta"),
    (SMOLLM2 | dict(tie_word_embeddings=1), "tie_word_embeddings"),
    (SMOLLM2 | dict(vocab_size=None), "vocab_size"),
    (SMOLLM2 | dict(rope_scaling=[]), "rope_scaling"),
    (
      SMOLLM2 | dict(rope_scaling=dict(rope_type="yarn", factor=4)),
      "rope_type",
    ),
    (SMOLLM2 | dict(rope_scaling=dict(type={}, factor=4)), "type"),
    (SMOLLM2 | dict(rope_scaling=dict(type="linear")), "factor"),
    (
      SMOLLM2 | dict(rope_scaling=DEEP | dict(mrope_section=[1])),
      "mrope_section",
    ),
    (
      SMOLLM2 | dict(rope_scaling=LLAMA3 | dict(low_freq_factor=4)),
      "low_freq_factor",
    ),
    (SMOLLM2 | dict(rope_scaling=LLAMA3, rope_parameters=DEEP), "rope_scaling"),
    (GEMMA3 | dict(rope_parameters=DEEP), "rope_type"),
    (
      GEMMA3 | dict(rope_parameters=dict(sliding_attention=LLAMA3)),
      "rope_type",
    ),
    (GEMMA3 | dict(attn_logit_softcapping=50.0), "attn_logit_softcapping"),
    (GEMMA3 | dict(final_logit_softcapping=30.0), "final_logit_softcapping"),
    (
      GEMMA3 | dict(use_bidirectional_attention=True),
      "use_bidirectional_attention",
    ),
    (GEMMA3 | dict(sliding_window=None), "sliding_window"),
    (GEMMA3 | dict(sliding_window_pattern=0), "sliding_window_pattern"),
    (GEMMA3 | dict(layer_types=["full_attention"]), "layer_types"),
    (GEMMA3 | dict(layer_types=18 * ["chunked_attention"]), "layer_types"),
    (GEMMA3 | dict(layer_types=18 * [[]]), "layer_types"),
    (GEMMA3 | dict(query_pre_attn_scalar=0), "query_pre_attn_scalar"),
    (GEMMA3 | dict(hidden_activation="gelu"), "hidden_activation"),
    (
      QWEN2 | dict(layer_types=24 * ["sliding_attention"]),
      "use_sliding_window",
    ),
    (QWEN2 | dict(max_window_layers=-1), "max_window_layers"),
    (QWEN2 | dict(num_key_value_heads=None), "num_key_value_heads"),
    (SMOLLM2 | dict(layer_types=30 * ["sliding_attention"]), "layer_types"),
  ],
)
def test_what_cannot_be_run_is_refused_by_file_and_key(values, key):
  with pytest.raises(PretrainedError) as caught:
    read(values)
  message = str(caught.value)
  assert "config.json" in message and f"'{key}'" in message
  assert len(message) < 300


@pytest.mark.parametrize("values", [SMOLLM2, QWEN2, QWEN3, GEMMA3])
def test_each_key_that_is_read_is_checked_for_its_type(values):
  for key in values:
    # What does not change what the network computes is not looked at.
    if key in ("architectures", "attention_dropout", "pretraining_tp"):
      continue
    if key in ("torch_dtype", "sliding_window", "max_window_layers"):
      continue
    with pytest.raises(PretrainedError, match=f"'{key}'"):
      read(values | {key: [[1]]})


@pytest.mark.parametrize(
  "text, message",
  [
    ("", "is empty"),
    ("[]", "not a JSON object"),
    ("{", "is not JSON"),
    ('{"model_type": NaN}', "is not JSON"),
    ("[" * 100_000, "deep"),
    ('{"a": 1, "a": 2}', "twice"),
    (" " * (1 << 21), "too large"),
    ('{"vocab_size": ' + "9" * 5000 + "}", "is not JSON"),
  ],
)
def test_a_file_that_is_no_config_is_one_clear_error(tmp_path, text, message):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(PretrainedError, match=message) as caught:
    families.read(tmp_path)
  assert "config.json" in str(caught.value)


def test_a_folder_without_a_config_is_one_clear_error(tmp_path):
  with pytest.raises(PretrainedError, match="config.json does not exist"):
    families.read(tmp_path)


@pytest.mark.parametrize(
  "values",
  [
    SMOLLM2,
    SMOLLM2 | dict(rope_scaling=LLAMA3, tie_word_embeddings=False),
    QWEN2,
    QWEN2 | dict(use_sliding_window=True, sliding_window=100),
    QWEN3,
    QWEN3 | dict(use_sliding_window=True, max_window_layers=3),
    GEMMA3,
    GEMMA3 | dict(query_pre_attn_scalar=168),
    GEMMA3 | dict(layer_types=18 * ["full_attention"]),
    GEMMA3 | dict(rope_scaling=dict(rope_type="linear", factor=8.0)),
  ],
)
def test_a_config_that_is_written_is_read_as_the_same_network(values):
  config = read(values)
  written = families.hugging_face_config(config)
  assert written["model_type"] == values["model_type"]
  assert read(json.loads(json.dumps(written))) == config
  for key in ("vocab_size", "hidden_size", "num_key_value_heads"):
    assert written[key] == values[key]


@pytest.mark.parametrize(
  "changes, field",
  [
    (dict(position_kind="learned"), "position_kind"),
    (dict(qk_norm=True, qkv_bias=True), "qkv_bias"),
    (dict(embedding_scale=3.0), "embedding_scale"),
    (dict(post_norms=True), "centered_norms"),
    (dict(query_scale=0.3), "query_scale"),
    (dict(num_heads=5, num_kv_heads=5), "num_heads"),
    (
      dict(sliding_layers=(0,), sliding_window=3, sliding_rope_base=2.0),
      "sliding_rope_base",
    ),
  ],
)
def test_a_network_of_no_family_is_not_written(changes, field):
  config = dataclasses.replace(
    transformer.NetworkConfig(vocab_size=9), **changes
  )
  with pytest.raises(ValueError, match=re.escape(field)):
    families.hugging_face_config(config)
