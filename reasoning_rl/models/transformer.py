"""The decoder-only transformer trunk: tokens to hidden vectors."""

from __future__ import annotations

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl import masking
from reasoning_rl.models import attention as attention_lib

ACTIVATIONS = {
  "silu": nn.silu,
  "gelu": functools.partial(nn.gelu, approximate=True),
}
HEADS = frozenset({"language", "value", "thought", "outcome", "implicit"})


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
      nn.DenseGeneral(
        (heads[name], config.head_size),
        use_bias=config.qkv_bias,
        param_dtype=jnp.dtype(config.dtype),
        name=name,
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
    output = nn.DenseGeneral(
      config.model_size,
      axis=(-2, -1),
      use_bias=False,
      kernel_init=residual_init(config.num_layers),
      param_dtype=jnp.dtype(config.dtype),
      name="out",
    )(output)
    return output, k, v


class GatedMLP(nn.Module):
  """SwiGLU or GEGLU (arXiv:2002.05202)."""

  config: NetworkConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
    """Returns down(activation(gate(x)) · up(x))."""
    config = self.config
    wide = lambda name: nn.Dense(
      config.mlp_size,
      use_bias=False,
      param_dtype=jnp.dtype(config.dtype),
      name=name,
    )
    hidden = ACTIVATIONS[config.activation](wide("gate")(x)) * wide("up")(x)
    return nn.Dense(
      config.model_size,
      use_bias=False,
      kernel_init=residual_init(config.num_layers),
      param_dtype=jnp.dtype(config.dtype),
      name="down",
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
