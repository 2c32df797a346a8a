"""Tensors of GGUF files under the names and in the layout of Hugging Face.

llama.cpp converts a model by renaming its tensors and changing some:

* The rows of q and k of a `llama` are interleaved, for its rotation turns
  neighbours where Hugging Face's turns the halves of a head; it turns halves
  in `qwen2`, `qwen3` and `gemma3` too, whose rows stay as they are.
* The weights of the norms of a `gemma3` are stored with 1 added to them.
"""

from __future__ import annotations

import re

import numpy as np

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")
ROPE_FACTORS = "rope_freqs.weight"  # No weight: a part of the config.

_LAYER = re.compile(r"blk\.(0|[1-9][0-9]{0,3})\.([a-z_]+)\.(weight|bias)")
_OUTSIDE = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
}
_PARTS = {
  "attn_norm": "input_layernorm",
  "attn_q": "self_attn.q_proj",
  "attn_k": "self_attn.k_proj",
  "attn_v": "self_attn.v_proj",
  "attn_output": "self_attn.o_proj",
  "ffn_norm": "post_attention_layernorm",
  "ffn_gate": "mlp.gate_proj",
  "ffn_up": "mlp.up_proj",
  "ffn_down": "mlp.down_proj",
}
_HEAD_NORMS = {
  "attn_q_norm": "self_attn.q_norm",
  "attn_k_norm": "self_attn.k_norm",
}
_GEMMA_NORMS = {
  "post_attention_norm": "post_attention_layernorm",
  "ffn_norm": "pre_feedforward_layernorm",
  "post_ffw_norm": "post_feedforward_layernorm",
}
_PARTS_OF = {
  "llama": _PARTS,
  "qwen2": _PARTS,
  "qwen3": _PARTS | _HEAD_NORMS,
  "gemma3": _PARTS | _HEAD_NORMS | _GEMMA_NORMS,
}


def hugging_face_name(architecture: str, name: str, layers: int) -> str | None:
  """Returns a tensor's name there, or None if the architecture has none such.

  Args:
    architecture: One of `ARCHITECTURES`.
    name: The name in the GGUF file.
    layers: How many layers the model has.
  """
  if name in _OUTSIDE:
    return _OUTSIDE[name]
  match = _LAYER.fullmatch(name)
  if not match or int(match[1]) >= layers:
    return None
  part = _PARTS_OF[architecture].get(match[2])
  return part and f"model.layers.{match[1]}.{part}.{match[3]}"


def interleaved(architecture: str, name: str) -> bool:
  """Returns whether a tensor's rows, by its new name, are interleaved."""
  return architecture == "llama" and bool(re.search(r"\.[qk]_proj\.", name))


def shifted(architecture: str, name: str) -> bool:
  """Returns whether a tensor, by its new name, is stored with 1 added."""
  return architecture == "gemma3" and name.endswith("norm.weight")


def halves(rows: np.ndarray, heads: int) -> np.ndarray:
  """Returns rows in which the halves of a head, not neighbours, are a pair.

  Args:
    rows: The interleaved rows of all heads, and their columns if any.
    heads: How many heads they belong to.
  """
  pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
  return pairs.swapaxes(1, 2).reshape(rows.shape)
