"""One score for a solution from the scores of its thoughts."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from reasoning_rl import masking

METHODS = ("min", "product", "last", "mean")


def aggregate(
  thought_rewards: Float[Array, "*B T"],
  thought_mask: Bool[Array, "*B T"],
  how: str,
) -> Float[Array, "*B"]:
  """Aggregates thought scores into a solution's score.

  Which method is best depends on the labels the PRM learnt from. A PRM trained
  on Monte-Carlo labels is a value model, whose last score has seen the most;
  one trained on verdicts per thought is best read by min or product (The
  Lessons of Developing Process Reward Models in Mathematical Reasoning,
  2501.07301).

  Args:
    thought_rewards: PRM score in [0, 1] of each thought.
    thought_mask: True at real thoughts.
    how: One of `METHODS`.

  Returns:
    The score in [0, 1]; 0 for a solution without thoughts.

  Raises:
    ValueError: If `how` is not one of `METHODS`.
  """
  if how == "mean":
    return masking.masked_mean(thought_rewards, thought_mask, axis=-1)
  if how == "min":
    score = jnp.min(jnp.where(thought_mask, thought_rewards, 1.0), axis=-1)
  elif how == "product":
    score = jnp.prod(jnp.where(thought_mask, thought_rewards, 1.0), axis=-1)
  elif how == "last":
    size = thought_mask.shape[-1]
    last = size - 1 - jnp.argmax(thought_mask[..., ::-1], axis=-1)
    score = jnp.take_along_axis(thought_rewards, last[..., None], axis=-1)
    score = score[..., 0]
  else:
    raise ValueError(
      f"Unknown score aggregation {how!r}; use one of {', '.join(METHODS)}."
    )
  return jnp.where(jnp.any(thought_mask, axis=-1), score, 0.0)
