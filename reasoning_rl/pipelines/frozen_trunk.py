"""A thought head on a frozen trunk: what it reads is computed once.

Where the PRM is a head on the policy, nothing below the head learns. So the
trunk reads every labelled solution once, a group's prompt once for all of them,
and an update computes the head alone.

What a pretrained trunk says is of very different size from number to number,
and a few large ones would drown all others: the head learns from its deviations
from their mean, in units of their spread.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from reasoning_rl import types
from reasoning_rl.decoding import scoring
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import reading

_LEAST_VARIANCE = 1e-6  # Of a number; or what its rounding gives.
_FEWEST = 32  # Thoughts of a kind that has statistics of its own.


def applies(experiment: experiment_lib.Experiment) -> bool:
  """Returns whether the PRM is such a head, and rows stay what they are."""
  return (
    # Names that are permuted afresh at every step make other rows.
    experiment.shared_trunk and not len(experiment.interchangeable_ids)
  )


def standardized(
  params: Any,
  states: Float[np.ndarray, "B T _"],
  mask: Bool[np.ndarray, "B T"],
  thought_count: Int[np.ndarray, " B"],
) -> Any:
  """Returns parameters whose thought head reads standard numbers.

  Of the last thoughts of solutions, and of all before them, each number has
  mean 0 and variance 1 in the units of its kind; one that never changes is 0.
  The head goes by the nearest kind: a last thought that was cut off in the
  middle may be read as one of the others.

  Args:
    params: With a thought head.
    states: What the head is given; see `thought_states`.
    mask: Thoughts that count; at least one.
    thought_count: Thoughts of each solution.
  """
  is_last = np.arange(mask.shape[1])[None] == thought_count[:, None] - 1
  counted, is_last = states[mask].astype(np.float64), is_last[mask]
  kinds = [counted[is_last == kind] for kind in (False, True)]
  # A few thoughts of a kind say nothing of its spread: all stand for them.
  kinds = [kind if len(kind) >= _FEWEST else counted for kind in kinds]
  rounding = np.square(float(jnp.finfo(states.dtype).eps))

  def spread(kind):
    least = np.maximum(_LEAST_VARIANCE, rounding * np.square(kind).max(axis=0))
    return np.sqrt(np.maximum(kind.var(axis=0), least))

  stack = lambda rows: jnp.asarray(np.stack(rows), jnp.float32)
  head = dict(
    params["thought_head"],
    centers=stack([kind.mean(axis=0) for kind in kinds]),
    spreads=stack([spread(kind) for kind in kinds]),
  )
  return {**params, "thought_head": head}


def thought_states(
  experiment: experiment_lib.Experiment,
  policy: Any,
  found: types.Trajectory,
) -> Float[np.ndarray, "B T _"]:
  """Returns what the head reads of each thought of stored solutions.

  Args:
    experiment: The run.
    policy: The parameters of the trunk.
    found: The solutions; read in pieces of `collect.rows`.
  """
  network = experiment.policy

  def states_of(
    params, prompt, prompt_length, completion, length, end, *, shared
  ):
    del length
    return scoring.completion_thought_states(
      network, params, prompt, prompt_length, completion, end, shared
    )

  read = experiment.map_problems(states_of, 1, static_argnames=("shared",))
  rows = experiment.config.collect.rows
  return reading.each(experiment, found, functools.partial(read, policy), rows)
