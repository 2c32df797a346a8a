"""The final evaluation: the only reader of held-out problems.

What has to be chosen (the PRM's aggregation, its first-error threshold) is
chosen on validation problems; every read of the held-out ones is logged with
the config's hash.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from reasoning_rl.evaluation import bootstrap, report_plots, results
from reasoning_rl.evaluation import report as report_lib
from reasoning_rl.pipelines import claims, committed, measure, train_prm, trees
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import quality as quality_lib
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines import thinking_curve as thinking_lib
from reasoning_rl.pipelines import workdir as workdir_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.training import metrics as metrics_lib

AGGREGATIONS = ("min", "product", "last", "mean")
NAME = "evaluate"
PER_PROBLEM = "per_problem.json"  # Beside results.json; for `reproduce`.
_ORACLE_SAMPLES = 4  # Solutions per problem that the oracle judges.


@dataclasses.dataclass(frozen=True)
class Models:
  """What is evaluated.

  Attributes:
    policies: (label, role, checkpoint name) of every policy, in order.
    final: Checkpoint name of the policy that searches.
    prm: Name of the PRM.
    orm: Name of the ORM.
  """

  policies: tuple[tuple[str, str, str], ...]
  final: str
  prm: str
  orm: str


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Evaluates what a finished or half-finished loop left in the workdir."""
  with stage_lib.open_stage(config, path) as stage:
    print(evaluate(stage, available(stage)))


def available(stage: stage_lib.Stage) -> Models:
  """Returns the finished policies and the newest PRM and ORM of the workdir."""
  finished = [
    name
    for name in ("sft", *(f"policy_{i}" for i in range(1000)))
    if stage.workdir.finished(name)
  ]
  newest = [
    max(
      (
        p for p in stage.workdir.prm_checkpoints.glob(f"{kind}_*") if p.is_dir()
      ),
      key=lambda p: p.stat().st_mtime,
      default=None,
    )
    for kind in ("prm", "orm")
  ]
  if not finished or None in newest:
    raise ConfigError(
      f"{stage.workdir.path} has no policy, PRM or ORM to evaluate: run"
      " scripts/run_loop.py, or train_sft.py, collect.py and train_prm.py,"
      " with this workdir first."
    )
  baselines = [
    (label, "baseline", f"baseline_{name}")
    for name, label in claims.BASELINE_LABELS.items()
    if stage.workdir.finished(f"baseline_{name}")
  ]
  loop = [(claims.label_of(name), "loop", name) for name in finished]
  return Models(
    tuple(loop + baselines), finished[-1], newest[0].name, newest[1].name
  )


def heldout_problems(stage: stage_lib.Stage) -> experiment_lib.ProblemBatch:
  """Returns the problems to report on, all different; refuses too many."""
  config = stage.config.evaluate
  return stage.experiment.different_problems(
    "heldout", config.first_problem, config.problems
  )


def evaluate(stage: stage_lib.Stage, models: Models) -> pathlib.Path:
  """Measures everything, writes results.json and the report.

  Returns:
    The report's path.
  """
  stage.once(NAME, lambda: _Evaluation(stage, models).run())
  return stage.workdir.report_page


