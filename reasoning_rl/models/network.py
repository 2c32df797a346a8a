"""A trunk with heads, as pure functions of its parameters.

`Network` is what the rest of the project sees of a model: a hashable value with
`init`, `apply` and one function per head. The policy is a network with a
language head (and, where its trunk is shared with the PRM, a thought head); a
PRM or an ORM is a network with a thought or an outcome head, or a second
language model with an implicit head. Nothing is mutable: the keys and values of
a forward pass are returned, and whoever wants a cache passes them back as a
segment.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import linear, transformer

Params = Any

SCALAR_HEADS = ("value", "thought", "outcome")
INITIAL_BIAS = 2.0  # Of the implicit head.
CERTAINTY = 2  # Numbers of `certainty` that a thought head reads.
# Of positions that a thought head tells apart: a trunk says other things where
# a solution ends than where it goes on.
KINDS = 2


class ScalarHead(nn.Module):
  """Two linear layers to one number per position (arXiv:2501.07301).

  Attributes:
    model_size: Numbers between the two layers.
    standardized: Whether what it reads first has a center taken from it and is
      divided by a spread: those of the nearest of `KINDS` kinds of positions.
      They do not learn; see `frozen_trunk.standardized`.
  """

  model_size: int
  standardized: bool = False

  @nn.compact
  def __call__(self, hidden: Float[Array, "*B D"]) -> Float[Array, " *B"]:
    """Returns one float32 number per position."""
    if self.standardized:
      hidden = self._standardize(hidden)
    hidden = nn.relu(nn.Dense(self.model_size, name="hidden")(hidden))
    output = nn.Dense(
      1, kernel_init=nn.initializers.normal(0.02), name="output"
    )
    return output(hidden)[..., 0].astype(jnp.float32)

  def _standardize(self, hidden):
    size = (KINDS, hidden.shape[-1])
    centers = self.param("centers", nn.initializers.zeros, size)
    spreads = self.param("spreads", nn.initializers.ones, size)
    centers, spreads = jax.lax.stop_gradient((centers, spreads))
    to_all = lambda x: jnp.broadcast_to(x, (*hidden.shape[:-1], *size))
    away = hidden.astype(jnp.float32)[..., None, :] - to_all(centers)
    unit = jnp.sqrt(jnp.mean(jnp.square(spreads), axis=0, keepdims=True))
    distance = jnp.square(away / to_all(unit)).sum(axis=-1)
    kind = jnp.argmin(distance, axis=-1)[..., None, None]
    away = away / to_all(spreads)
    return jnp.take_along_axis(away, kind, axis=-2)[..., 0, :]


class ImplicitHead(nn.Module):
  """Scale and bias: from a log-probability to the logit of being right.

  The implicit PRM of arXiv:2412.01981 without its reference model, for which
  the bias stands in, and trained on thoughts' labels where there are any. The
  logit is of everything up to here being right, so it falls with every thought
  and "min" and "last" aggregate it alike. The bias starts above 0, since a
  log-probability never is.
  """

  @nn.compact
  def __call__(self, logprob: Float[Array, " *B"]) -> Float[Array, " *B"]:
    """Returns one float32 number for each log-probability."""
    scale = self.param("scale", nn.initializers.ones, ())
    bias = self.param("bias", nn.initializers.constant(INITIAL_BIAS), ())
    return scale * logprob + bias


class _Module(nn.Module):
  """The linen module behind `Network`."""

  config: transformer.NetworkConfig

  def setup(self):
    config = self.config
    dtype = jnp.dtype(config.dtype)
    self.token_embedding = nn.Embed(
      config.vocab_size,
      config.model_size,
      param_dtype=dtype,
      # Tied logits then have unit variance, and a token is not drowned by what
      # the blocks add to it.
      embedding_init=nn.initializers.normal(config.model_size**-0.5),
    )
    if config.position_kind == "learned":
      self.position_embedding = nn.Embed(
        config.max_positions,
        config.model_size,
        param_dtype=dtype,
        embedding_init=nn.initializers.normal(0.02),
      )
    self.layers = [
      transformer.make_block(config, index)
      for index in range(config.num_layers)
    ]
    self.final_norm = transformer.RMSNorm(config)
    if "language" in config.heads and not config.tied_embedding:
      self.language_head = nn.Dense(
        config.vocab_size,
        use_bias=False,
        param_dtype=dtype,
        dot_general=functools.partial(
          jax.lax.dot_general, preferred_element_type=jnp.float32
        ),
      )
    for head in SCALAR_HEADS:
      if head in config.heads:
        made = ScalarHead(config.model_size, standardized=head == "thought")
        setattr(self, f"{head}_head", made)
    if "implicit" in config.heads:
      self.implicit_head = ImplicitHead()

  def __call__(self, tokens):
    hidden, _ = self.trunk(tokens, transformer.default_positions(tokens), ())
    for head in self.config.heads:
      if head == "language":
        self.logits(hidden)
      elif head == "implicit":
        self.implicit(hidden[..., 0])
      elif head == "thought" and self.config.certainty:
        numbers = jnp.zeros((*hidden.shape[:-1], CERTAINTY))
        self.scalar(jnp.concatenate([hidden, numbers], axis=-1), head)
      else:
        self.scalar(hidden, head)
    return hidden

  def trunk(self, tokens, positions, segments):
    config = self.config
    x = self.token_embedding(tokens)
    if config.embedding_scale != 1:
      x = x * jnp.asarray(config.embedding_scale, x.dtype)
    if config.position_kind == "learned":
      x = x + self.position_embedding(positions)
    near = segments
    if config.sliding_layers:
      near = attention_lib.within_window(
        segments, positions, config.sliding_window
      )
    keys, values = [], []
    for index, block in enumerate(self.layers):
      at_layer = transformer.layer_segments(
        near if block.slides else segments, index
      )
      x, k, v = block(x, positions, at_layer)
      keys.append(k)
      values.append(v)
    keys_values = attention_lib.KeysValues(tuple(keys), tuple(values))
    return self.final_norm(x), keys_values

  def logits(self, hidden):
    if not self.config.tied_embedding:
      return self.language_head(hidden).astype(jnp.float32)
    table = self.token_embedding.embedding.T
    return linear.dot(hidden, table, 1, jnp.float32)

  def scalar(self, hidden, head):
    return getattr(self, f"{head}_head")(hidden)

  def implicit(self, logprob):
    return self.implicit_head(logprob)


@dataclasses.dataclass(frozen=True)
class Network:
  """The pure functions of one network.

  Attributes:
    config: Its sizes and heads.
  """

  config: transformer.NetworkConfig

  def init(self, rng: Key[Array, ""]) -> Params:
    """Returns fresh parameters; `rng` is consumed."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    return _Module(self.config).init(rng, tokens)["params"]

  def apply(
    self,
    params: Params,
    tokens: Int[Array, "R L"],
    positions: Int[Array, "R L"] | None = None,
    segments: tuple[attention_lib.Segment, ...] = (),
  ) -> tuple[Float[Array, "R L D"], attention_lib.KeysValues]:
    """Runs the trunk.

    Args:
      params: Parameters from `init`.
      tokens: Token ids; padding may only follow a row's real tokens.
      positions: Position of each token in its sequence; from 0 by default.
      segments: What comes before these tokens.

    Returns:
      The hidden vectors, and the keys and values of these tokens alone.
    """
    if positions is None:
      positions = transformer.default_positions(tokens)
    return _Module(self.config).apply(
      {"params": params}, tokens, positions, segments, method="trunk"
    )

  def logits(
    self, params: Params, hidden: Float[Array, "*B D"]
  ) -> Float[Array, "*B V"]:
    """Returns the language head's next-token logits, in float32."""
    return _Module(self.config).apply(
      {"params": params}, hidden, method="logits"
    )

  def scalar(
    self, params: Params, hidden: Float[Array, "*B D"], head: str
  ) -> Float[Array, " *B"]:
    """Returns the "value", "thought" or "outcome" head's number.

    Where the config says `certainty`, a thought head's `hidden` ends with it;
    see `decoding.certainty`.
    """
    return _Module(self.config).apply(
      {"params": params}, hidden, head, method="scalar"
    )

  def implicit(
    self, params: Params, logprob: Float[Array, " *B"]
  ) -> Float[Array, " *B"]:
    """Returns the implicit head's logit of being right.

    Args:
      params: Parameters.
      logprob: Log-probability under the language head of a solution so far.
    """
    return _Module(self.config).apply(
      {"params": params}, logprob, method="implicit"
    )

  def complete(self, rng: Key[Array, ""], params: Params) -> Params:
    """Returns parameters, say pretrained ones, with what they lack.

    Args:
      rng: Makes heads and adapters. Consumed.
      params: The trunk's parameters at least.
    """
    rng_heads, rng_adapters = jax.random.split(rng)
    shapes = jax.eval_shape(self.init, rng_heads)
    missing = sorted(set(shapes) - set(params))
    if missing:  # What is not returned is never made.
      make = jax.jit(lambda rng: {k: self.init(rng)[k] for k in missing})
      params = {**params, **make(rng_heads)}
    return self.add_adapters(rng_adapters, params)

  def add_adapters(self, rng: Key[Array, ""], params: Params) -> Params:
    """Returns parameters, say pretrained ones, with the adapters they lack.

    `rng` is consumed.
    """
    shapes = jax.eval_shape(self.init, jax.random.key(0))
    return linear.add_adapters(rng, params, shapes)

  def merge(self, params: Params) -> Params:
    """Returns parameters with the adapters folded into the kernels.

    For export; they mean the same network without adapters, in float32.
    """
    return linear.merge(params, self.config.lora_alpha)

  def for_sampling(self, params: Params) -> Params:
    """Returns parameters of the same policy that are the fastest to read.

    Adapters are folded into float32 kernels. Beside others they stay: a rounded
    sum would be another policy than the one that learns.
    """
    return linear.merge(params, self.config.lora_alpha, only_float32=True)

  def num_params(self) -> int:
    """Returns the parameters that a token is multiplied with.

    Looking up an embedding multiplies nothing; as a tied language head it does.
    """
    shapes = jax.eval_shape(self.init, jax.random.key(0))
    if not (self.config.tied_embedding and "language" in self.config.heads):
      del shapes["token_embedding"]
    for statistics in ("centers", "spreads"):
      shapes.get("thought_head", {}).pop(statistics, None)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def graft(params: Params, onto: Params) -> Params:
  """Returns `onto` with every entry that `params` also has taken from it.

  So a PRM or an ORM starts as the policy under a fresh head.
  """
  return {
    name: params[name] if name in params else value
    for name, value in onto.items()
  }
