"""The project's claims, each held against its measurement, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reasoning_rl.evaluation import bootstrap, results

BASELINE_LABELS = {
  "demonstrations": "more supervised steps",
  "rejection": "rejection-sampling fine-tuning",
  "outcome": "loop without the PRM",
}


def label_of(name: str) -> str:
  """Returns what the report calls a policy of the loop."""
  if name == "sft":
    return "warm-up"
  return f"loop, iteration {int(name.removeprefix('policy_')) + 1}"


def checkpoint_of(label: str) -> str:
  """Returns the checkpoint name of a policy that the report calls `label`."""
  for name, said in BASELINE_LABELS.items():
    if label == said:
      return f"baseline_{name}"
  if label == "warm-up":
    return "sft"
  return f"policy_{int(label.rsplit(' ', 1)[1]) - 1}"


def comparisons(
  per_problem: Mapping[str, np.ndarray], budgets: Sequence[int], solved: bool
) -> list[dict[str, Any]]:
  """Returns the claims of the project, each held against its measurement.

  Args:
    per_problem: Accuracies [B] or [seeds, B] by name.
    budgets: Samples' worth at which methods are compared.
    solved: Whether a problem counts as solved by any right candidate.
  """
  claims = [
    (
      f"{a}@{budget}",
      f"{b}@{budget}",
      f"{budget} samples' worth of policy tokens",
    )
    for budget in budgets
    for a, b in _methods(solved)
  ]
  loops = [
    name
    for name in per_problem
    if name.startswith(("sampled/sft", "sampled/policy"))
  ]
  others = [n for n in per_problem if n.startswith("sampled/baseline_")]
  if loops:
    claims += [(loops[-1], other, "pass@1") for other in (loops[0], *others)]
  return [
    results.comparison(
      _spoken(a),
      _spoken(b),
      bootstrap.paired_difference(per_problem[a], per_problem[b]),
      setting,
    )
    for a, b, setting in claims
    if a in per_problem and b in per_problem and a != b
  ]


def _methods(solved: bool) -> list[tuple[str, str]]:
  """Returns which methods are claimed to be above which."""
  pairs = [
    ("weighted vote, PRM", "weighted vote, ORM"),
    ("weighted vote, ORM", "majority vote"),
    ("weighted vote, PRM", "majority vote"),
  ]
  bases = ("pass@k",) if solved else ("best-of-N, PRM", "weighted vote, PRM")
  return pairs + [
    (s, base) for s in ("beam, PRM", "mcts, PRM") for base in bases
  ]


def _spoken(name: str) -> str:
  """Returns what the report calls a measurement."""
  kind, _, policy = name.partition("/")
  if not policy:
    return name.split("@")[0] if "pass@k" not in name else "pass@k by sampling"
  label = BASELINE_LABELS.get(policy.removeprefix("baseline_"))
  return label or label_of(policy)