class _Evaluation:
  """One evaluation; its methods are the parts of the report."""

  def __init__(self, stage: stage_lib.Stage, models: Models):
    self._stage, self._models = stage, models
    self._experiment = experiment = stage.experiment
    config = stage.config.evaluate
    self._budgets = tuple(config.budgets)
    self._solved = stage.config.task.name == "countdown"
    self._heldout = heldout_problems(stage)
    self._validation = experiment.different_problems(
      "validation", 0, config.validation_problems
    )
    self._policies = {
      name: stage.policy(name) for _, _, name in models.policies
    }
    self._final = self._policies[models.final]
    self._prm = train_prm.load(stage, models.prm)
    self._orm = train_prm.load(stage, models.orm)
    self._per_problem: dict[str, np.ndarray] = {}
    self._notes: list[str] = []
    self._log_read()

  def _log_read(self) -> None:
    """Logs that held-out problems are read, and under which config."""
    line = {
      "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
      "config_hash": config_lib.config_hash(self._stage.config),
      "first_problem": self._stage.config.evaluate.first_problem,
      "problems": len(self._heldout),
    }
    path = self._stage.workdir.path / "heldout_reads.jsonl"
    with path.open("a", encoding="utf-8") as file:
      file.write(json.dumps(line) + "\n")

  def _rng(self, *path: int):
    return self._experiment.rng(stage_lib.STREAMS["evaluate"], *path)

  def run(self) -> dict[str, Any]:
    """Measures, writes and returns the headline numbers."""
    begin = time.monotonic()
    stages = self._stages()
    how, validation = self._choose_aggregation()
    heldout = self._samples(self._heldout, 1)
    curves = self._sampling_curves(heldout, how)
    drawn = self._search_curves(heldout, how, curves)
    found = {
      "schema": 1,
      "task": self._experiment.task.name,
      "commit": results.current_commit(),
      "config_hash": config_lib.config_hash(self._stage.config),
      "hardware": results.hardware(),
      "seeds": [self._stage.config.seed],
      "heldout_problems": len(self._heldout),
      "seconds": time.monotonic() - begin,
      "stages": stages,
      "curves": curves,
      "committed": self._committed(),
      "thinking": thinking_lib.curves(
        self._experiment, self._heldout, self._final, self._per_problem
      ),
      "prm_quality": self._quality(validation, heldout),
      "comparisons": claims.comparisons(
        self._per_problem, max(self._budgets), self._solved
      ),
      "trees": drawn,
      "notes": self._notes,
    }
    self._write(found)
    return {s["name"]: s["sampled_pass_at_1"].mean for s in stages}

  def _write(self, found: Mapping[str, Any]) -> None:
    report = self._stage.workdir.report
    results.write_results(report / "results.json", found)
    plain = {k: v.tolist() for k, v in self._per_problem.items()}
    (report / PER_PROBLEM).write_text(json.dumps(plain), encoding="utf-8")
    report_lib.write_report(
      report, found, found["trees"], learning_curves(self._stage)
    )

  def _stages(self) -> list[dict[str, Any]]:
    """Measures greedy and sampled pass@1 of every policy."""
    samplers = measure.pass_at_1_samplers(self._experiment)
    records = []
    for index, (label, role, name) in enumerate(self._models.policies):
      greedy, sampled = measure.pass_at_1(
        self._experiment,
        self._policies[name],
        self._heldout,
        samplers,
        self._rng(0),
      )
      self._per_problem[f"greedy/{name}"] = greedy
      self._per_problem[f"sampled/{name}"] = sampled
      record = {
        "name": label,
        "role": role,
        "greedy_pass_at_1": bootstrap.mean_interval(greedy),
        "sampled_pass_at_1": bootstrap.mean_interval(sampled),
      } | learning_cost(self._stage.workdir, name)
      if role == "loop":
        record["iteration"] = index
      records.append(record)
      self._say(f"{label}: pass@1 {sampled.mean():.3f}")
    return records

  def _samples(self, problems, stream) -> measure.ScoredSamples:
    return measure.score_samples(
      self._experiment,
      self._final,
      self._prm,
      self._orm,
      problems,
      max(self._budgets),
      self._rng(1, stream),
    )

  def _choose_aggregation(self) -> tuple[str, measure.ScoredSamples]:
    """Chooses how thought scores become a solution's, on validation."""
    samples = self._samples(self._validation, 0)
    if self._solved:
      return self._stage.config.prm.aggregation, samples
    budget = max(self._budgets)
    curve = lambda how: measure.voting_curves(samples, [budget], how, False)
    accuracy = {
      how: curve(how)["weighted vote, PRM"][budget].mean()
      for how in AGGREGATIONS
    }
    best = max(accuracy, key=accuracy.get)
    shown = ", ".join(f"{k} {v:.3f}" for k, v in accuracy.items())
    self._notes.append(
      f"PRM aggregation chosen on validation (weighted vote at {budget}):"
      f" {best} ({shown})."
    )
    return best, samples

  def _sampling_curves(self, samples, how) -> list[dict[str, Any]]:
    """Measures what voting and the reward models make of samples."""
    curves = []
    for name, at in measure.voting_curves(
      samples, self._budgets, how, self._solved
    ).items():
      reader = self._experiment.prm if "PRM" in name else None
      reader = self._experiment.orm if "ORM" in name else reader
      points = []
      for budget, values in at.items():
        self._per_problem[f"{name}@{budget}"] = values
        cost = measure.sampling_cost(self._experiment, samples, budget, reader)
        points.append(
          results.curve_point(budget, bootstrap.mean_interval(values), cost)
        )
      curves.append({"method": name, "points": points})
      self._say(f"{name}: {at[max(at)].mean():.3f} at {max(at)}")
    return curves

  def _search_curves(self, samples, how, curves) -> list[Any]:
    """Measures each search at every budget; returns trees to draw."""
    drawn = []
    for method in self._stage.config.evaluate.methods:
      at = self._search(method, samples, how)
      points = []
      for budget, (values, cost, _) in at.items():
        self._per_problem[f"{method}, PRM@{budget}"] = values
        points.append(
          results.curve_point(budget, bootstrap.mean_interval(values), cost)
        )
        if cost.policy_tokens > 1.02 * samples.mean_tokens * budget:
          self._notes.append(
            f"{method} at {budget} used {cost.policy_tokens:.0f} policy tokens"
            f" per problem, sampling {samples.mean_tokens * budget:.0f}."
          )
      if not at:
        self._notes.append(f"{method} was not run: no budget pays for it.")
        continue
      curves.append({"method": f"{method}, PRM", "points": points})
      values, _, pieces = at[max(at)]
      self._say(f"{method}: {values.mean():.3f} at {max(at)}")
      drawn += trees.views(
        self._experiment,
        self._heldout,
        pieces[0],
        method,
        how,
        self._stage.config.evaluate.trees,
      )
    return drawn

  def _searched_with(self):
    """Returns the parameters and the rng of every search."""
    params = self._experiment.search_params(self._final, self._prm)
    return params, self._experiment.rng(stage_lib.STREAMS["search"])

  def _committed(self) -> list[dict[str, Any]]:
    """Measures what two searches visit most under each error of values."""
    errors = tuple(self._stage.config.evaluate.value_errors)
    arguments = (*self._searched_with(), self._budgets, errors)
    curves, per_problem = committed.curves(
      self._experiment, self._heldout, *arguments
    )
    self._per_problem |= per_problem
    return curves

  def _search(self, method, samples, how):
    """Returns accuracy, cost and finds of a method by budget."""
    experiment, config = self._experiment, self._stage.config.evaluate
    params, rng = self._searched_with()
    at, each = {}, (samples.mean_tokens, samples.mean_thoughts)
    for budgets, limits in search_lib.runs(
      experiment, method, self._budgets, *each
    ):
      searcher = search_lib.Searcher(
        experiment, search_lib.plan(experiment, method, max(budgets))
      )
      by_budget = search_lib.search_pieces(
        searcher, params, rng, self._heldout, config.rows, limits
      )
      for budget, pieces in zip(budgets, by_budget, strict=True):
        values, cost = measure.search_point(
          experiment, self._heldout, pieces, how, self._solved
        )
        at[budget] = (values, cost, pieces)
    return at

  def _quality(self, validation, heldout):
    """Measures the PRM against the oracle, which no training has seen."""
    found, why_not = quality_lib.of_prm(
      self._experiment,
      (self._validation, validation),
      (self._heldout, heldout),
      min(_ORACLE_SAMPLES, max(self._budgets)),
    )
    if found is None:
      self._notes.append(why_not)
    return [] if found is None else [found]

  def _say(self, text: str) -> None:
    self._stage.progress.say(f"  {text}")


def learning_cost(workdir: workdir_lib.Workdir, name: str) -> dict[str, Any]:
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


def learning_curves(
  stage: stage_lib.Stage,
) -> list[report_plots.LearningCurve]:
  """Returns the curves that the learners' metrics draw."""
  panels = {
    "warm-up": ("sft", "loss", "loss"),
    "PRM": ("prm_", "accuracy", "accuracy"),
    "policy": ("policy_", "reward", "mean outcome reward"),
  }
  curves = []
  for panel, (prefix, key, label) in panels.items():
    for directory in sorted(stage.workdir.metrics.glob(f"{prefix}*")):
      rows = [r for r in metrics_lib.read(directory) if key in r]
      if rows:
        curves.append(
          report_plots.LearningCurve(
            f"{panel}: {label}",
            directory.name,
            tuple(r["step"] for r in rows),
            tuple(r[key] for r in rows),
          )
        )
  return curves
