"""One problem searched in many ways, to be looked at in a notebook."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from reasoning_rl.decoding import expand
from reasoning_rl.evaluation import report_text, tree_view
from reasoning_rl.pipelines import available, collect, problem_batch, trees
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class Explorer:
  """A run's newest models and one problem.

  Attributes:
    experiment: The run.
    params: Of its policy and PRM.
    problems: The problem, as a batch of one.
    sample_tokens: Mean tokens of a sample, the unit of a budget.
  """

  experiment: experiment_lib.Experiment
  params: expand.SearchParams
  problems: problem_batch.ProblemBatch
  sample_tokens: float

  @property
  def prompt(self) -> str:
    """The problem, as the policy reads it."""
    return self.problems.problems[0].prompt

  def search(
    self,
    method: str,
    budget: int,
    stops: Sequence[int] = (),
    **changes: Any,
  ) -> list[tree_view.TreeView]:
    """Searches the problem and returns what is to be seen.

    Random numbers are the same each time: what differs between two searches is
    due to what was changed.

    Args:
      method: One of `search.METHODS`.
      budget: Samples' worth of policy tokens.
      stops: Budgets up to `budget` at which to look at the tree before the
        search goes on with it; the budget alone by default.
      **changes: Keys of the config's section `search`, such as `pb_c_init`.

    Returns:
      A tree for each stop.
    """
    if budget < 1:
      raise ConfigError(f"budget is {budget}: give at least 1.")
    experiment = self.experiment.with_search(**changes)
    searcher = search_lib.Searcher(
      experiment, search_lib.plan(experiment, method, budget)
    )
    stops = tuple(stops) or (budget,)
    asked = len(stops) > 1 or searcher.plan.budgeted
    limits = tuple(stop * self.sample_tokens for stop in stops if asked)
    rng = experiment.rng(stage_lib.STREAMS["solve"])
    every = searcher.search(self.params, rng, self.problems, limits)
    problem, how = self.problems.problems[0], experiment.config.prm.aggregation
    settings = "".join(f", {key} {value}" for key, value in changes.items())
    return [
      trees.view(
        experiment, problem, found, 0, f"{method} at {stop}{settings}", how
      )
      for stop, found in zip(stops, every, strict=True)
    ]


def load(
  config: ml_collections.ConfigDict, path: pathlib.Path, index: int = 0
) -> Explorer:
  """Returns the newest models of a workdir and a validation problem.

  Args:
    config: The config the workdir was made with.
    path: The workdir, with solutions of iteration 0, a policy, a PRM and an
      ORM in it.
    index: The problem. Held-out ones are for the final evaluation.
  """
  with stage_lib.open_stage(config, path) as stage:
    experiment, models = stage.experiment, available.find_with_prm(stage)
    params = experiment.search_params(
      available.policy(stage, models.final),
      available.reward_model(stage, models.prm),
    )
    tokens = float(np.mean(collect.load(stage, [0]).completion_length))
    problems = experiment.problems("validation", index, 1)
    return Explorer(experiment, params, problems, tokens)


def comparison(views: Sequence[tree_view.TreeView]) -> str:
  """Returns a table of searches: what each cost, and what came of it."""
  rows = [("search", "tokens", "PRM tokens", "thoughts", "complete", "answer")]
  for view in views:
    complete = [node for node in view.nodes if node.terminal]
    chosen = [node.correct for node in complete if node.chosen]
    verdict = {True: "right", False: "wrong", None: "?"}
    rows.append(
      (
        view.method,
        report_text.count(view.cost.policy_tokens),
        report_text.count(view.cost.prm_tokens),
        str(len(view.nodes) - 1),
        str(len(complete)),
        verdict[chosen[-1]] if chosen else "none",
      )
    )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if 0 < place < 5 else cell.ljust(width)
      for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  )
