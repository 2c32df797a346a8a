"""What a tree search says when it must commit itself, and values mislead it.

Everywhere else a search answers by the scores of its solutions. Here it answers
with the path it has visited most, as a planner acts, and its values are mixed
with their opposites: with a miscalibrated value a plain PUCT search gets worse
as its budget grows (arXiv:2603.21162).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from reasoning_rl.decoding import expand
from reasoning_rl.evaluation import bootstrap, results
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import measure, problem_batch
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.search import extract

METHODS = ("mcts", "gumbel")


def curves(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  params: expand.SearchParams,
  rng: Any,
  budgets: Sequence[int],
  errors: Sequence[float],
) -> tuple[list[dict[str, Any]], dict[str, Float[np.ndarray, " B"]]]:
  """Measures "mcts" and "gumbel" by what they visit most.

  Both make the same number of passes with as many candidates, and visit
  complete solutions again, as planners do.

  Args:
    experiment: The run.
    problems: What to solve.
    params: Of the policy and the PRM.
    rng: Of the searches.
    budgets: Samples' worth of tokens, at most.
    errors: Of `search.value_error`.

  Returns:
    Curves as in results.json, and each problem's accuracy by name.
  """
  records, per_problem = [], {}
  for error in errors:
    wrong = experiment.with_search(value_error=error, skip_exhausted=False)
    for method in METHODS:
      name, points = f"{method}, value error {error:g}", []
      for budget in _paid(wrong, budgets):
        values, cost = _point(wrong, problems, params, rng, method, budget)
        per_problem[f"committed {name}@{budget}"] = values
        points.append(
          results.curve_point(budget, bootstrap.mean_interval(values), cost)
        )
      records.append({"method": name, "points": points})
  return records, per_problem


def _paid(experiment, budgets) -> list[int]:
  """Returns the budgets that pay for two solutions of a tree."""
  plan = lambda budget: search_lib.plan(experiment, "gumbel", budget)
  return [b for b in budgets if b >= 2 * plan(b).candidates > 2]


def _point(experiment, problems, params, rng, method, budget):
  """Returns each problem's accuracy at one budget, and the mean cost."""
  plan = search_lib.plan(experiment, method, budget)
  gumbel = search_lib.plan(experiment, "gumbel", budget)
  plan = dataclasses.replace(plan, passes=gumbel.rules.rule.num_simulations + 1)
  searcher = search_lib.Searcher(experiment, plan)
  (pieces,) = search_lib.search_pieces(
    searcher, params, rng, problems, experiment.config.evaluate.rows
  )
  by_id: dict[int, float] = {}
  by_number = dict(
    zip(problems.problem_id.tolist(), problems.problems, strict=True)
  )
  for piece in pieces:
    chosen = np.asarray(extract.best_solution(piece.tree, "visits")).tolist()
    for row, key in enumerate(piece.tree.problem_id.tolist()):
      path = extract.path_to(piece.tree, row, chosen[row])
      found = [s for s in piece.solutions[row] if s.nodes == path]
      by_id[key] = measure.judge(
        experiment, by_number[key], found, [0.0] * len(found), True
      )
  values = np.array([by_id[key] for key in problems.problem_id.tolist()])
  _, cost = measure.search_point(experiment, problems, pieces, "last", True)
  return values, cost
