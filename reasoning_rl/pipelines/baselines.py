"""What the loop is measured against, from the same warm-up.

  demonstrations  more supervised steps on the seed demonstrations
  rejection       rejection-sampling fine-tuning: imitate the right samples
  outcome         the loop without the PRM: GRPO with outcome rewards

Each makes as many updates as the loop, on as many completions per update.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from reasoning_rl.pipelines import claims, losses, train_policy, train_sft
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.rl import advantages


def train(stage: stage_lib.Stage) -> list[tuple[str, str, str]]:
  """Trains the baselines that the config names; returns them as policies."""
  policies = []
  for name in stage.config.loop.baselines:
    if name not in claims.BASELINE_LABELS:
      raise ConfigError(
        f"loop.baselines names {name!r}; there are"
        f" {', '.join(claims.BASELINE_LABELS)}."
      )
    checkpoint = f"baseline_{name}"
    policy = stage.load(
      stage.experiment.policy, stage.policy_directory(train_sft.NAME)
    )
    if name == "demonstrations":
      _demonstrations(stage, checkpoint, policy)
    else:
      _reinforced(stage, checkpoint, policy, name)
    policies.append((claims.BASELINE_LABELS[name], "baseline", checkpoint))
  return policies


def _updates(stage: stage_lib.Stage) -> int:
  """Returns the updates that the loop makes."""
  return stage.config.loop.iterations * stage.config.rl.steps


def _demonstrations(stage, name: str, policy: Any) -> None:
  """Goes on with supervised steps, as many rows each as the loop's."""
  config, experiment = stage.config, stage.experiment
  rows = config.rl.problems_per_step * config.rl.rollouts
  source = train_sft.demonstrations(stage)

  def work():
    task = fit_lib.Fit(
      name=name,
      loss_fn=losses.supervised(experiment.policy),
      batch_at=train_sft.batch_fn(source, rows, config.seed + 1),
      num_steps=_updates(stage),
      optimizer=config.rl.optimizer,
    )
    path = (stage_lib.STREAMS["sft"], 1)
    stage.fit(task, policy, stage.policy_directory(name), *path)
    return {"steps": _updates(stage)}

  stage.once(name, work)


def _reinforced(stage, name: str, policy: Any, kind: str) -> None:
  """Learns from the final answers alone, on the loop's own problems."""
  credit = dataclasses.replace(
    advantages.CreditConfig(**stage.config.rl.credit), kind=kind
  )
  train_policy.train(
    stage, name, 0, policy, None, credit, num_steps=_updates(stage)
  )
