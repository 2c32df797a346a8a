"""Losses of the policy: clipped policy gradient, KL to a reference, likelihood.

There is no critic, no entropy bonus and no advantage whitening here: advantages
come in finished. Everything is float32, and what lies under the mask, NaN
included, reaches neither value nor gradient.

The KL penalty needs care. The usual estimators k1 = d and k3 = e⁻ᵈ − 1 + d,
with d = log π − log π_ref, have the KL divergence as their mean, but the mean
of their derivative is not the derivative of the KL divergence, because the
samples depend on the policy too: k1 gives 0 and k3 that of KL(π_ref ‖ π) (On a
Few Pitfalls in KL Divergence Gradient Estimation for RL, 2506.09477). So value
and gradient are made apart: the value is k3, the gradient E[∇log π · d].
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from reasoning_rl import masking
from reasoning_rl.rl import credit

NORMALIZATIONS = ("token", "sequence", "constant")


@dataclasses.dataclass(frozen=True)
class PolicyLossConfig:
  """The policy loss.

  Attributes:
    clip_low: The ratio is clipped below 1 − clip_low.
    clip_high: The ratio is clipped above 1 + clip_high; more than `clip_low`
      leaves rare tokens room to grow (DAPO: 0.2 and 0.28).
    kl_coefficient: Weight of the KL divergence to the reference policy.
    kl_sequential: Whether a token also answers for the divergence of the tokens
      after it. True is the gradient of the divergence between distributions of
      whole completions; False holds each prefix fixed, is biased and has less
      variance.
    normalization: "token": mean over all tokens of the batch (DAPO).
      "sequence": mean over the tokens of each completion, then over completions
      (GRPO). "constant": sum over tokens over `constant_length`, then mean over
      completions (Dr. GRPO).
    constant_length: Tokens, for "constant": the longest completion allowed.
  """

  clip_low: float = 0.2
  clip_high: float = 0.2
  kl_coefficient: float = 0.0
  kl_sequential: bool = False
  normalization: str = "token"
  constant_length: int = 0

  def __post_init__(self):
    """Checks the values; one clear sentence for each mistake."""
    if self.clip_low < 0 or self.clip_high < 0 or self.kl_coefficient < 0:
      raise ValueError(
        "clip_low, clip_high and kl_coefficient must not be negative."
      )
    _check_normalization(self.normalization, self.constant_length)


def policy_loss(
  config: PolicyLossConfig,
  policy_logprobs: Float[Array, "*B L"],
  behavior_logprobs: Float[Array, "*B L"],
  reference_logprobs: Float[Array, "*B L"],
  advantages: Float[Array, "*B L"],
  mask: Bool[Array, "*B L"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Returns the clipped loss plus the weighted KL divergence to the reference.

  Args:
    config: Clipping, KL weight and normalisation.
    policy_logprobs: Of the sampled tokens, under the policy that learns.
    behavior_logprobs: Under the distribution that was sampled.
    reference_logprobs: Under the frozen reference policy.
    advantages: Credit of each token; taken as data.
    mask: True at completion tokens that enter the loss.

  Returns:
    The loss, and the metrics of `clipped_policy_loss` with `kl`, the divergence
    per token.
  """
  loss, metrics = clipped_policy_loss(
    policy_logprobs,
    behavior_logprobs,
    advantages,
    mask,
    clip_low=config.clip_low,
    clip_high=config.clip_high,
    normalization=config.normalization,
    constant_length=config.constant_length,
  )
  divergence = kl_to_reference(
    policy_logprobs,
    behavior_logprobs,
    reference_logprobs,
    mask,
    sequential=config.kl_sequential,
  )
  metrics["kl"] = jax.lax.stop_gradient(masking.masked_mean(divergence, mask))
  if config.kl_coefficient:
    loss = loss + config.kl_coefficient * _reduce(
      divergence, mask, config.normalization, config.constant_length
    )
  return loss, metrics


