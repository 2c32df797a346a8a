"""AdamW with warm-up, decay, clipping and frozen parameters.

Weight decay acts on weight matrices alone: leaves of at least two axes that
are not an embedding table, a bias or a norm's scale. Decaying an embedding
would shrink the rows of tokens that a batch does not contain.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from reasoning_rl.training import sharding as sharding_lib

# Which parameters are trained: a regular expression that must match a leaf's
# whole path, or a function of that path.
Trainable = str | Callable[[str], bool]

SCHEDULES = ("cosine", "constant", "linear")
_NEVER_DECAYED = ("embedding", "bias", "scale", "centers", "spreads")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """How fast to learn.

  Attributes:
    learning_rate: The peak, reached at the end of the warm-up.
    warmup_steps: Steps of linear warm-up; 0 starts at the peak.
    decay_steps: Step, warm-up included, at which the decay ends.
    end_fraction: Learning rate after the decay, as a fraction of the peak.
    b1: Decay of the mean of the gradients.
    b2: Decay of the mean of the squared gradients.
    weight_decay: Decoupled weight decay of matrices.
    clip_norm: Largest global norm of the gradients; infinity never clips.
    schedule: "cosine", "linear", or "constant" after the warm-up.
  """

  learning_rate: float = 1e-3
  warmup_steps: int = 0
  decay_steps: int = 1000
  end_fraction: float = 0.1
  b1: float = 0.9
  b2: float = 0.95
  weight_decay: float = 0.1
  clip_norm: float = 1.0
  schedule: str = "cosine"

  def __post_init__(self):
    """Raises ValueError on a setting that cannot be meant."""
    if self.schedule not in SCHEDULES:
      raise ValueError(
        f"Unknown schedule {self.schedule!r}: choose one of"
        f" {', '.join(SCHEDULES)}."
      )
    if self.schedule != "constant" and self.decay_steps <= self.warmup_steps:
      raise ValueError(
        f"decay_steps={self.decay_steps} must exceed"
        f" warmup_steps={self.warmup_steps}: it counts the warm-up too."
      )
    for key in ("learning_rate", "warmup_steps", "weight_decay"):
      value = getattr(self, key)
      if not 0 <= value < math.inf:
        raise ValueError(f"{key}={value} must be at least 0, and finite.")
    for key in ("b1", "b2"):
      if not 0 <= getattr(self, key) < 1:
        raise ValueError(
          f"{key}={getattr(self, key)} must be at least 0 and less than 1."
        )
    if not 0 <= self.end_fraction <= 1:
      raise ValueError(
        f"end_fraction={self.end_fraction} must be at least 0, at most 1."
      )
    if not self.clip_norm > 0:
      raise ValueError(
        f"clip_norm={self.clip_norm} must be positive: use inf not to clip."
      )


def make_schedule(config: OptimizerConfig) -> optax.Schedule:
  """Returns the learning rate as a function of the step.

  The warm-up gives step 0 its first share, not 0: no step is wasted.
  """

  def schedule(step):
    step = jnp.asarray(step, jnp.float32)
    warmup = jnp.minimum((step + 1) / max(config.warmup_steps, 1), 1.0)
    if config.schedule == "constant":
      return config.learning_rate * warmup
    decay_steps = config.decay_steps - config.warmup_steps
    progress = jnp.clip((step - config.warmup_steps) / decay_steps, 0.0, 1.0)
    if config.schedule == "cosine":
      left = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    else:
      left = 1.0 - progress
    decay = config.end_fraction + (1.0 - config.end_fraction) * left
    return config.learning_rate * warmup * decay

  return schedule


def make_optimizer(
  config: OptimizerConfig, trainable: Trainable | None = None
) -> optax.GradientTransformation:
  """Returns AdamW on clipped gradients.

  Args:
    config: Rates, decays and the schedule.
    trainable: Which parameters learn; all when None. The others get no update
      and no moments, and their gradients do not count in the clipped norm.
  """
  adamw = optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.adamw(
      make_schedule(config),
      b1=config.b1,
      b2=config.b2,
      weight_decay=config.weight_decay,
      mask=decay_mask,
    ),
  )
  if trainable is None:
    return adamw

  def labels(params):
    mask = trainable_mask(params, trainable)
    return jax.tree.map(lambda learns: "train" if learns else "freeze", mask)

  return optax.partition(
    {"train": adamw, "freeze": optax.set_to_zero()}, labels
  )


def decay_mask(params: PyTree) -> PyTree[bool]:
  """Returns True at the parameters that weight decay acts on."""

  def decays(path, leaf) -> bool:
    name = sharding_lib.path_name(path).rpartition("/")[2]
    return leaf.ndim >= 2 and name not in _NEVER_DECAYED

  return jax.tree.map_with_path(decays, params)


def trainable_mask(params: PyTree, trainable: Trainable) -> PyTree[bool]:
  """Returns True at the parameters that learn.

  Raises:
    ValueError: If none does.
  """

  def learns(path, _) -> bool:
    name = sharding_lib.path_name(path)
    if isinstance(trainable, str):
      return re.fullmatch(trainable, name) is not None
    return bool(trainable(name))

  mask = jax.tree.map_with_path(learns, params)
  # Optax may ask about a placeholder without leaves: nothing to object to.
  learning = jax.tree.leaves(mask)
  if learning and not any(learning):
    raise ValueError(
      f"No parameter is trainable under {trainable!r}: it must match a whole"
      f' path such as "{sharding_lib.leaf_names(params)[0]}".'
    )
  return mask


def stop_frozen_gradients(params: PyTree, trainable: Trainable) -> PyTree:
  """Returns `params` through which no gradient reaches the frozen leaves.

  The backward pass below the deepest trainable leaf is then never computed.
  """
  mask = trainable_mask(params, trainable)
  return jax.tree.map(
    lambda leaf, learns: leaf if learns else jax.lax.stop_gradient(leaf),
    params,
    mask,
  )
