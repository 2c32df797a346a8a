"""What learning cost, and the curves it drew, from what a workdir keeps."""

from __future__ import annotations

from typing import Any

from reasoning_rl.evaluation import report_plots
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines import workdir as workdir_lib
from reasoning_rl.training import metrics as metrics_lib


def cost(workdir: workdir_lib.Workdir, name: str) -> dict[str, Any]:
  """Sums a policy's own updates, their seconds and the tokens they sampled.

  These are of the stage that bears its name and of those that led to it: its
  imitation and, of a baseline, its earlier iterations (`<name>_...`). What was
  collected, and the reward models, are stages of their own.
  """
  parts = [
    summary
    for stage, summary in workdir.stages().items()
    if stage == name or stage.startswith(f"{name}_")
  ]
  total = lambda key: sum(part.get(key, 0) for part in parts)
  cost = {"updates": total("steps"), "seconds": total("seconds")}
  tokens = total("sampled_tokens")
  return cost | ({"train_tokens": tokens} if tokens else {})


def curves(
  stage: stage_lib.Stage,
) -> list[report_plots.LearningCurve]:
  """Returns the curves that the learners' metrics draw."""
  panels = {
    "warm-up": ("sft", "loss", "loss"),
    "PRM": ("prm_", "accuracy", "accuracy"),
    "policy": ("policy_", "reward", "mean outcome reward"),
  }
  found = []
  for panel, (prefix, key, label) in panels.items():
    for directory in sorted(stage.workdir.metrics.glob(f"{prefix}*")):
      rows = [r for r in metrics_lib.read(directory) if key in r]
      if rows:
        found.append(
          report_plots.LearningCurve(
            f"{panel}: {label}",
            directory.name,
            tuple(r["step"] for r in rows),
            tuple(r[key] for r in rows),
          )
        )
  return found
