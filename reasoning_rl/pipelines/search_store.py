"""Everything that a search completed, verified and stored as trajectories."""

from __future__ import annotations

import os

import numpy as np

from reasoning_rl import types
from reasoning_rl.data import batching, records, trajectory_store
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import problem_batch
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.search import extract
from reasoning_rl.tasks import verdicts as verdicts_lib


def trajectories(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  found: search_lib.Found,
) -> types.Trajectory:
  """Returns all complete solutions of a search, each with its verdict.

  Args:
    experiment: The run; its task verifies.
    problems: The problems that were searched.
    found: What was found, of the same problems in the same order.

  Returns:
    Rows in the sizes of the run, with every node's visits, value, PRM score and
    log-probabilities; a problem without a solution has none, and solutions
    whose verdict is undecided are left out. A tree's rows are not independent
    samples: they share thoughts.
  """
  if not np.array_equal(found.tree.problem_id, problems.problem_id):
    raise ValueError(
      f"The search was of the problems {found.tree.problem_id.tolist()}, not"
      f" of {problems.problem_id.tolist()}: give those that were searched."
    )

  decided: list[bool] = []

  def verify(row: int, solution: extract.Solution) -> float:
    text = experiment.completion_text(list(solution.tokens))
    (verdict,) = verdicts_lib.judge_many(
      experiment.task, [problems.problems[row]], [text]
    )
    decided.append(verdict.is_decided)
    return float(verdict.is_correct)

  rows = extract.trajectories(
    found.tree,
    problems.prompt,
    verify,
    experiment.completion_size,
    experiment.max_thoughts,
  )
  return rows if all(decided) else batching.take(rows, np.flatnonzero(decided))


def write(
  directory: str | os.PathLike[str],
  experiment: experiment_lib.Experiment,
  rows: types.Trajectory,
  sampler: str,
  weights: str,
  rng_path: str,
  split: str = "train",
) -> None:
  """Writes a search's trajectories to a new directory of the store.

  Args:
    directory: See `trajectory_store.write`.
    experiment: The run.
    rows: From `trajectories`, at least one; several searches' may be joined by
      `batching.concatenate` before.
    sampler: The search and its size, such as "mcts at 16 samples' worth".
    weights: Names the policy and the PRM that searched.
    rng_path: The `fold_in` path of the rng from the run's seed.
    split: That the problems are of.
  """
  lineage = records.Lineage(
    problem=f"{experiment.task.name}/{split}",
    sampler=sampler,
    weights_version=weights,
    rng_path=rng_path,
    verifier_version=experiment.task.version,
  )
  trajectory_store.write(directory, rows, lineage, experiment.decode)
