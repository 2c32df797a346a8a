"""Each learner's loss: a network's forward pass under a loss of arrays.

Each says of how many terms it is the mean, so that it may be accumulated.
"""

from __future__ import annotations

import jax.numpy as jnp

from reasoning_rl import masking, types
from reasoning_rl.decoding import sampling, scoring
from reasoning_rl.models import network as network_lib
from reasoning_rl.prm import losses as prm_losses
from reasoning_rl.rl import losses as rl_losses
from reasoning_rl.training import accumulate

_REWARD_METRICS = ("loss", "accuracy", "prediction_mean", "label_mean")
_POLICY_METRICS = ("clip_fraction", "ratio_mean", "entropy", "kl")


def supervised(policy: network_lib.Network) -> accumulate.MeanLoss:
  """Returns the likelihood loss of a `SupervisedBatch`."""

  def loss_fn(params, batch: types.SupervisedBatch, rng):
    del rng
    logprobs = scoring.supervised_logprobs(
      policy, params, batch.tokens, batch.shared
    )
    return rl_losses.supervised_loss(logprobs, batch.loss_mask)

  return accumulate.MeanLoss(
    loss_fn,
    lambda batch: {"loss": jnp.sum(batch.loss_mask)},
    lambda loss: {"perplexity": jnp.exp(loss)},
  )


def thought(prm: network_lib.Network) -> accumulate.MeanLoss:
  """Returns the PRM's loss of a `ThoughtLabels` batch."""

  def loss_fn(params, batch: types.ThoughtLabels, rng):
    del rng
    logits = scoring.thought_logits(
      prm,
      params,
      batch.tokens,
      batch.prompt_length,
      batch.thought_end,
      batch.shared,
    )
    return prm_losses.thought_loss(logits, batch.labels, batch.label_mask)

  return accumulate.MeanLoss(loss_fn, _label_counts)


def thought_head(prm: network_lib.Network) -> accumulate.MeanLoss:
  """Returns the loss of a `ThoughtStates` batch: the head alone is computed."""

  def loss_fn(params, batch: types.ThoughtStates, rng):
    del rng
    logits = prm.scalar(params, batch.states, "thought")
    return prm_losses.thought_loss(logits, batch.labels, batch.label_mask)

  return accumulate.MeanLoss(loss_fn, _label_counts)


def _label_counts(batch: types.ThoughtLabels | types.ThoughtStates):
  return dict.fromkeys(_REWARD_METRICS, jnp.sum(batch.label_mask))


def outcome(orm: network_lib.Network) -> accumulate.MeanLoss:
  """Returns the ORM's loss of a `ThoughtLabels` batch."""

  def loss_fn(params, batch: types.ThoughtLabels, rng):
    del rng
    logits = scoring.outcome_logits(
      orm,
      params,
      batch.tokens,
      batch.prompt_length,
      batch.length,
      batch.shared,
    )
    return prm_losses.outcome_loss(logits, batch.outcome_reward)

  def counts(batch: types.ThoughtLabels):
    return dict.fromkeys(_REWARD_METRICS, len(batch.outcome_reward))

  return accumulate.MeanLoss(loss_fn, counts)


def policy(
  network: network_lib.Network,
  config: rl_losses.PolicyLossConfig,
  how: sampling.SamplingConfig,
) -> accumulate.MeanLoss:
  """Returns the clipped policy loss of a `PolicyBatch`.

  The learner's distribution is the sampler's, `how`, so that the ratio of an
  unchanged policy is 1.
  """

  def loss_fn(params, batch: types.PolicyBatch, rng):
    del rng
    logprobs, entropy = scoring.completion_logprobs(
      network,
      params,
      batch.prompt,
      batch.prompt_length,
      batch.completion,
      how,
      batch.shared,
    )
    loss, metrics = rl_losses.policy_loss(
      config,
      logprobs,
      batch.behavior_logprobs,
      batch.reference_logprobs,
      batch.advantages,
      batch.completion_mask,
    )
    mean_entropy = masking.masked_mean(entropy, batch.completion_mask)
    return loss, metrics | {"entropy": jnp.asarray(mean_entropy)}

  def counts(batch: types.PolicyBatch):
    mask = batch.completion_mask
    tokens = dict.fromkeys(_POLICY_METRICS, jnp.sum(mask))
    return tokens | {"loss": rl_losses.loss_terms(config, mask)}

  return accumulate.MeanLoss(loss_fn, counts)
