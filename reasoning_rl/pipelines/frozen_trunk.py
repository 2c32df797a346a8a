"""A thought head on a frozen trunk: what it reads is computed once.

Where the PRM is a head on the policy, nothing below the head learns. So the
trunk reads every labelled solution once, a group's prompt once for all of them,
and the head's updates, thousands if need be, cost next to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from reasoning_rl import types
from reasoning_rl.decoding import scoring
from reasoning_rl.pipelines import experiment as experiment_lib


def applies(experiment: experiment_lib.Experiment) -> bool:
  """Returns whether the PRM is such a head, and rows stay what they are."""
  config = experiment.config
  return (
    experiment.shared_trunk
    and config.prm.kind == "head"
    and not config.prm.extra_layers
    # Names that are permuted afresh at every step make other rows.
    and not len(experiment.interchangeable_ids)
  )


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
  read = experiment.map_problems(
    lambda params, *rows, shared: scoring.completion_thought_states(
      network, params, *rows, shared
    ),
    1,
    static_argnames=("shared",),
  )
  group = _group(found)
  rows = len(found.problem_id)
  grouped = lambda x: x.reshape(rows // group, group, *x.shape[1:])
  shared = experiment.shared(found.prompt, found.prompt_length)
  states = []
  for index, keep in experiment.pieces(
    rows // group, max(1, experiment.config.collect.rows // group)
  ):
    piece = read(
      policy,
      grouped(found.prompt)[index, 0],
      grouped(found.prompt_length)[index, 0],
      grouped(found.completion)[index],
      grouped(found.thought_end)[index],
      shared=shared,
    )
    states.append(np.asarray(piece)[:keep])
  return np.concatenate(states).reshape(rows, -1, states[0].shape[-1])


def _group(found: types.Trajectory) -> int:
  """Returns how many consecutive rows have one prompt, if all have as many."""
  ids = np.asarray(found.problem_id)
  _, counts = np.unique(ids, return_counts=True)
  group = int(counts[0])
  if (counts != group).any() or (
    ids.reshape(-1, group) != ids[::group, None]
  ).any():
    return 1
  return group
