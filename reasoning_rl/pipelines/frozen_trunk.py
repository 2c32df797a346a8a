"""A thought head on a frozen trunk: what it reads is computed once.

Where the PRM is a head on the policy, nothing below the head learns. So the
trunk reads every labelled solution once, a group's prompt once for all of them,
and an update computes the head alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from reasoning_rl import types
from reasoning_rl.decoding import scoring
from reasoning_rl.pipelines import experiment as experiment_lib


def applies(experiment: experiment_lib.Experiment) -> bool:
  """Returns whether the PRM is such a head, and rows stay what they are."""
  return (
    # Names that are permuted afresh at every step make other rows.
    experiment.shared_trunk and not len(experiment.interchangeable_ids)
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
  index, real = _groups(np.asarray(found.problem_id))
  problems, group = index.shape
  shared = experiment.shared(found.prompt, found.prompt_length)
  states = []
  for piece, keep in experiment.pieces(
    problems, max(1, experiment.config.collect.rows // group)
  ):
    rows = index[piece]
    read_now = read(
      policy,
      found.prompt[rows[:, 0]],
      found.prompt_length[rows[:, 0]],
      found.completion[rows],
      found.thought_end[rows],
      shared=shared,
    )
    states.append(np.asarray(read_now)[:keep])
  return np.concatenate(states)[real]


def _groups(
  problem_id: Int[np.ndarray, " R"],
) -> tuple[Int[np.ndarray, "B G"], Bool[np.ndarray, "B G"]]:
  """Returns the rows of each run of one problem, the last one repeated.

  Runs may differ in length, where the verdict on a sample is not known. The
  mask is True at rows that are none of the repetitions.
  """
  start = np.flatnonzero(np.diff(problem_id, prepend=problem_id[0] - 1))
  count = np.diff(start, append=len(problem_id))
  place = np.arange(count.max())[None]
  last = count[:, None] - 1
  return start[:, None] + np.minimum(place, last), place <= last
