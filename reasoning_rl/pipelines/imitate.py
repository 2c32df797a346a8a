"""Supervised learning on the right solutions that the search has found.

Expert iteration: what was searched and verified becomes a demonstration, beside
the seed demonstrations (STaR, arXiv:2203.14465; ReST-EM, arXiv:2312.06585). It
gives policy learning, which follows, more problems that are sometimes solved.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
import numpy as np

from reasoning_rl import types
from reasoning_rl.data import batching
from reasoning_rl.pipelines import batches, collect, losses, train_sft
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Imitates the right solutions of the workdir's first dataset alone."""
  with stage_lib.open_stage(config, path) as stage:
    train(
      stage,
      name_of("policy_0"),
      0,
      lambda: solutions(stage, [0]),
      stage.input_policy(train_sft.NAME),
      config.imitation.steps,
    )


def name_of(policy: str) -> str:
  """Returns the stage whose imitation `policy` goes on from."""
  return f"{policy}_imitation"


def train(
  stage: stage_lib.Stage,
  name: str,
  iteration: int,
  source: Callable[[], types.SupervisedBatch],
  policy: Any,
  num_steps: int,
) -> dict[str, Any]:
  """Imitates what `source` returns; the checkpoints are `policy/<name>`.

  Args:
    stage: The run.
    name: Names the checkpoints and metrics.
    iteration: Chooses the random numbers.
    source: Returns the demonstrations; not asked if the stage is finished.
    policy: Where to start.
    num_steps: Updates.
  """
  config, experiment = stage.config.imitation, stage.experiment
  path = (stage_lib.STREAMS["imitation"], iteration)

  def work():
    rows = source()
    task = fit_lib.Fit(
      name=name,
      loss_fn=losses.supervised(experiment.policy),
      batch_at=batches.batch_fn(experiment, rows, config.batch_size, *path),
      num_steps=num_steps,
      optimizer=config.optimizer,
      adapters=experiment.adapters,
      accumulate=config.accumulate,
    )
    stage.fit(task, policy, stage.policy_directory(name), *path)
    return {"steps": num_steps, "solutions": len(rows.length)}

  return stage.once(name, work)


def nothing_right(count: int) -> ConfigError:
  """Returns what is said where all of `count` sampled solutions are wrong."""
  return ConfigError(
    f"none of the {count} sampled solutions is right, so there is nothing to"
    " imitate and nothing to reinforce: take an easier task or a better model,"
    " give worked examples, or warm up on demonstrations (sft.max_steps);"
    " scripts/preflight.py measures what a policy can do."
  )


def solutions(
  stage: stage_lib.Stage, names: Sequence[int | str]
) -> types.SupervisedBatch:
  """Returns the seed demonstrations and the right solutions of datasets.

  The seeds are those of the warm-up: none if it has no steps.
  """
  experiment = stage.experiment
  found = collect.load(stage, names)
  right = np.flatnonzero(np.asarray(found.outcome_reward) > 0)
  different = {
    (
      int(found.problem_id[row]),
      *found.completion[row, : found.completion_length[row]].tolist(),
    ): row
    for row in right
  }
  seeds = []
  if stage.config.sft.max_steps:
    seeds = [train_sft.demonstrations(stage)]
  if not different and not seeds:
    raise nothing_right(len(found.outcome_reward))
  if not different:
    return seeds[0]
  rows = list(different.values())
  cut = lambda x, size: [
    row[:n].tolist() for row, n in zip(x[rows], size[rows], strict=True)
  ]
  batch = batching.supervised_batch(
    cut(found.prompt, found.prompt_length),
    cut(found.completion, found.completion_length),
    experiment.prompt_size,
    experiment.completion_size,
  )
  mask = np.array(batch.loss_mask)
  forced = cut(found.forced_mask, found.completion_length)
  # What is selected and what is cut go row by row, so real tokens line up.
  mask[mask] = ~np.concatenate(forced)
  return batching.concatenate([*seeds, batch.replace(loss_mask=mask)])
