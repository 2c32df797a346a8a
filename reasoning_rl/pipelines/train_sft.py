"""Supervised warm-up on the seed demonstrations, until it stops gaining."""

from __future__ import annotations

import pathlib
from typing import Any

import ml_collections
import numpy as np

from reasoning_rl import types
from reasoning_rl.data import batching
from reasoning_rl.pipelines import batches, losses
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base

NAME = "sft"
# Training problems from here on are searched, and never demonstrated.
MAX_DEMONSTRATIONS = 500_000


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Runs the warm-up alone."""
  with stage_lib.open_stage(config, path) as stage:
    warm_up(stage)


def warm_up(stage: stage_lib.Stage) -> dict[str, Any]:
  """Trains the first policy; its checkpoints are `policy/sft`.

  A warm-up of 0 steps keeps the policy as it is, for one that begins
  pretrained; nothing is demonstrated then.
  """
  config = stage.config.sft
  experiment = stage.experiment

  def work():
    batch_at = None
    if config.max_steps:
      batch_at = batches.batch_fn(
        experiment,
        demonstrations(stage),
        config.batch_size,
        stage_lib.STREAMS["sft"],
      )
    validate = _Validation(stage)
    params = stage.first_policy()
    task = fit_lib.Fit(
      name=NAME,
      loss_fn=losses.supervised(experiment.policy),
      batch_at=batch_at,
      num_steps=config.max_steps,
      optimizer=config.optimizer,
      decay_steps=config.decay_steps,
      stop=validate,
      adapters=experiment.adapters,
      accumulate=config.accumulate,
    )
    params, notes = stage.fit(
      task, params, stage.policy_directory(NAME), stage_lib.STREAMS["sft"]
    )
    if not config.max_steps:
      validate(0, params, notes)
    history = notes["validation"]
    return {
      "steps": history[-1][0],
      "validation_pass_at_1": history[-1][1],
      "validation": history,
      "demonstrations": config.demonstrations if config.max_steps else 0,
    }

  return stage.once(NAME, work)


def demonstrations(stage: stage_lib.Stage) -> types.SupervisedBatch:
  """Returns the seed demonstrations, of the first training problems."""
  experiment, count = stage.experiment, stage.config.sft.demonstrations
  task = experiment.task
  if not isinstance(task, task_base.Demonstrated):
    raise ConfigError(
      f"the task {task.name!r} has no demonstrations: start from a pretrained"
      " policy, set sft.max_steps to 0, and leave 'demonstrations' out of"
      " loop.baselines."
    )
  if not 0 < count <= MAX_DEMONSTRATIONS:
    raise ConfigError(
      f"sft.demonstrations is {count}: give at least 1 and at most"
      f" {MAX_DEMONSTRATIONS}, since the problems beyond are searched."
    )
  seeds = [task.problem("train", i) for i in range(count)]
  return batching.supervised_batch(
    [experiment.encode_prompt(problem) for problem in seeds],
    [
      experiment.encode_solution(task.demonstration(problem))
      for problem in seeds
    ],
    experiment.prompt_size,
    experiment.completion_size,
  )


def plateaued(
  history: list[list[float]], gain: float, least: float = 0.0
) -> bool:
  """Returns whether the last fifth of the steps gained less than `gain`.

  Before it has grasped the task at all a policy stands still as well: that is
  no plateau.

  Args:
    history: (step, pass@1) of every validation.
    gain: Least difference of the best pass@1 in the last fifth to the best
      before it.
    least: Pass@1 below which nothing has been learnt yet.
  """
  cut = 0.8 * history[-1][0]
  before = [value for step, value in history if step <= cut]
  after = [value for step, value in history if step > cut]
  if not before or not after:  # Before the first step there is no fifth.
    return False
  stands_still = max(after) - max(before) < gain
  return stands_still and history[-1][1] >= least


class _Validation:
  """Measures sampled pass@1 on validation problems and stops on a plateau."""

  def __init__(self, stage: stage_lib.Stage):
    config = stage.config.sft
    self._stage, self._config = stage, config
    self._problems = stage.experiment.different_problems(
      "validation",
      0,
      config.validation_problems,
      "sft.validation_problems",
    )
    self._sampler = sampler_lib.Sampler(stage.experiment, 1)

  def __call__(self, step: int, params: Any, notes: dict[str, Any]) -> bool:
    if step % self._config.validate_every and step < self._config.max_steps:
      return False
    rng = self._stage.experiment.rng(stage_lib.STREAMS["validate"], step)
    samples = self._sampler.sample(params, rng, self._problems)
    pass_at_1 = float(np.mean(np.asarray(samples.outcome_reward)))
    history = [*notes.get("validation", []), [step, pass_at_1]]
    notes["validation"] = history
    self._stage.progress.say(f"  sft step {step}: pass@1 {pass_at_1:.3f}")
    return step >= self._config.min_steps and plateaued(
      history, self._config.plateau_gain, self._config.min_pass_at_1
    )
