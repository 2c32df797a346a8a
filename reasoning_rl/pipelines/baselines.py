"""What the loop is measured against, from the same warm-up.

  demonstrations  more supervised steps on the seed demonstrations
  rejection       rejection-sampling fine-tuning: imitate the right samples
  outcome         the loop without the PRM: GRPO with outcome rewards

Each makes as many updates as the loop, on as many completions per update, and
the last two sample as many solutions.
"""

from __future__ import annotations

import dataclasses

from reasoning_rl.pipelines import (
  claims,
  collect,
  imitate,
  train_policy,
  train_sft,
)
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
    if name == "demonstrations":
      _demonstrations(stage)
    else:
      _without_prm(stage, name)
    policies.append((claims.BASELINE_LABELS[name], "baseline", _final(name)))
  return policies


def _final(name: str) -> str:
  return f"baseline_{name}"


def _demonstrations(stage: stage_lib.Stage) -> None:
  """Goes on with supervised steps, as many as the loop's updates."""
  config = stage.config
  each = config.imitation.steps + config.rl.steps
  imitate.train(
    stage,
    _final("demonstrations"),
    0,
    lambda: train_sft.demonstrations(stage),
    stage.policy(train_sft.NAME),
    config.loop.iterations * each,
  )


def _without_prm(stage: stage_lib.Stage, kind: str) -> None:
  """Runs the loop's iterations on the final answers alone.

  "rejection" spends the updates of policy learning on imitation as well.
  """
  config, rounds = stage.config, stage.config.loop.iterations
  credit = dataclasses.replace(
    advantages.CreditConfig(**config.rl.credit), kind="outcome"
  )
  is_outcome = kind == "outcome"
  steps = config.imitation.steps + (0 if is_outcome else config.rl.steps)
  weights, datasets = train_sft.NAME, []
  for i in range(rounds):
    # The first dataset is the warm-up's, and so the loop's own.
    dataset = f"{kind}_{i}" if i else "0"
    if i:
      collect.collect(
        stage, i, stage.policy(weights), weights, dataset, labelled=0
      )
    datasets.append(dataset)
    final = _final(kind) if i == rounds - 1 else f"{_final(kind)}_{i}"
    imitation = imitate.name_of(final) if is_outcome else final
    imitate.train(
      stage,
      imitation,
      i,
      lambda: imitate.solutions(stage, datasets),
      stage.policy(weights),
      steps,
    )
    if is_outcome:
      train_policy.train(stage, final, i, stage.policy(imitation), None, credit)
    weights = final
