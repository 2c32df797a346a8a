"""The config.json of Hugging Face for the metadata of a GGUF file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from reasoning_rl.models.pretrained import gguf_names
from reasoning_rl.models.pretrained.source import PretrainedError

_CLASSES = {
  "llama": ("LlamaForCausalLM", "llama"),
  "qwen2": ("Qwen2ForCausalLM", "qwen2"),
  "qwen3": ("Qwen3ForCausalLM", "qwen3"),
  "gemma3": ("Gemma3ForCausalLM", "gemma3_text"),
}
_TOKENS = {
  "bos_token_id": "bos_token_id",
  "eos_token_id": "eos_token_id",
  "padding_token_id": "pad_token_id",
}
# What Llama 3.1 and its successors have; a file holds only their product.
_LLAMA3 = {
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 8192,
}
_LARGEST_GEMMA_LAYERS = 62


class Metadata:
  """The metadata of one model, asked for by type and within bounds."""

  def __init__(self, values: Mapping[str, Any], where: str):
    """Finds the architecture.

    Args:
      values: All of the metadata.
      where: What an error calls it.

    Raises:
      PretrainedError: If the architecture is none that can be read.
    """
    self.values = values
    self.where = where
    architecture = values.get("general.architecture")
    if architecture not in gguf_names.ARCHITECTURES:
      raise PretrainedError(
        f"{where} is a model of the architecture {str(architecture)[:40]!a}:"
        f" {', '.join(gguf_names.ARCHITECTURES)} are read"
      )
    self.architecture: str = architecture
    parts = values.get("split.count", 1)
    if parts not in (0, 1):
      raise PretrainedError(
        f"{where} is one of several files: merge them with llama-gguf-split"
      )
    if self.integer("expert_count", 0, least=0):
      raise PretrainedError(
        f"{where} is a mixture of experts, which is not read: use a dense model"
      )

  def integer(
    self,
    name: str,
    default: int | None = None,
    *,
    least: int = 1,
    most: int = 1 << 24,
  ) -> int:
    """Returns an integer of the architecture's own keys.

    Args:
      name: The key behind the architecture's name.
      default: What it is where it is not given; None asks for it.
      least: The smallest that is accepted.
      most: The largest that is accepted.
    """
    value = self._get(name, default)
    if type(value) is not int or not least <= value <= most:
      self._refuse(name, value)
    return value

  def number(
    self, name: str, default: float | None = None, most: float = 1e12
  ) -> float:
    """Returns a positive number, as short as its 32 bits allow.

    Args:
      name: The key behind the architecture's name.
      default: What it is where it is not given; None asks for it.
      most: The largest that is accepted.
    """
    value = self._get(name, default)
    if type(value) not in (int, float) or not 0 < value <= most:
      self._refuse(name, value)
    return float(str(np.float32(value)))

  def _get(self, name: str, default: Any) -> Any:
    key = f"{self.architecture}.{name}"
    value = self.values.get(key, default)
    if value is None:
      raise PretrainedError(f"{self.where} says nothing about {key}")
    return value

  def _refuse(self, name: str, value: Any) -> NoReturn:
    raise PretrainedError(
      f"{self.where} has {ascii(value)[:40]} as {self.architecture}.{name}"
    )

  def layers(self) -> int:
    """Returns how many layers the model has."""
    return self.integer("block_count", most=1_000)

  def heads(self) -> tuple[int, int]:
    """Returns the number of heads of q, and of k and v."""
    heads = self.integer("attention.head_count", most=4_096)
    key_heads = self.integer("attention.head_count_kv", heads, most=4_096)
    if heads % key_heads:
      self._refuse("attention.head_count_kv", key_heads)
    return heads, key_heads

  def head_size(self) -> int:
    """Returns the size of a head, all of which is rotated."""
    width, heads = self.integer("embedding_length"), self.heads()[0]
    default = 256 if self.architecture == "gemma3" else max(width // heads, 1)
    size = self.integer("attention.key_length", default)
    for name in ("attention.value_length", "rope.dimension_count"):
      if self.integer(name, size) != size:
        self._refuse(name, self._get(name, None))
    if size % 2:
      self._refuse("attention.key_length", size)
    return size


def hugging_face_config(
  metadata: Metadata,
  shapes: Mapping[str, tuple[int, ...]],
  rope_factors: np.ndarray | None,
) -> dict[str, Any]:
  """Returns what config.json would say of the model.

  Args:
    metadata: The file's.
    shapes: Of the tensors, by their Hugging Face names.
    rope_factors: By which the rotation's frequencies are divided, if they are.

  Raises:
    PretrainedError: If the metadata lacks something, or has what such a
      config cannot say.
  """
  embedding = shapes.get("model.embed_tokens.weight", ())
  if len(embedding) != 2:
    raise PretrainedError(f"{metadata.where} has no matrix token_embd.weight")
  class_name, model_type = _CLASSES[metadata.architecture]
  heads, key_heads = metadata.heads()
  config = {
    "architectures": [class_name],
    "model_type": model_type,
    "vocab_size": embedding[0],
    "hidden_size": metadata.integer("embedding_length"),
    "intermediate_size": metadata.integer("feed_forward_length"),
    "num_hidden_layers": metadata.layers(),
    "num_attention_heads": heads,
    "num_key_value_heads": key_heads,
    "head_dim": metadata.head_size(),
    "max_position_embeddings": metadata.integer("context_length", most=1 << 31),
    "rms_norm_eps": metadata.number(
      "attention.layer_norm_rms_epsilon", most=1.0
    ),
    "tie_word_embeddings": "lm_head.weight" not in shapes,
  }
  config |= _rotation(metadata, config["head_dim"], rope_factors)
  if metadata.architecture == "gemma3":
    config |= _gemma(metadata, config)
  else:
    config |= {"hidden_act": "silu"}
  if metadata.architecture in ("llama", "qwen3"):
    name = "model.layers.0.{}.bias"
    config["attention_bias"] = name.format("self_attn.q_proj") in shapes
  if metadata.architecture == "llama":
    config["mlp_bias"] = name.format("mlp.up_proj") in shapes
  for key, new in _TOKENS.items():
    token = metadata.values.get(f"tokenizer.ggml.{key}")
    if type(token) is int and 0 <= token < embedding[0]:
      config[new] = token
  return config


def _rotation(
  metadata: Metadata, head_size: int, factors: np.ndarray | None
) -> dict[str, Any]:
  """Returns the base of the rotation and how it was stretched."""
  # Only the oldest files, all of them llama, leave it out.
  default = 10_000.0 if metadata.architecture == "llama" else None
  theta = metadata.number("rope.freq_base", default)
  scaling = None
  kind = metadata.values.get(f"{metadata.architecture}.rope.scaling.type")
  if factors is not None:
    scaling = _llama3_scaling(metadata, factors, theta, head_size)
  elif kind == "linear":
    factor = metadata.number("rope.scaling.factor")
    scaling = {"rope_type": "linear", "factor": factor}
  elif kind not in (None, "none"):
    raise PretrainedError(
      f"{metadata.where} stretches positions by {str(kind)[:40]!a}: linear"
      " and Llama 3's way are read"
    )
  return {"rope_theta": theta, "rope_scaling": scaling}


def _llama3_scaling(
  metadata: Metadata, factors: np.ndarray, theta: float, head_size: int
) -> dict[str, Any]:
  """Returns Llama 3's scaling, if it gives these very factors."""
  factor = float(factors.max()) if factors.size else 1.0
  exponents = np.arange(0, head_size, 2) / head_size
  turns = _LLAMA3["original_max_position_embeddings"] / (
    2 * math.pi * theta**exponents
  )
  low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
  smooth = np.clip((turns - low) / (high - low), 0, 1)
  expected = 1 / ((1 - smooth) / factor + smooth) if factor > 0 else smooth
  if factors.shape != expected.shape or (
    not np.allclose(factors, expected, rtol=1e-4)
  ):
    raise PretrainedError(
      f"{metadata.where} has {gguf_names.ROPE_FACTORS} that are not Llama 3's,"
      " and no config.json can say them"
    )
  return {"rope_type": "llama3", "factor": factor} | _LLAMA3


def _gemma(metadata: Metadata, config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what only Gemma has; llama.cpp knows the most of it by heart."""
  size = config["head_dim"]
  if config["num_hidden_layers"] == _LARGEST_GEMMA_LAYERS:
    size = config["hidden_size"] // config["num_attention_heads"]
  pattern = metadata.integer("attention.sliding_window_pattern", 6)
  return {
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": size,
    "sliding_window": metadata.integer("attention.sliding_window"),
    "sliding_window_pattern": pattern,
    "layer_types": [
      "sliding_attention" if layer % pattern else "full_attention"
      for layer in range(1, config["num_hidden_layers"] + 1)
    ],
    "rope_local_base_freq": metadata.number("rope.freq_base_swa", 10_000.0),
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
  }
