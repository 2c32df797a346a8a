"""The network's parameters by their Hugging Face names and layouts.

Torch multiplies by [out, in] and keeps heads and their width in one axis; here
a kernel is [in, out] and heads have an axis of their own. Every parameter is
the other one, transposed or not, in another shape: nothing is computed, so a
model that is loaded and exported is the same to the bit.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from reasoning_rl.models import transformer

Path = tuple[str, ...]

EMBEDDING = "model.embed_tokens.weight"
LANGUAGE_HEAD = "lm_head.weight"


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One parameter in both worlds.

  Attributes:
    path: Where it is in the network's params.
    shape: Its shape there.
    name: What a file calls it.
    file_shape: Its shape there.
  """

  path: Path
  shape: tuple[int, ...]
  name: str
  file_shape: tuple[int, ...]

  @property
  def _transposed(self) -> bool:
    return self.path[-1] == "kernel"

  def from_file(self, array: np.ndarray) -> np.ndarray:
    """Returns a view of the file's array as the network has it."""
    return (array.T if self._transposed else array).reshape(self.shape)

  def to_file(self, array: np.ndarray) -> np.ndarray:
    """Returns a view of the network's array as a file has it."""
    if self._transposed:
      return array.reshape(self.file_shape[::-1]).T
    return array.reshape(self.file_shape)


def parameters(config: transformer.NetworkConfig) -> tuple[Parameter, ...]:
  """Returns every parameter that a file has of a network, bottom to top.

  Scalar heads are not among them. Without a "language" head an untied one is
  not either.

  Args:
    config: The network's.
  """
  width = config.model_size
  table = (config.vocab_size, width)
  found = [Parameter(("token_embedding", "embedding"), table, EMBEDDING, table)]
  for index in range(config.num_layers):
    found += _of_layer(config, index)
  found.append(_norm(("final_norm",), "model.norm", width))
  if "language" in config.heads and not config.tied_embedding:
    path = ("language_head", "kernel")
    found.append(Parameter(path, table[::-1], LANGUAGE_HEAD, table))
  return tuple(found)


def _of_layer(config: transformer.NetworkConfig, index: int) -> list[Parameter]:
  """Returns the parameters of one block."""
  layer, file = f"layers_{index}", f"model.layers.{index}"
  width, hidden = config.model_size, config.mlp_size
  found = [
    _norm((layer, ours), f"{file}.{name}", width)
    for ours, name in _norm_names(config).items()
  ]
  heads = dict(q=config.num_heads, k=config.num_kv_heads, v=config.num_kv_heads)
  for name, count in heads.items():
    path = (layer, "attention", name)
    at, split = f"{file}.self_attn.{name}_proj", (count, config.head_size)
    found.append(_kernel(path, at, (width,), split))
    if config.qkv_bias:
      bias = (*path, "bias")
      found.append(Parameter(bias, split, f"{at}.bias", (math.prod(split),)))
  for name in ("q", "k") if config.qk_norm else ():
    path = (layer, "attention", f"{name}_norm")
    at = f"{file}.self_attn.{name}_norm"
    found.append(_norm(path, at, config.head_size))
  path, at = (layer, "attention", "out"), f"{file}.self_attn.o_proj"
  split = (config.num_heads, config.head_size)
  found.append(_kernel(path, at, split, (width,)))
  for name in ("gate", "up"):
    at = f"{file}.mlp.{name}_proj"
    found.append(_kernel((layer, "mlp", name), at, (width,), (hidden,)))
  at = f"{file}.mlp.down_proj"
  found.append(_kernel((layer, "mlp", "down"), at, (hidden,), (width,)))
  return found


def _norm_names(config: transformer.NetworkConfig) -> dict[str, str]:
  """Returns what files call the norms of a block.

  `post_attention_layernorm` follows the attention in Gemma and stands before
  the MLP in the others.
  """
  names = {"attention_norm": "input_layernorm"}
  if not config.post_norms:
    return names | {"mlp_norm": "post_attention_layernorm"}
  return names | {
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
  }


def _norm(path: Path, name: str, size: int) -> Parameter:
  return Parameter((*path, "scale"), (size,), f"{name}.weight", (size,))


def _kernel(
  path: Path, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> Parameter:
  file_shape = math.prod(outputs), math.prod(inputs)
  return Parameter(
    (*path, "kernel"), (*inputs, *outputs), f"{name}.weight", file_shape
  )
