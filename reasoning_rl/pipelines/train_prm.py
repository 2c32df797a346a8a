"""Learns the process reward model, and the outcome reward model beside it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from reasoning_rl import types
from reasoning_rl.data import batching, records
from reasoning_rl.labels import monte_carlo
from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import (
  batches,
  collect,
  frozen_trunk,
  losses,
  train_sft,
)
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Trains a PRM and an ORM alone, on all trajectories of the workdir."""
  with stage_lib.open_stage(config, path) as stage:
    iterations = _collected(stage)
    policy = stage.input_policy(train_sft.NAME)
    train(stage, "prm_0", iterations, policy)
    train(stage, "orm_0", iterations, policy)


def train(
  stage: stage_lib.Stage,
  name: str,
  iterations: Sequence[int],
  policy: Any,
) -> dict[str, Any]:
  """Trains a reward model; its checkpoints are `prm/<name>`.

  Args:
    stage: The run.
    name: "prm_..." or "orm_...".
    iterations: Whose trajectories to learn from.
    policy: The policy that it starts as, under a fresh head.
  """
  return stage.once(name, lambda: _train(stage, name, iterations, policy))


def _train(stage, name, iterations, policy):
  experiment, config = stage.experiment, stage.config.prm
  is_prm = name.startswith("prm")
  network = experiment.prm if is_prm else experiment.orm
  found = labelled(stage, iterations)
  stream = stage_lib.STREAMS["prm" if is_prm else "orm"]
  start = from_policy(
    network, policy, experiment.rng(stream), experiment.has_base
  )
  on_policy = is_prm and experiment.shared_trunk
  num_steps = config.steps if is_prm else config.orm_steps or config.steps
  states = None
  if on_policy and num_steps:
    states = frozen_trunk.thought_states(experiment, start, found)
    start = frozen_trunk.standardized(
      start, states, found.label_mask, found.thought_count
    )
  loss_fn, batch_at = _lessons(experiment, network, found, stream, states)
  task = fit_lib.Fit(
    name=name,
    loss_fn=loss_fn,
    batch_at=batch_at,
    num_steps=num_steps,
    optimizer=config.optimizer,
    # On a shared trunk the policy must stay what it is. Its adapters are saved
    # beside the head all the same: they belong to the policy that is scored.
    trainable=r"thought_head/.*" if on_policy else None,
    adapters=experiment.adapters,
    accumulate=config.accumulate,
  )
  stage.fit(task, start, stage.prm_directory(name), stream)
  return {
    "steps": num_steps,
    "trajectories": len(found.problem_id),
    "labels": int(found.label_mask.sum()),
    "label_mean": float(found.labels[found.label_mask].mean()),
  }


def _lessons(experiment, network, found, stream, states):
  """Returns the loss of a reward model and its batches, drawn by a stream."""
  batch_size = experiment.config.prm.batch_size
  if states is not None and frozen_trunk.applies(experiment):
    source = types.ThoughtStates(
      states=states, labels=found.labels, label_mask=found.label_mask
    )
    rows = batches.row_fn(experiment, source, batch_size, stream)
    return losses.thought_head(network), rows
  source = batching.thought_labels(found)
  is_prm = stream == stage_lib.STREAMS["prm"]
  make_loss = losses.thought if is_prm else losses.outcome
  rows = batches.batch_fn(experiment, source, batch_size, stream)
  return make_loss(network), rows


def from_policy(
  network: network_lib.Network,
  policy: Any,
  rng: jax.Array,
  is_large: bool = False,
) -> Any:
  """Returns the policy's trunk and language head, and fresh other heads.

  Args:
    network: The reward model.
    policy: The policy's parameters.
    rng: Consumed.
    is_large: Make nothing but what the policy lacks; other numbers for the
      same `rng`.
  """
  fresh = {f"{head}_head" for head in network_lib.SCALAR_HEADS}
  kept = {k: v for k, v in policy.items() if k not in fresh}
  if is_large:
    wanted = jax.eval_shape(network.init, rng)
    return network.complete(rng, {k: kept[k] for k in kept if k in wanted})
  return network_lib.graft(kept, network.init(rng))


def labelled(
  stage: stage_lib.Stage, iterations: Sequence[int]
) -> types.Trajectory:
  """Returns the solutions of some iterations that have labels.

  Labels are hard or soft, and reach as far, and the iterations are all or the
  newest, as the config says.
  """
  config = stage.config.prm
  if config.iterations == "newest":
    iterations = [max(iterations)]
  found = collect.load(stage, iterations)
  labels, mask = found.labels, found.label_mask
  if config.outcomes:
    labels, mask = monte_carlo.from_outcome(
      labels, mask, found.thought_count, found.outcome_reward
    )
  if config.label == "hard":
    labels = monte_carlo.hard_labels(labels, mask, found.outcome_reward)
  if config.until_first_error:
    mask = monte_carlo.until_first_error(labels, mask)
  found = found.replace(labels=np.asarray(labels), label_mask=np.asarray(mask))
  found = batching.take(found, np.asarray(mask).any(axis=1))
  if not len(found.problem_id):
    raise ConfigError(
      "no thought has a label: raise collect.labelled, or set prm.outcomes"
    )
  return found


def _collected(stage) -> list[int]:
  """Returns the iterations whose trajectories are complete."""
  root = stage.workdir.trajectories_root
  names = [p.name for p in root.iterdir()] if root.exists() else []
  found = sorted(int(n) for n in names if n.isdigit())
  if not found:
    raise records.TrajectoryFileError(
      f"there are no trajectories in {root}: run scripts/collect.py with the"
      " same workdir first."
    )
  return found


def load(stage: stage_lib.Stage, name: str) -> Any:
  """Returns the parameters of a trained PRM or ORM."""
  is_prm = name.startswith("prm")
  network = stage.experiment.prm if is_prm else stage.experiment.orm
  return stage.load(network, stage.prm_directory(name))
