"""Losses of the process and the outcome reward model.

The PRM is trained pointwise: every labelled thought is one binary question,
answered by one logit per thought. Labels are probabilities with
a mask; what lies under the mask, NaN included, reaches neither the value nor
the gradient. All losses are float32 and return logging metrics beside the loss.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from reasoning_rl import masking


def thought_loss(
  logits: Float[Array, "B T"],
  labels: Float[Array, "B T"],
  label_mask: Bool[Array, "B T"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Returns the binary cross-entropy of the labelled thoughts.

  L = −[y log σ(z) + (1−y) log(1−σ(z))], averaged over the mask. Its minimum for
  a soft label is at σ(z) = y, and is the label's entropy, not 0.

  Args:
    logits: One logit per thought; the PRM's score is its sigmoid.
    labels: Probability in [0, 1] that the thought is correct.
    label_mask: True where `labels` counts.

  Returns:
    The loss, and `accuracy` at one half, `prediction_mean` and `label_mean`.
  """
  logits, labels = _masked(logits, label_mask), _masked(labels, label_mask)
  loss = jax.nn.softplus(logits) - labels * logits
  metrics = _metrics(jax.nn.sigmoid(logits), labels, label_mask)
  return masking.masked_mean(loss, label_mask), metrics


def value_loss(
  values: Float[Array, "B T"],
  labels: Float[Array, "B T"],
  label_mask: Bool[Array, "B T"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Returns the mean squared error of a value head on the labelled thoughts.

  Args:
    values: Predicted chance of success, on the scale of the labels.
    labels: Probability in [0, 1] that the thought is correct.
    label_mask: True where `labels` counts.

  Returns:
    The loss, and the metrics of `thought_loss`.
  """
  values, labels = _masked(values, label_mask), _masked(labels, label_mask)
  loss = jnp.square(values - labels)
  metrics = _metrics(values, labels, label_mask)
  return masking.masked_mean(loss, label_mask), metrics


def outcome_loss(
  logits: Float[Array, " B"],
  outcome_reward: Float[Array, " B"],
  row_mask: Bool[Array, " B"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Returns the ORM's binary cross-entropy on whole solutions.

  Args:
    logits: One logit per solution.
    outcome_reward: The verifier's verdict, in [0, 1].
    row_mask: True at rows that hold a solution; by default all do.

  Returns:
    The loss, and the metrics of `thought_loss`.
  """
  if row_mask is None:
    row_mask = jnp.ones(logits.shape, bool)
  return thought_loss(
    logits[:, None], outcome_reward[:, None], row_mask[:, None]
  )


def _masked(
  x: Float[Array, "B T"], mask: Bool[Array, "B T"]
) -> Float[Array, "B T"]:
  # Before the loss and not after it: the derivative of a `where` around NaN is
  # 0 times NaN.
  return jnp.where(mask, x.astype(jnp.float32), 0.0)


def _metrics(
  predictions: Float[Array, "B T"],
  labels: Float[Array, "B T"],
  mask: Bool[Array, "B T"],
) -> dict[str, Float[Array, ""]]:
  agree = (predictions > 0.5) == (labels > 0.5)
  return {
    "accuracy": masking.masked_mean(agree.astype(jnp.float32), mask),
    "prediction_mean": masking.masked_mean(predictions, mask),
    "label_mean": masking.masked_mean(labels, mask),
  }
