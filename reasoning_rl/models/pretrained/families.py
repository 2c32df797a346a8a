"""What config.json says of a model, as a `NetworkConfig`, and back.

Four families are read: Llama (SmolLM2 among them), Qwen2 and Qwen2.5, Qwen3,
and Gemma 3 without its eyes. A config that asks for anything that the network
does not do is refused, for weights that run under other rules give nonsense.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import (
  mapped,
  rotation,
  safetensors_file,
  strict_json,
)
from reasoning_rl.models.pretrained.source import PretrainedError
from reasoning_rl.models.pretrained.values import Values

CONFIG = "config.json"
CLASSES = {
  "llama": "LlamaForCausalLM",
  "qwen2": "Qwen2ForCausalLM",
  "qwen3": "Qwen3ForCausalLM",
  "gemma3_text": "Gemma3ForCausalLM",
}

_MAX_BYTES = 1 << 20
_ACTIVATIONS = {
  "silu": "silu",
  "swish": "silu",
  "gelu_pytorch_tanh": "gelu",
  "gelu_new": "gelu",
}
# What the network does not do: these keys may say no more than this.
_MUST_BE: dict[str, tuple[Any, ...]] = {
  "add_cross_attention": (False,),
  "attention_bias": (False,),
  "attention_multiplier": (1,),
  "attn_logit_softcapping": (),
  "auto_map": (),
  "embedding_multiplier": (1,),
  "final_logit_softcapping": (),
  "is_encoder_decoder": (False,),
  "logits_scaling": (1,),
  "mlp_bias": (False,),
  "no_rope_layers": (),
  "partial_rotary_factor": (1,),
  "qk_norm": (False,),
  "quantization_config": (),
  "residual_multiplier": (1,),
  "use_bidirectional_attention": (False,),
  "use_qk_norm": (False,),
}


def read(directory: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns what a model's config.json says.

  Args:
    directory: The model's folder.

  Raises:
    PretrainedError: If there is none, or it is no JSON object.
  """
  path = safetensors_file.inside(pathlib.Path(directory), CONFIG)
  file = mapped.MappedFile(path)
  if file.size > _MAX_BYTES:
    raise PretrainedError(f"{path} is too large for a config")
  return strict_json.parse_object(file.data[:], str(path))


def network_config(
  values: Mapping[str, Any],
  where: str,
  *,
  heads: tuple[str, ...] = ("language",),
  dtype: str = "float32",
) -> transformer.NetworkConfig:
  """Returns the network that a config.json describes.

  Args:
    values: What config.json says, or what stands in for it.
    where: What an error calls it.
    heads: The heads wanted.
    dtype: Of the trunk; what the file was stored in does not matter.

  Raises:
    PretrainedError: If something is missing, makes no sense, or asks for what
      the network does not do.
  """
  config = Values(values, where)
  family = config.values.get("model_type")
  if not isinstance(family, str) or family not in CLASSES:
    hint = " (of which only the text model is read)"
    config.refuse(
      "model_type",
      f"{', '.join(CLASSES)} are read{hint if family == 'gemma3' else ''}",
    )
  _check_nothing_else_is_wanted(config)
  fields = _sizes(config, family)
  if fields["num_heads"] % fields["num_kv_heads"]:
    config.refuse("num_key_value_heads", "it must divide num_attention_heads")
  sliding = _sliding(config, family, fields["num_layers"])
  base, scaling, sliding_base = rotation.read(
    config, family == "gemma3_text", fields["max_positions"]
  )
  fields |= dict(rope_base=base, rope_scaling=scaling)
  if sliding:
    fields |= sliding | dict(sliding_rope_base=sliding_base)
  if family == "gemma3_text":
    fields |= _gemma(config, fields)
  return transformer.NetworkConfig(
    **fields,
    qk_norm=family in ("qwen3", "gemma3_text"),
    qkv_bias=family == "qwen2",
    heads=heads,
    dtype=dtype,
  )


def _check_nothing_else_is_wanted(config: Values) -> None:
  """Raises if the config asks for what the network does not do."""
  for key, value in config.values.items():
    if value is None:
      continue
    if "expert" in key or key.startswith("moe_"):
      if value not in (0, False):
        config.refuse(key, "a mixture of experts is not read")
    elif key in _MUST_BE and not any(value == x for x in _MUST_BE[key]):
      config.refuse(key, "the network here does not do that")


