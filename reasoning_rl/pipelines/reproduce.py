"""The full tables: the main job under several seeds, merged into one report.

Problems are the same under every seed, so accuracies are averaged over the
seeds problem by problem, and intervals are over problems (DESIGN: "paired
bootstrap, clustered by problem over the seeds").
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from reasoning_rl.evaluation import bootstrap, results, tree_view
from reasoning_rl.evaluation import report as report_lib
from reasoning_rl.pipelines import claims, evaluate, loop

# Samples' worth at which methods are compared, beside the largest budget.
_COMPARED = 16
_COSTS = (
  "policy_tokens",
  "prm_tokens",
  "flops",
  "peak_cache_bytes",
  "seconds",
)


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Runs or continues every seed, then writes the merged report.

  Args:
    config: The main job's; `reproduce.seeds` replaces `seed`.
    path: Gets a workdir `seed_<n>` per seed, and `report/`.
  """
  folders = []
  for seed in config.reproduce.seeds:
    own = ml_collections.ConfigDict(config.to_dict())
    own.seed = seed
    folder = path / f"seed_{seed}"
    loop.run(own.lock(), folder)
    folders.append(folder)
  print(merge(config, folders, path / "report"))


def merge(
  config: ml_collections.ConfigDict,
  folders: Sequence[pathlib.Path],
  report: pathlib.Path,
) -> pathlib.Path:
  """Merges finished runs that differ in their seed alone.

  Args:
    config: The config they share.
    folders: Their workdirs.
    report: Where the merged results.json and report go.

  Returns:
    The report's path.
  """
  runs = [results.read_results(f / "report" / "results.json") for f in folders]
  values = _stack([_per_problem(folder) for folder in folders])
  first, budgets = runs[0], sorted(config.evaluate.budgets)
  merged = first | {
    "seeds": [seed for found in runs for seed in found["seeds"]],
    "seconds": sum(found["seconds"] for found in runs),
    "stages": [
      _stage(index, [found["stages"] for found in runs], values)
      for index in range(len(first["stages"]))
    ],
    "curves": [
      _curve(index, [found["curves"] for found in runs], values)
      for index in range(len(first["curves"]))
    ],
    "prm_quality": [
      quality | {"name": f"{quality['name']}, seed {found['seeds'][0]}"}
      for found in runs
      for quality in found["prm_quality"]
    ],
    "comparisons": claims.comparisons(
      values,
      [b for b in budgets if b in (_COMPARED, budgets[-1])],
      config.task.name == "countdown",
    ),
    "notes": [
      f"Seed {found['seeds'][0]}: {note}"
      for found in runs
      for note in found.get("notes", [])
    ],
  }
  results.write_results(report / "results.json", merged)
  trees = [tree_view.from_record(record) for record in first["trees"]]
  report_lib.write_report(report, merged, trees, ())
  (report / "table.md").write_text(table(merged), encoding="utf-8")
  return report / "index.html"


def _per_problem(folder: pathlib.Path) -> dict[str, np.ndarray]:
  text = (folder / "report" / evaluate.PER_PROBLEM).read_text("utf-8")
  return {k: np.asarray(v, np.float64) for k, v in json.loads(text).items()}


def _stack(runs: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  """Returns [seeds, B] per measurement that every run made."""
  shared = [k for k in runs[0] if all(k in run for run in runs)]
  return {k: np.stack([run[k] for run in runs]) for k in shared}


def _stage(index, stages, values) -> dict[str, Any]:
  """Returns one policy's record, its accuracies over all seeds."""
  record = dict(stages[0][index])
  name = claims.checkpoint_of(record["name"])
  for kind in ("greedy", "sampled"):
    if f"{kind}/{name}" in values:
      record[f"{kind}_pass_at_1"] = bootstrap.mean_interval(
        values[f"{kind}/{name}"]
      )
  for key in ("seconds", "train_tokens"):
    if key in record:
      record[key] = float(np.mean([run[index][key] for run in stages]))
  if "updates" in record:  # A warm-up ends when it stops gaining.
    record["updates"] = round(
      np.mean([run[index]["updates"] for run in stages])
    )
  return record


def _curve(index, curves, values) -> dict[str, Any]:
  """Returns one method's curve, its points over all seeds."""
  method = curves[0][index]["method"]
  points = []
  for place, point in enumerate(curves[0][index]["points"]):
    same = [run[index]["points"][place] for run in curves]
    accuracy = bootstrap.mean_interval(values[f"{method}@{point['budget']}"])
    means = {key: float(np.mean([p[key] for p in same])) for key in _COSTS}
    points.append({"budget": point["budget"], "accuracy": accuracy} | means)
  return {"method": method, "points": points}


def table(merged: Mapping[str, Any]) -> str:
  """Returns the results as Markdown, for the README."""
  plain = results.to_plain(merged)
  shown = lambda x: (
    f"{100 * x['mean']:.1f} [{100 * x['low']:.1f}, {100 * x['high']:.1f}]"
  )
  lines = ["| policy | greedy pass@1 | sampled pass@1 |", "| --- | --- | --- |"]
  lines += [
    f"| {s['name']} | {shown(s['greedy_pass_at_1'])}"
    f" | {shown(s['sampled_pass_at_1']) if 'sampled_pass_at_1' in s else '–'} |"
    for s in plain["stages"]
  ]
  budgets = [p["budget"] for c in plain["curves"][:1] for p in c["points"]]
  lines += ["", f"| method | {' | '.join(f'N={b}' for b in budgets)} |"]
  lines.append("| --- |" + " --- |" * len(budgets))
  for curve in plain["curves"]:
    at = {p["budget"]: shown(p["accuracy"]) for p in curve["points"]}
    cells = " | ".join(at.get(budget, "–") for budget in budgets)
    lines.append(f"| {curve['method']} | {cells} |")
  lines += ["", *(f"- {c['sentence']}" for c in plain["comparisons"])]
  return "\n".join(lines) + "\n"