def clipped_policy_loss(
  policy_logprobs: Float[Array, "*B L"],
  behavior_logprobs: Float[Array, "*B L"],
  advantages: Float[Array, "*B L"],
  mask: Bool[Array, "*B L"],
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  normalization: str = "token",
  constant_length: int = 0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Returns −min(ρA, clip(ρ, 1 − clip_low, 1 + clip_high) A), reduced.

  ρ = π(token) / behaviour(token) (PPO, 1707.06347). At ρ = 1 the gradient is
  that of REINFORCE.

  Args:
    policy_logprobs: Of the sampled tokens, under the policy that learns.
    behavior_logprobs: Under the distribution that was sampled.
    advantages: Credit of each token; taken as data.
    mask: True at completion tokens that enter the loss.
    clip_low: See `PolicyLossConfig`, here and below.
    clip_high: The upper clip.
    normalization: One of `NORMALIZATIONS`.
    constant_length: Tokens, for "constant".

  Returns:
    The loss, and the token means `clip_fraction` (tokens whose gradient the
    clip removed), `ratio_mean` (1 but for staleness or truncated sampling) and
    `entropy` (−log π of the sampled tokens, which has the policy's entropy as
    its mean while the policy is the sampler).
  """
  _check_normalization(normalization, constant_length)
  ratio = _ratio(policy_logprobs, behavior_logprobs, mask)
  advantages = jax.lax.stop_gradient(
    jnp.where(mask, advantages.astype(jnp.float32), 0.0)
  )
  unclipped = ratio * advantages
  clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high) * advantages
  loss = -jnp.minimum(unclipped, clipped)
  metrics = {
    "clip_fraction": (clipped < unclipped).astype(jnp.float32),
    "ratio_mean": ratio,
    "entropy": -policy_logprobs.astype(jnp.float32),
  }
  metrics = {
    name: jax.lax.stop_gradient(masking.masked_mean(value, mask))
    for name, value in metrics.items()
  }
  return _reduce(loss, mask, normalization, constant_length), metrics


def kl_to_reference(
  policy_logprobs: Float[Array, "*B L"],
  behavior_logprobs: Float[Array, "*B L"],
  reference_logprobs: Float[Array, "*B L"],
  mask: Bool[Array, "*B L"],
  sequential: bool = False,
) -> Float[Array, "*B L"]:
  """Estimates KL(π ‖ π_ref) at each token, with the right gradient.

  Value: ρ k3. Gradient: ρ ∇log π · d, where `sequential` adds the d of the
  later tokens to d. ρ is that token's own ratio, as in the policy loss.

  Args:
    policy_logprobs: Of the sampled tokens, under the policy that learns.
    behavior_logprobs: Under the distribution that was sampled.
    reference_logprobs: Under the frozen reference policy.
    mask: True at completion tokens that enter the loss.
    sequential: See `PolicyLossConfig.kl_sequential`.

  Returns:
    The estimate per token, never negative; 0 under the mask.
  """
  ratio = _ratio(policy_logprobs, behavior_logprobs, mask)
  difference = jax.lax.stop_gradient(
    _difference(policy_logprobs, reference_logprobs, mask)
  )
  value = jax.lax.stop_gradient(ratio) * (jnp.expm1(-difference) + difference)
  if sequential:
    difference = credit.returns_to_go(difference, mask)
  score = ratio * difference
  # The score term is 0 in value and carries the whole gradient.
  estimate = value + score - jax.lax.stop_gradient(score)
  return jnp.where(mask, estimate, 0.0)


def supervised_loss(
  logprobs: Float[Array, "*B L"], mask: Bool[Array, "*B L"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Returns the mean negative log-likelihood of the masked tokens.

  Args:
    logprobs: Log-probability of each token of the demonstrations.
    mask: True at tokens to be learnt: the completion's, not the prompt's.

  Returns:
    The loss, and `perplexity`.
  """
  loss = -masking.masked_mean(logprobs.astype(jnp.float32), mask)
  return loss, {"perplexity": jnp.exp(jax.lax.stop_gradient(loss))}


def loss_terms(
  config: PolicyLossConfig, mask: Bool[Array, "*B L"]
) -> Int[Array, ""]:
  """Returns of how many terms `policy_loss` is the mean: tokens, or rows."""
  if config.normalization == "token":
    return jnp.sum(mask)
  return jnp.sum(jnp.any(mask, axis=-1))


def _difference(
  policy_logprobs: Float[Array, "*B L"],
  other_logprobs: Float[Array, "*B L"],
  mask: Bool[Array, "*B L"],
) -> Float[Array, "*B L"]:
  # Masked before anything nonlinear, so that padding cannot make a gradient.
  difference = policy_logprobs.astype(jnp.float32) - other_logprobs.astype(
    jnp.float32
  )
  return jnp.where(mask, difference, 0.0)


def _ratio(
  policy_logprobs: Float[Array, "*B L"],
  behavior_logprobs: Float[Array, "*B L"],
  mask: Bool[Array, "*B L"],
) -> Float[Array, "*B L"]:
  """Returns π / behaviour of each token; 1 under the mask."""
  return jnp.exp(_difference(policy_logprobs, behavior_logprobs, mask))


def _reduce(
  x: Float[Array, "*B L"],
  mask: Bool[Array, "*B L"],
  normalization: str,
  constant_length: int,
) -> Float[Array, ""]:
  """Averages a loss per token; rows without a token count for nothing."""
  if normalization == "token":
    return masking.masked_mean(x, mask)
  if normalization == "sequence":
    rows = masking.masked_mean(x, mask, axis=-1)
  else:
    rows = jnp.sum(jnp.where(mask, x, 0.0), axis=-1) / constant_length
  return masking.masked_mean(rows, jnp.any(mask, axis=-1))


def _check_normalization(normalization: str, constant_length: int) -> None:
  if normalization not in NORMALIZATIONS:
    raise ValueError(
      f"Unknown normalization {normalization!r}; "
      f"use one of {', '.join(NORMALIZATIONS)}."
    )
  if normalization == "constant" and constant_length < 1:
    raise ValueError(
      "Normalization 'constant' divides by constant_length; set it to the "
      "longest completion allowed, in tokens."
    )
