"""The decoder-only transformer trunk: tokens to hidden vectors."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl import masking
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import linear as linear_lib

ACTIVATIONS = {
  "silu": nn.silu,
  "gelu": functools.partial(nn.gelu, approximate=True),
}
HEADS = frozenset({"language", "value", "thought", "outcome", "implicit"})
REMAT = ("none", "dots", "full")
LORA_TARGETS = ("q", "k", "v", "out", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """Sizes of a network, and the rules in which model families differ.

  Attributes:
    vocab_size: Number of token ids.
    model_size: Width of the residual stream.
    num_layers: Transformer blocks.
    num_heads: Query heads.
    num_kv_heads: Key and value heads; divides `num_heads`.
    head_size: Width of one head.
    mlp_size: Hidden width of the gated MLP.
    max_positions: Context length; longer inputs are refused by the callers.
    position_kind: "rope", or "learned" absolute embeddings.
    rope_base: Base of the rotary frequencies.
    rope_scaling: How the rotary frequencies are changed, if they are.
    tied_embedding: Whether the language head is the embedding, transposed.
    norm_epsilon: Added to a norm's mean square.
    centered_norms: Norms multiply by 1 + scale instead of by scale (Gemma).
    post_norms: Norms also follow attention and MLP (Gemma).
    qk_norm: Each head's queries and keys are normalised (Qwen3, Gemma 3).
    qkv_bias: Queries, keys and values have a bias (Qwen2).
    activation: The MLP's, "silu" or "gelu" (in its tanh form).
    embedding_scale: What embeddings are multiplied by (Gemma: √model_size).
    query_scale: What scores are multiplied by; None is 1 / √head_size.
    sliding_window: Positions that a sliding layer sees, its own included.
    sliding_layers: Indices of the layers that slide.
    sliding_rope_base: Base of the rotary frequencies in sliding layers, which
      are then not scaled. None: as in the other layers.
    dtype: "float32", or "bfloat16" for the trunk's parameters, caches and
      activations; norms, softmax, rotation, logits and scalar heads are in
      float32 all the same.
    heads: Which of "language", "value", "thought", "outcome" and "implicit"
      exist; "implicit" reads what "language" says.
    certainty: Whether "thought" does so too: it also reads how likely the
      thought was; see `decoding.certainty`.
    lora_rank: Rank of the adapters beside the kernels; 0: there are none.
    lora_alpha: They are scaled by lora_alpha / lora_rank.
    lora_targets: Which kernels of a block get one.
    remat: What a block's backward pass computes again instead of keeping it:
      "none", "dots" (all but matrix products), or "full" (arXiv:1604.06174).
  """

  vocab_size: int
  model_size: int = 64
  num_layers: int = 3
  num_heads: int = 4
  num_kv_heads: int = 4
  head_size: int = 16
  mlp_size: int = 192
  max_positions: int = 256
  position_kind: str = "rope"
  rope_base: float = 10_000.0
  rope_scaling: attention_lib.RopeScaling | None = None
  tied_embedding: bool = True
  norm_epsilon: float = 1e-6
  centered_norms: bool = False
  post_norms: bool = False
  qk_norm: bool = False
  qkv_bias: bool = False
  activation: str = "silu"
  embedding_scale: float = 1.0
  query_scale: float | None = None
  sliding_window: int | None = None
  sliding_layers: tuple[int, ...] = ()
  sliding_rope_base: float | None = None
  dtype: str = "float32"
  heads: tuple[str, ...] = ("language",)
  certainty: bool = False
  lora_rank: int = 0
  lora_alpha: float = 16.0
  lora_targets: tuple[str, ...] = LORA_TARGETS
  remat: str = "none"

  def __post_init__(self):
    """Refuses sizes that cannot work."""
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"num_kv_heads {self.num_kv_heads} must divide num_heads"
        f" {self.num_heads}."
      )
    if self.position_kind not in ("rope", "learned"):
      raise ValueError(
        f"position_kind is {self.position_kind!r}; use 'rope' or 'learned'."
      )
    if self.activation not in ACTIVATIONS:
      raise ValueError(
        f"activation is {self.activation!r}; use 'silu' or 'gelu'."
      )
    if self.dtype not in ("float32", "bfloat16"):
      raise ValueError(f"dtype is {self.dtype!r}; use 'float32' or 'bfloat16'.")
    if self.sliding_layers and (self.sliding_window or 0) < 1:
      raise ValueError("sliding_layers need a sliding_window of at least 1.")
    outside = set(self.sliding_layers) - set(range(self.num_layers))
    if outside:
      raise ValueError(f"sliding_layers {sorted(outside)} are no layers.")
    unknown = set(self.heads) - HEADS
    if unknown:
      raise ValueError(f"unknown heads {sorted(unknown)}.")
    if "implicit" in self.heads and "language" not in self.heads:
      raise ValueError('an "implicit" head needs a "language" head.')
    if self.certainty and not {"language", "thought"} <= set(self.heads):
      raise ValueError('certainty needs a "language" and a "thought" head.')
    if self.remat not in REMAT:
      raise ValueError(f"remat is {self.remat!r}; choose one of {REMAT}.")
    if self.lora_rank < 0:
      raise ValueError(f"lora_rank is {self.lora_rank}; use 0 for none.")
    if unknown := sorted(set(self.lora_targets) - set(LORA_TARGETS)):
      raise ValueError(
        f"unknown lora_targets {unknown}; choose from {list(LORA_TARGETS)}."
      )


class RMSNorm(nn.Module):
  """Root-mean-square normalisation (arXiv:1910.07467), in float32."""

  config: NetworkConfig

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Returns `x` scaled to unit root mean square."""
    config, init = self.config, nn.initializers.ones
    if config.centered_norms:
      init = nn.initializers.zeros
    scale = self.param("scale", init, x.shape[-1:], jnp.dtype(config.dtype))
    if config.centered_norms:
      scale = 1 + scale.astype(jnp.float32)
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(
      jnp.mean(wide**2, axis=-1, keepdims=True) + config.norm_epsilon
    )
    scale = scale.reshape((1,) * (x.ndim - 1) + scale.shape)
    return (wide * scale).astype(x.dtype)


