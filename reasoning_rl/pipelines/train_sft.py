"""Supervised warm-up on the seed demonstrations, until it stops gaining.

The learning rate is held and then decays (arXiv:2404.06395). A small network
goes from solving nothing to solving most of what its demonstrations can teach
within a few dozen steps, at a time that chance decides. To stop between, the
decay may begin at a validation pass@1 and not only after a number of steps.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
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

NAME = "sft"
HELD = "sft_held"  # At the peak learning rate, before `NAME`.
# Training problems from here on are searched, and never demonstrated.
MAX_DEMONSTRATIONS = 500_000


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Runs the warm-up alone."""
  with stage_lib.open_stage(config, path) as stage:
    warm_up(stage)


def warm_up(stage: stage_lib.Stage) -> dict[str, Any]:
  """Trains the first policy; its checkpoints are `policy/sft`."""
  return stage.once(NAME, lambda: _warm_up(stage))


def _warm_up(stage: stage_lib.Stage) -> dict[str, Any]:
  config, experiment = stage.config.sft, stage.experiment
  source = demonstrations(stage)
  validation = _Validation(stage)
  held = config.optimizer.copy_and_resolve_references()
  decay = config.optimizer.copy_and_resolve_references()
  held.schedule, decay.warmup_steps = "constant", 0
  phases = (
    (HELD, held, config.held_steps, validation.reached),
    (NAME, decay, config.max_decay_steps, validation.plateaued),
  )
  params = experiment.policy.init(experiment.rng(stage_lib.STREAMS["init"]))
  for phase, (name, optimizer, num_steps, stop) in enumerate(phases):
    path = (stage_lib.STREAMS["sft"], phase)
    task = fit_lib.Fit(
      name=name,
      loss_fn=losses.supervised(experiment.policy),
      batch_at=batches.batch_fn(experiment, source, config.batch_size, *path),
      num_steps=num_steps,
      optimizer=optimizer,
      decay_steps=config.decay_steps,
      stop=stop,
    )
    params, notes = stage.fit(task, params, stage.policy_directory(name), *path)
    validation.go_on_from(notes["validation"])
  history = notes["validation"]
  return {
    "steps": history[-1][0],
    "validation_pass_at_1": history[-1][1],
    "validation": history,
    "demonstrations": config.demonstrations,
  }


def demonstrations(stage: stage_lib.Stage) -> types.SupervisedBatch:
  """Returns the seed demonstrations, of the first training problems."""
  experiment, count = stage.experiment, stage.config.sft.demonstrations
  if not 0 < count <= MAX_DEMONSTRATIONS:
    raise ConfigError(
      f"sft.demonstrations is {count}: give at least 1 and at most"
      f" {MAX_DEMONSTRATIONS}, since the problems beyond are searched."
    )
  task = experiment.task
  seeds = [task.problem("train", i) for i in range(count)]
  return batching.supervised_batch(
    [experiment.tokenizer.encode(problem.prompt) for problem in seeds],
    [
      experiment.encode_solution(task.demonstration(problem))
      for problem in seeds
    ],
    experiment.prompt_size,
    experiment.completion_size,
  )


def plateaued(history: Sequence[Sequence[float]], gain: float) -> bool:
  """Returns whether the last fifth of the steps gained less than `gain`.

  Args:
    history: (step, pass@1) of every validation.
    gain: Least difference of the best pass@1 in the last fifth to the best
      before it.
  """
  cut = 0.8 * history[-1][0]
  before = [value for step, value in history if step <= cut]
  after = [value for step, value in history if step > cut]
  return bool(before) and max(after) - max(before) < gain


class _Validation:
  """Measures sampled pass@1 on validation problems and says when to stop."""

  def __init__(self, stage: stage_lib.Stage):
    config = stage.config.sft
    self._stage, self._config = stage, config
    self._problems = stage.experiment.different_problems(
      "validation", 0, config.validation_problems
    )
    self._sampler = sampler_lib.Sampler(stage.experiment, 1)
    self._before: list[list[float]] = []

  def go_on_from(self, history: list[list[float]]) -> None:
    """Counts the steps that follow from the last of `history`."""
    self._before = history

  def reached(self, step: int, params: Any, notes: dict[str, Any]) -> bool:
    """Returns whether the learning rate has been held for long enough."""
    last = step == self._config.held_steps
    history = self._measured(step, params, notes, last)
    return bool(history) and history[-1][1] >= self._config.hold_until

  def plateaued(self, step: int, params: Any, notes: dict[str, Any]) -> bool:
    """Returns whether it has decayed, and pass@1 has stopped gaining."""
    last = step == self._config.max_decay_steps
    history = self._measured(step, params, notes, last)
    if not history or step < self._config.decay_steps:
      return False
    return plateaued(history, self._config.plateau_gain)

  def _measured(self, step, params, notes, last):
    """Validates if it is time; returns the history then, () otherwise."""
    if step % self._config.validate_every and not last:
      return ()
    step += int(self._before[-1][0]) if self._before else 0
    rng = self._stage.experiment.rng(stage_lib.STREAMS["validate"], step)
    samples = self._sampler.sample(params, rng, self._problems)
    pass_at_1 = float(np.mean(np.asarray(samples.outcome_reward)))
    notes.setdefault("validation", list(self._before))
    notes["validation"] = [*notes["validation"], [step, pass_at_1]]
    self._stage.progress.say(f"  sft step {step}: pass@1 {pass_at_1:.3f}")
    return notes["validation"]