def _sizes(config: Values, family: str) -> dict[str, Any]:
  """Returns the fields that every family has."""
  gemma = family == "gemma3_text"
  width = config.integer("hidden_size", 1 << 16)
  heads = config.integer("num_attention_heads", 1 << 12)
  default = {"qwen3": 128, "gemma3_text": 256}.get(family, width // heads)
  if config.values.get("head_dim", default) is None:
    default = width // heads
  head_size = config.integer("head_dim", 1 << 12, max(default, 1))
  if head_size % 2:
    config.refuse("head_dim", "a head's halves are rotated, so it is even")
  activation = config.text(
    "hidden_activation" if gemma else "hidden_act",
    "gelu_pytorch_tanh" if gemma else "silu",
    _ACTIVATIONS,
  )
  return dict(
    vocab_size=config.integer("vocab_size", 1 << 22),
    model_size=width,
    num_layers=config.integer("num_hidden_layers", 1_000),
    num_heads=heads,
    num_kv_heads=config.integer(
      "num_key_value_heads", 1 << 12, heads if family == "llama" else None
    ),
    head_size=head_size,
    mlp_size=config.integer("intermediate_size", 1 << 20),
    max_positions=config.integer("max_position_embeddings", (1 << 31) - 1),
    activation=_ACTIVATIONS[activation],
    norm_epsilon=config.number("rms_norm_eps", 1e-6, most=1.0),
    tied_embedding=config.boolean("tie_word_embeddings", gemma),
  )


def _sliding(config: Values, family: str, layers: int) -> dict[str, Any]:
  """Returns the window and the layers that slide, or nothing."""
  kinds = config.values.get("layer_types")
  if kinds is not None and (
    not isinstance(kinds, list)
    or len(kinds) != layers
    or not all(x in ("full_attention", "sliding_attention") for x in kinds)
  ):
    config.refuse(
      "layer_types",
      "it must name full_attention or sliding_attention for each layer",
    )
  if family == "llama":
    if "sliding_attention" in (kinds or ()):
      config.refuse("layer_types", "no layer of a llama slides")
    if config.values.get("sliding_window") is not None:
      config.refuse("sliding_window", "no layer of a llama slides")
    return {}
  if family == "gemma3_text":
    pattern = config.integer("sliding_window_pattern", 1_000, 6)
    slides = [bool((index + 1) % pattern) for index in range(layers)]
    wanted = True
  else:
    first = config.integer("max_window_layers", 1_000, 28, least=0)
    slides = [index >= first for index in range(layers)]
    wanted = config.boolean("use_sliding_window", False)
    slides = [wanted and x for x in slides]
    if config.values.get("sliding_window", 4096) is None:
      slides = [False] * layers
  if kinds is not None:
    slides = [kind == "sliding_attention" for kind in kinds]
  if not any(slides):
    return {}
  if not wanted:
    config.refuse("use_sliding_window", "layer_types has layers that slide")
  return dict(
    sliding_window=config.integer("sliding_window", (1 << 31) - 1),
    sliding_layers=tuple(i for i, slide in enumerate(slides) if slide),
  )


def _gemma(config: Values, fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what only Gemma has."""
  scalar = config.number("query_pre_attn_scalar", 256.0)
  return dict(
    centered_norms=True,
    post_norms=True,
    embedding_scale=math.sqrt(fields["model_size"]),
    query_scale=None if scalar == fields["head_size"] else scalar**-0.5,
  )


def family_of(config: transformer.NetworkConfig) -> str:
  """Returns the model_type whose rules are nearest to a network's."""
  if config.post_norms or config.centered_norms:
    return "gemma3_text"
  if config.qk_norm:
    return "qwen3"
  return "qwen2" if config.qkv_bias or config.sliding_layers else "llama"


def hugging_face_config(config: transformer.NetworkConfig) -> dict[str, Any]:
  """Returns the config.json that describes a network.

  Args:
    config: The network's; of its heads only the language head can be said.

  Raises:
    ValueError: If no family has the network's rules, and which do not fit.
  """
  family = family_of(config)
  gemma = family == "gemma3_text"
  names = {new: old for old, new in reversed(_ACTIVATIONS.items())}
  values = dict(
    architectures=[CLASSES[family]],
    model_type=family,
    vocab_size=config.vocab_size,
    hidden_size=config.model_size,
    intermediate_size=config.mlp_size,
    num_hidden_layers=config.num_layers,
    num_attention_heads=config.num_heads,
    num_key_value_heads=config.num_kv_heads,
    head_dim=config.head_size,
    max_position_embeddings=config.max_positions,
    rms_norm_eps=config.norm_epsilon,
    tie_word_embeddings=config.tied_embedding,
    attention_bias=False,
    torch_dtype=config.dtype,
    use_cache=True,
  )
  values["hidden_activation" if gemma else "hidden_act"] = names[
    config.activation
  ]
  values |= rotation.write(config, gemma)
  if family != "llama":
    values |= _written_sliding(config, gemma)
  if gemma:
    scale = config.query_scale or config.head_size**-0.5
    values["query_pre_attn_scalar"] = round(scale**-2)
  _check_says_all(values, config)
  return values


def _written_sliding(
  config: transformer.NetworkConfig, gemma: bool
) -> dict[str, Any]:
  """Returns what config.json says of the layers that slide."""
  slides = [i in config.sliding_layers for i in range(config.num_layers)]
  names = {True: "sliding_attention", False: "full_attention"}
  values: dict[str, Any] = {"layer_types": [names[x] for x in slides]}
  values["sliding_window"] = config.sliding_window
  if gemma:
    # Where nothing slides it is not read, and may not be missing.
    values["sliding_window"] = config.sliding_window or 4096
  else:
    values["use_sliding_window"] = any(slides)
    # All that `layer_types` does not say again.
    values["max_window_layers"] = min(
      config.sliding_layers, default=config.num_layers
    )
  return values


def _check_says_all(
  values: Mapping[str, Any], config: transformer.NetworkConfig
) -> None:
  """Raises unless the network is what is read back from its config.json."""
  family = values["model_type"]
  same = dict(heads=config.heads, dtype=config.dtype)
  read_back = dataclasses.asdict(network_config(values, CONFIG, **same))
  read_back["certainty"] = config.certainty  # Of the head, as `heads` is.
  wanted = dataclasses.asdict(config)
  odd = [name for name in wanted if wanted[name] != read_back[name]]
  if config.model_size % config.num_heads:
    odd.append("num_heads")  # Nothing else opens it: it must divide the width.
  if odd:
    raise ValueError(
      f"no config.json says what this network does: as a {family} model it"
      f" would have another {', '.join(odd)}."
    )