def residual_init(num_layers: int) -> nn.initializers.Initializer:
  """Returns the init of what writes to the residual stream.

  Its variance is divided by the number of writers, so that the stream's does
  not grow with depth ("Language Models are Unsupervised Multitask Learners",
  section 2.3).
  """
  return nn.initializers.variance_scaling(
    1 / (2 * num_layers), "fan_in", "truncated_normal"
  )


def linear(
  config: NetworkConfig, name: str, *features: int, **options: Any
) -> linear_lib.Linear:
  """Returns the linear map `name` of a block, with its adapter if it has one.

  Args:
    config: Which adapters there are.
    name: Of the map, among its module's parameters.
    *features: Axes of the output.
    **options: Further attributes of `Linear`.
  """
  return linear_lib.Linear(
    features,
    lora_rank=config.lora_rank if name in config.lora_targets else 0,
    lora_alpha=config.lora_alpha,
    param_dtype=jnp.dtype(config.dtype),
    name=name,
    **options,
  )


class Attention(nn.Module):
  """Grouped-query attention of the tokens to the segments and themselves."""

  config: NetworkConfig
  slides: bool = False

  @nn.compact
  def __call__(self, x, positions, segments):
    """Returns the attended `x`, and the tokens' own keys and values."""
    config = self.config
    heads = {"q": config.num_heads}
    heads |= dict.fromkeys("kv", config.num_kv_heads)
    q, k, v = (
      linear(
        config,
        name,
        heads[name],
        config.head_size,
        use_bias=config.qkv_bias,
      )(x)
      for name in "qkv"
    )
    if config.qk_norm:
      q = RMSNorm(config, name="q_norm")(q)
      k = RMSNorm(config, name="k_norm")(k)
    if config.position_kind == "rope":
      base, scaling = config.rope_base, config.rope_scaling
      if self.slides and config.sliding_rope_base is not None:
        base, scaling = config.sliding_rope_base, None
      q = attention_lib.rotate(q, positions, base, scaling)
      k = attention_lib.rotate(k, positions, base, scaling)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    causal = masking.causal_mask(x.shape[1])[None, None]
    causal = jnp.broadcast_to(causal, (x.shape[0], *causal.shape[1:]))
    if self.slides:
      ago = positions[:, None, :, None] - positions[:, None, None, :]
      causal &= ago < config.sliding_window
    segments = (*segments, (k, v, causal))
    output = attention_lib.attend(q, segments, config.query_scale)
    output = linear(
      config,
      "out",
      config.model_size,
      contracted=2,
      kernel_init=residual_init(config.num_layers),
    )(output)
    return output, k, v


class GatedMLP(nn.Module):
  """SwiGLU or GEGLU (arXiv:2002.05202)."""

  config: NetworkConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
    """Returns down(activation(gate(x)) · up(x))."""
    config = self.config
    wide = lambda name: linear(config, name, config.mlp_size)
    hidden = ACTIVATIONS[config.activation](wide("gate")(x)) * wide("up")(x)
    return linear(
      config,
      "down",
      config.model_size,
      kernel_init=residual_init(config.num_layers),
    )(hidden)


class Block(nn.Module):
  """One pre-norm transformer block, with norms after as well where wanted."""

  config: NetworkConfig
  slides: bool = False

  @nn.compact
  def __call__(self, x, positions, segments):
    """Returns the next residual stream, and the tokens' keys and values."""
    config = self.config
    norm = lambda name: RMSNorm(config, name=name)
    after = norm if config.post_norms else lambda name: lambda x: x
    attended, k, v = Attention(config, self.slides, name="attention")(
      norm("attention_norm")(x), positions, segments
    )
    x = x + after("attention_post_norm")(attended)
    hidden = GatedMLP(config, name="mlp")(norm("mlp_norm")(x))
    return x + after("mlp_post_norm")(hidden), k, v


def make_block(config: NetworkConfig, index: int) -> Block:
  """Returns block `index`, which keeps for its backward pass what is wanted."""
  block = Block
  if config.remat != "none":
    policy = None
    if config.remat == "dots":
      policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    block = nn.remat(Block, policy=policy)
  return block(config, slides=index in config.sliding_layers)


def layer_segments(
  segments: tuple[attention_lib.Segment, ...], layer: int
) -> tuple[tuple[Array, Array, Array], ...]:
  """Returns the keys, values and mask of every segment at one layer."""
  return tuple(
    (s.keys_values.k[layer], s.keys_values.v[layer], s.mask) for s in segments
  )


def default_positions(tokens: Int[Array, "B L"]) -> Int[Array, "B L"]:
  """Returns 0, 1, 2, ... for rows that start a sequence."""
  return jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
