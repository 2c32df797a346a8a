"""Tiny random models, written by transformers: the reference for all files."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from reasoning_rl.models import network as network_lib

# More tokens than any window here, and than Llama 3's original context.
ROWS, LENGTH, VOCAB = 2, 40, 61
SIZES = dict(
  vocab_size=VOCAB,
  hidden_size=48,
  intermediate_size=40,
  num_hidden_layers=2,
  num_attention_heads=6,
  num_key_value_heads=2,
  max_position_embeddings=128,
  rms_norm_eps=1e-5,
)
LLAMA3 = dict(
  rope_type="llama3",
  factor=8.0,
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  original_max_position_embeddings=32,
  rope_theta=500.0,
)
LINEAR = dict(rope_type="linear", factor=4.0, rope_theta=10_000.0)
# model_type, and what differs from SIZES.
MODELS = {
  "llama-tied": ("llama", dict(tie_word_embeddings=True)),
  "llama-3.1": (
    "llama",
    dict(rope_parameters=LLAMA3, num_key_value_heads=6, head_dim=12),
  ),
  "qwen2": ("qwen2", dict(tie_word_embeddings=True)),
  "qwen2-sliding": (
    "qwen2",
    dict(
      use_sliding_window=True,
      sliding_window=7,
      max_window_layers=1,
      rope_parameters=LINEAR,
    ),
  ),
  "qwen3": ("qwen3", dict(head_dim=16, num_key_value_heads=3)),
  "gemma3": (
    "gemma3_text",
    dict(
      num_hidden_layers=3,
      head_dim=16,
      sliding_window=7,
      layer_types=["sliding_attention", "full_attention", "sliding_attention"],
      query_pre_attn_scalar=24,
      rope_parameters=dict(
        full_attention=LINEAR,
        sliding_attention=dict(rope_type="default", rope_theta=100.0),
      ),
    ),
  ),
}


@dataclasses.dataclass(frozen=True)
class Reference:
  """A model of transformers and the folder that it wrote."""

  model: Any
  folder: pathlib.Path

  def logits(self, tokens: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """Returns what the model says, computed in `dtype`."""
    import copy

    import torch

    model = copy.deepcopy(self.model).to(getattr(torch, dtype))
    with torch.no_grad():
      return model(torch.from_numpy(tokens)).logits.float().numpy()


def _fill(model, seed: int = 0) -> None:
  """Gives a model weights of some size: fresh ones hardly say anything."""
  import torch

  rng = np.random.default_rng(seed)
  centered = model.config.model_type == "gemma3_text"
  with torch.no_grad():
    for name, weight in model.named_parameters():
      size, mean = 0.8 * weight.shape[-1] ** -0.5, 0.0
      if "norm" in name:
        size, mean = 0.3, 0.0 if centered else 1.0
      elif "embed" in name or "lm_head" in name:
        size = 0.4
      elif "bias" in name:
        size = 0.5
      values = rng.normal(mean, size, tuple(weight.shape))
      # What bfloat16 can hold, so that both dtypes are of the same model.
      weight.copy_(torch.from_numpy(values).to(torch.bfloat16).to(weight.dtype))


@pytest.fixture(scope="session", params=list(MODELS))
def reference(request, tmp_path_factory) -> Reference:
  """Returns a tiny model of each kind."""
  import transformers

  kind, changes = MODELS[request.param]
  config = transformers.AutoConfig.for_model(kind, **SIZES | changes)
  model = transformers.AutoModelForCausalLM.from_config(
    config, attn_implementation="eager"
  )
  _fill(model.eval())
  folder = tmp_path_factory.mktemp(request.param)
  model.save_pretrained(folder)
  return Reference(model, folder)


@pytest.fixture(scope="session")
def tokens() -> np.ndarray:
  """Returns rows of random tokens."""
  return np.random.default_rng(1).integers(0, VOCAB, (ROWS, LENGTH))


@pytest.fixture(scope="session")
def logits():
  """Returns a function (config, params, tokens) -> logits."""

  def run(config, params, tokens):
    network = network_lib.Network(config)

    @jax.jit
    def forward(params, tokens):
      return network.logits(params, network.apply(params, tokens)[0])

    return np.asarray(forward(params, tokens.astype(np.int32)))

  return run
