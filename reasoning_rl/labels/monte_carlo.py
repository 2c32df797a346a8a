"""Monte-Carlo labels: how often do rollouts from here reach the right answer?

Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations
(2312.08935), section 3.3. A label belongs to a boundary between thoughts: the
rollouts of thought t start right AFTER thought t, so they hold thoughts 0..t
fixed and the label asks whether those can still be completed to a right answer.
After the terminal thought nothing is left to sample, and its label is the
verified outcome itself (`with_outcome`).

Such labels are values, not verdicts: a wrong thought from which the policy
recovers is labelled above 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def soft_labels(
  correct: Bool[Array, "B T G"],
  rollout_mask: Bool[Array, "B T G"],
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
  """Estimates each thought's chance of success (soft estimation).

  Args:
    correct: True where the rollout reached a right answer.
    rollout_mask: True where a rollout was made.

  Returns:
    The share of right rollouts, and a mask that is False for thoughts without
    any rollout; their label is 0.
  """
  rollouts = jnp.sum(rollout_mask, axis=-1)
  successes = jnp.sum(correct & rollout_mask, axis=-1)
  labels = successes.astype(jnp.float32) / jnp.maximum(rollouts, 1)
  return labels, rollouts > 0


def hard_labels(
  labels: Float[Array, "B T"],
  label_mask: Bool[Array, "B T"],
  outcome_reward: Float[Array, " B"],
) -> Float[Array, "B T"]:
  """Labels a thought 1 where any known completion of it is right, else 0.

  Math-Shepherd's hard estimation (2312.08935) over more completions than were
  sampled from the thought: those of the thoughts after it go on from it too,
  and so does the solution itself.

  Args:
    labels: Soft labels.
    label_mask: True where there is one; others say nothing.
    outcome_reward: The verifier's verdict on each solution.

  Returns:
    Labels that are 0 or 1, and 0 outside the mask.
  """
  right = (labels > 0) & label_mask | (outcome_reward > 0)[:, None]
  right = jax.lax.cummax(right.astype(jnp.float32), axis=1, reverse=True)
  return right * label_mask


def until_first_error(
  labels: Float[Array, "B T"],
  label_mask: Bool[Array, "B T"],
  keep_first_error: bool = True,
  threshold: float = 0.0,
) -> Bool[Array, "B T"]:
  """Drops the labels after the first error.

  What follows a mistake is neither right nor wrong in itself. The Lessons of
  Developing Process Reward Models in Mathematical Reasoning (2501.07301) trains
  on nothing after it.

  Args:
    labels: Labels in [0, 1].
    label_mask: True where `labels` counts. A masked thought is no error.
    keep_first_error: Whether the erroneous thought itself keeps its label.
    threshold: A label at or below it is an error.

  Returns:
    The label mask, True on a part of `label_mask`.
  """
  error = (label_mask & (labels <= threshold)).astype(jnp.int32)
  errors_so_far = jnp.cumsum(error, axis=-1)
  if keep_first_error:
    errors_so_far = errors_so_far - error
  return label_mask & (errors_so_far == 0)


def with_outcome(
  labels: Float[Array, "B T"],
  label_mask: Bool[Array, "B T"],
  thought_count: Int[Array, " B"],
  outcome_reward: Float[Array, " B"],
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
  """Labels the terminal thought of each row with its verified outcome.

  Args:
    labels: Labels in [0, 1].
    label_mask: True where `labels` counts.
    thought_count: Real thoughts; a row without any is left as it is.
    outcome_reward: What the verifier paid, in [0, 1].

  Returns:
    Labels and mask in which the last real thought is the outcome's.
  """
  thought = jnp.arange(labels.shape[-1])[None, :]
  terminal = thought == thought_count[:, None] - 1
  labels = jnp.where(terminal, outcome_reward[:, None], labels)
  return labels, label_mask | terminal


def from_outcome(
  labels: Float[Array, "B T"],
  label_mask: Bool[Array, "B T"],
  thought_count: Int[Array, " B"],
  outcome_reward: Float[Array, " B"],
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
  """Labels all thoughts of rows that have no label with the outcome.

  A sampled solution is itself one completion of each of its prefixes, so its
  outcome is their soft label from one rollout: unbiased, of the largest
  variance, and free.

  Args:
    labels: Labels in [0, 1].
    label_mask: True where `labels` counts; rows with one are left as they are.
    thought_count: Real thoughts.
    outcome_reward: What the verifier paid, in [0, 1].

  Returns:
    Labels and mask in which every row with thoughts has one.
  """
  bare = ~jnp.any(label_mask, axis=-1, keepdims=True)
  thought = jnp.arange(labels.shape[-1])[None, :]
  real = thought < thought_count[:, None]
  labels = jnp.where(bare & real, outcome_reward[:, None], labels)
  return labels, jnp.where(bare, real, label_mask)
