"""One token from logits, and the log-probabilities of how it was chosen."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

EXCLUDED_LOGIT = -1e30
_LIKELIEST = 256  # Tokens among which a nucleus is looked for first.


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
  """How a token is chosen.

  Attributes:
    temperature: Divides the logits; 0 is greedy.
    top_k: Keeps the k likeliest tokens; 0 keeps all.
    top_p: Keeps the fewest tokens whose probabilities reach p; 1 keeps all.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0

  def __post_init__(self):
    """Refuses values that cannot work."""
    if self.temperature < 0:
      raise ValueError(f"temperature is {self.temperature}; use 0 or more.")
    if self.top_k < 0:
      raise ValueError(f"top_k is {self.top_k}; use 0 (all) or more.")
    if not 0 < self.top_p <= 1:
      raise ValueError(f"top_p is {self.top_p}; use a value in (0, 1].")


GREEDY = SamplingConfig(temperature=0.0)


def behavior_logits(
  logits: Float[Array, "R V"], config: SamplingConfig
) -> Float[Array, "R V"]:
  """Returns the logits of the distribution that `sample` draws from."""
  if config.temperature == 0:
    best = jnp.argmax(logits, axis=-1)[:, None]
    ids = jnp.arange(logits.shape[-1])[None]
    return jnp.where(ids == best, 0.0, EXCLUDED_LOGIT)
  logits = logits / config.temperature
  if config.top_k and config.top_k < logits.shape[-1]:
    least = jax.lax.top_k(logits, config.top_k)[0][:, -1:]
    logits = jnp.where(logits >= least, logits, EXCLUDED_LOGIT)
  if config.top_p < 1:
    least = _least_of_nucleus(logits, config.top_p)
    logits = jnp.where(logits >= least, logits, EXCLUDED_LOGIT)
  return logits


def _least_of_nucleus(
  logits: Float[Array, "R V"], top_p: float
) -> Float[Array, "R 1"]:
  """Returns the least logit among the fewest tokens that reach `top_p`.

  Of a large vocabulary the likeliest few nearly always do: all are sorted only
  where in some row, one that has ended included, they do not. A row's result is
  the same either way.
  """
  logits = jax.lax.stop_gradient(logits)  # Only to be compared with.
  total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)

  def least(ordered):
    # A token is kept where the ones above it have not reached p yet.
    probabilities = jnp.exp(ordered - total)
    above = jnp.cumsum(probabilities, axis=-1) - probabilities
    kept = jnp.sum(above < top_p, axis=-1, keepdims=True)
    return jnp.take_along_axis(ordered, kept - 1, axis=-1)

  of_all = lambda: least(jnp.sort(logits, axis=-1, descending=True))
  if logits.shape[-1] <= _LIKELIEST:
    return of_all()
  first = jax.lax.top_k(logits, _LIKELIEST)[0]
  reached = jnp.exp(first - total).sum(axis=-1, keepdims=True) >= top_p
  return jax.lax.cond(
    jnp.all(reached),
    lambda: least(first),
    lambda: jnp.where(reached, least(first), of_all()),
  )


def sample(
  rngs: Key[Array, " R"],
  logits: Float[Array, "R V"],
  config: SamplingConfig,
) -> tuple[Int[Array, " R"], Float[Array, " R"], Float[Array, " R"]]:
  """Draws a token per row by one uniform number and the inverse CDF.

  Args:
    rngs: A key per row; consumed.
    logits: The policy's logits.
    config: How to choose.

  Returns:
    The tokens, their log-probabilities under the distribution sampled, and
    those under the policy's own.
  """
  chosen_from = jax.nn.log_softmax(behavior_logits(logits, config))
  if config.temperature == 0:
    token = jnp.argmax(logits, axis=-1)
  else:
    uniform = jax.vmap(jax.random.uniform)(rngs)
    token = _invert_cdf(jnp.exp(chosen_from), uniform)
  token = token.astype(jnp.int32)
  at_token = lambda x: jnp.take_along_axis(x, token[:, None], axis=-1)[:, 0]
  policy = jax.nn.log_softmax(logits)
  return token, at_token(chosen_from), at_token(policy)


def _invert_cdf(
  probabilities: Float[Array, "R V"], uniform: Float[Array, " R"]
) -> Int[Array, " R"]:
  """Returns the first possible token whose cumulative probability is above.

  XLA sums long rows in blocks, so rounding can make the cumulative sum rise or
  fall by an ulp at a token of probability 0: those are left out by name.
  """
  cumulative = jnp.cumsum(probabilities, axis=-1)
  cumulative = jnp.where(probabilities > 0, cumulative, 0.0)
  total = cumulative.max(axis=-1)
  # Strictly below the total, so that a larger entry exists, whatever rounding
  # did to the product.
  threshold = jnp.minimum(uniform * total, jnp.nextafter(total, 0.0))
  return jnp.argmax(cumulative > threshold[:, None], axis=-1)
