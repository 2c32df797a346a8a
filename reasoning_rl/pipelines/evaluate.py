"""The final evaluation: the only reader of held-out problems.

What has to be chosen (the PRM's aggregation, its first-error threshold) is
chosen on validation problems; every read of the held-out ones is logged with
the config's hash.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from reasoning_rl.evaluation import bootstrap, results
from reasoning_rl.evaluation import report as report_lib
from reasoning_rl.pipelines import (
  available,
  claims,
  committed,
  fates,
  learning,
  measure,
  methods,
  problem_batch,
  trees,
)
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import quality as quality_lib
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines import thinking_curve as thinking_lib

AGGREGATIONS = ("min", "product", "last", "mean")
NAME = "evaluate"
PER_PROBLEM = "per_problem.json"  # Beside results.json; for `reproduce`.
_ORACLE_SAMPLES = 4  # Solutions per problem that the oracle judges.


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Evaluates what a finished or half-finished loop left in the workdir."""
  with stage_lib.open_stage(config, path) as stage:
    print(evaluate(stage, available.find(stage)))


def heldout_problems(stage: stage_lib.Stage) -> problem_batch.ProblemBatch:
  """Returns the problems to report on, all different; refuses too many."""
  config = stage.config.evaluate
  return stage.experiment.different_problems(
    "heldout", config.first_problem, config.problems, "evaluate.problems"
  )


def evaluate(stage: stage_lib.Stage, models: available.Models) -> pathlib.Path:
  """Measures everything, writes results.json and the report.

  Returns:
    The report's path.
  """
  # The loop does not take the evaluation of its start for its own.
  untrained = all(role == "start" for _, role, _ in models.policies)
  name = f"{NAME}_start" if untrained else NAME
  stage.once(name, lambda: _Evaluation(stage, models).run())
  return stage.workdir.report_page


class _Evaluation:
  """One evaluation; its methods are the parts of the report."""

  def __init__(self, stage: stage_lib.Stage, models: available.Models):
    self._stage, self._models = stage, models
    self._experiment = experiment = stage.experiment
    config = stage.config.evaluate
    self._budgets = tuple(config.budgets)
    self._solved = stage.config.task.name == "countdown"
    self._votes = config.search_answer == "vote" and not self._solved
    self._heldout = heldout_problems(stage)
    self._policies = {
      name: available.policy(stage, name) for _, _, name in models.policies
    }
    self._final = self._policies[models.final]
    self._prm = available.reward_model(stage, models.prm)
    self._orm = available.reward_model(stage, models.orm)
    # Without a PRM there is nothing to choose.
    self._validation = None
    if self._budgets and self._prm is not None:
      self._validation = experiment.different_problems(
        "validation",
        0,
        config.validation_problems,
        "evaluate.validation_problems",
      )
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
    measured = self._test_time()
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
      "thinking": thinking_lib.curves(
        self._experiment, self._heldout, self._final, self._per_problem
      ),
      **measured,
      "comparisons": claims.comparisons(
        self._per_problem, sorted(self._budgets)[-1:], self._solved
      ),
      "notes": self._notes,
    }
    self._write(found)
    kind = "sampled" if "sampled_pass_at_1" in stages[0] else "greedy"
    return {s["name"]: s[f"{kind}_pass_at_1"].mean for s in stages}

  def _test_time(self) -> dict[str, Any]:
    """Measures what more computation per problem gives."""
    found = {"curves": [], "committed": [], "prm_quality": [], "trees": []}
    if self._prm is None:
      self._say_no_prm()
    if not self._budgets:
      return found
    heldout = self._samples(self._heldout, 1)
    self._note(heldout.fates, "samples")
    if self._prm is None:
      how = self._stage.config.prm.aggregation
      return found | {"curves": self._sampling_curves(heldout, how)}
    how, validation = self._choose_aggregation()
    curves = self._sampling_curves(heldout, how)
    drawn = self._search_curves(heldout, how, curves)
    return {
      "curves": curves,
      "committed": self._committed(),
      "prm_quality": self._quality(validation, heldout),
      "trees": drawn,
    }

  def _say_no_prm(self) -> None:
    """Says what is not measured, and what to do about it."""
    sentence = "There is no PRM here: no weighted votes, no best-of-N"
    searches = ", ".join(self._stage.config.evaluate.methods)
    if self._budgets and searches:
      sentence += (
        f", no searches ({searches}). Name one with --config.inputs.prm=DIR, or"
        " have scripts/train_sft.py, collect.py and train_prm.py make one in"
        " this workdir first"
      )
    else:
      sentence += ", no searches"
    self._notes.append(f"{sentence}.")
    self._say(self._notes[-1])

  def _write(self, found: Mapping[str, Any]) -> None:
    report = self._stage.workdir.report
    results.write_results(report / "results.json", found)
    plain = {k: v.tolist() for k, v in self._per_problem.items()}
    (report / PER_PROBLEM).write_text(json.dumps(plain), encoding="utf-8")
    report_lib.write_report(
      report, found, found["trees"], learning.curves(self._stage)
    )

  def _stages(self) -> list[dict[str, Any]]:
    """Measures greedy and sampled pass@1 of every policy."""
    samplers = measure.pass_at_1_samplers(self._experiment)
    records = []
    for index, (label, role, name) in enumerate(self._models.policies):
      found = measure.pass_at_1(
        self._experiment,
        self._policies[name],
        self._heldout,
        samplers,
        self._rng(0),
      )
      record = {"name": label, "role": role}
      for kind, values in (
        ("greedy", found.greedy),
        ("sampled", found.sampled),
      ):
        if values is not None:
          self._per_problem[f"{kind}/{name}"] = values
          record[f"{kind}_pass_at_1"] = bootstrap.mean_interval(values)
          self._say(f"{label}: {kind} pass@1 {values.mean():.3f}")
      self._note(found.fates, f"greedy solutions by the {label}")
      if role == "loop":
        record["iteration"] = index
      records.append(record | learning.cost(self._stage.workdir, name))
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
    if self._votes:
      self._notes.append(
        "A search answers by vote, with each solution's score times its"
        " probability; the trees show the best-scored one."
      )
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
    votes = methods.votes(config.search_answer, method)
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
          experiment, self._heldout, pieces, how, self._solved, votes
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

  def _note(self, lost: fates.Fates, what: str) -> None:
    note = lost.note(what)
    if note:
      self._notes.append(note)

  def _say(self, text: str) -> None:
    self._stage.progress.say(f"  {text}")
