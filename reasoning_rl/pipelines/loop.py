"""The closed loop: warm-up, then collect, PRM, imitation and policy, repeated.

The last turn collects and labels once more, so that the PRM that searches at
test time, and the ORM it is compared with, know the final policy. Baselines
start from the same warm-up and make as many updates of as many rows.
"""

from __future__ import annotations

import pathlib

import jax
import ml_collections

from reasoning_rl.pipelines import (
  available,
  baselines,
  claims,
  collect,
  evaluate,
  imitate,
  train_policy,
  train_prm,
  train_sft,
)
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import stage as stage_lib


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Runs or continues the loop; the last line printed is the report's path."""
  with stage_lib.open_stage(config, path) as stage:
    print(run_stages(stage))


def run_stages(stage: stage_lib.Stage) -> pathlib.Path:
  """Runs every stage that is not finished; returns the report's path."""
  if stage.workdir.finished(evaluate.NAME):  # Needs no checkpoint any more.
    return stage.workdir.report_page
  evaluate.heldout_problems(stage)  # Refused now if there are too few.
  _check_learners(stage)
  train_sft.warm_up(stage)
  policies = [("warm-up", "loop", train_sft.NAME)]
  policy = stage.policy(train_sft.NAME)
  rounds = stage.config.loop.iterations
  for i in range(rounds):
    name = f"policy_{i}"
    found = collect.collect(stage, i, policy, policies[-1][2])
    # Before hours of training, and not after them.
    if i == 0 and not found["pass_at_1"] and not stage.config.sft.max_steps:
      raise imitate.nothing_right(found["trajectories"])
    seen = range(i + 1)
    train_prm.train(stage, f"prm_{i}", seen, policy)
    prm = train_prm.load(stage, f"prm_{i}")
    imitation = imitate.name_of(name)
    imitate.train(
      stage,
      imitation,
      i,
      lambda seen=seen: imitate.solutions(stage, seen),
      policy,
      stage.config.imitation.steps,
    )
    train_policy.train(stage, name, i, stage.policy(imitation), prm)
    policy = stage.policy(name)
    policies.append((claims.label_of(name), "loop", name))
  final = policies[-1][2]
  # The reward models that search are fresh, and learn from the same data.
  most = stage.config.collect.final_problems
  collect.collect(stage, rounds, policy, final, problems=most)
  everything = range(rounds + 1)
  reward_models = ["prm_final", *["orm_final"] * stage.config.loop.orm]
  for name in reward_models:
    train_prm.train(stage, name, everything, policy)
  policies += baselines.train(stage)
  models = available.Models(tuple(policies), final, *reward_models)
  return evaluate.evaluate(stage, models)


def _check_learners(stage: stage_lib.Stage) -> None:
  """Refuses now what a learner would refuse after all the sampling."""
  experiment, config = stage.experiment, stage.config
  steps = {name: config[name].steps for name in ("prm", "imitation", "rl")}
  for name, count in steps.items():
    settings = config[name].optimizer
    what = f"{name}.optimizer, for the {count} updates of {name}.steps,"
    fit_lib.optimizer_config(settings, count, count, what)
  sft = config.sft
  fit_lib.optimizer_config(
    sft.optimizer, sft.max_steps, sft.decay_steps, "sft.optimizer"
  )
  if sft.max_steps or any(steps.values()):
    shapes = jax.eval_shape(experiment.policy.init, jax.random.key(0))
    fit_lib.check_precision(shapes, experiment.adapters)
