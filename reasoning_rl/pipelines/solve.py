"""Solves one problem from the command line: its answer, its tree, its cost."""

from __future__ import annotations

import pathlib

import ml_collections

from reasoning_rl.evaluation import tree_view
from reasoning_rl.pipelines import available, trees
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import verdicts as verdicts_lib


def run(
  config: ml_collections.ConfigDict,
  path: pathlib.Path,
  index: int,
  method: str,
  budget: int,
) -> None:
  """Solves held-out problem `index` with the workdir's newest models.

  Args:
    config: The config the workdir was made with.
    path: The workdir.
    index: The problem.
    method: One of `search.METHODS`.
    budget: Samples' worth of policy tokens.
  """
  if method not in search_lib.METHODS:
    raise ConfigError(
      f"--method is {method!r}; use one of {search_lib.METHODS}."
    )
  if budget < 1 or index < 0:
    raise ConfigError("--budget must be at least 1 and --problem at least 0.")
  with stage_lib.open_stage(config, path) as stage:
    _solve(stage, index, method, budget)


def _solve(stage, index, method, budget):
  experiment = stage.experiment
  models = available.find_with_prm(stage)
  policy = available.policy(stage, models.final)
  params = experiment.search_params(
    policy, available.reward_model(stage, models.prm)
  )
  problems = experiment.problems("heldout", index, 1)
  searcher = search_lib.Searcher(
    experiment, search_lib.plan(experiment, method, budget)
  )
  limits: tuple[float, ...] = ()
  if searcher.plan.budgeted:
    limits = (float(budget * experiment.completion_size),)
  found = searcher.search(
    params, experiment.rng(stage_lib.STREAMS["solve"]), problems, limits
  )[-1]
  how = stage.config.prm.aggregation
  problem = problems.problems[0]
  drawn = trees.view(experiment, problem, found, 0, method, how)
  print(tree_view.render_text(drawn, color=stage.progress.console.is_terminal))
  print(_verdict(experiment, problem, found, how))
  print(
    f"cost: {found.policy_tokens[0]} policy tokens, {found.prm_tokens[0]} PRM"
    f" tokens, {found.pool_bytes[0] / 1024:.0f} KiB of keys and values,"
    f" {found.seconds:.2f} s with compilation"
  )


def _verdict(
  experiment: experiment_lib.Experiment,
  problem: task_base.Problem,
  found: search_lib.Found,
  how: str,
) -> str:
  """Returns the answer in words; the checker is consulted for the reader."""
  path = trees.best_path(found.solutions[0], how)
  if not path:
    return "answer: none, no solution was completed: raise --budget"
  best = next(s for s in found.solutions[0] if s.nodes == path)
  text = experiment.completion_text(list(best.tokens))
  (verdict,) = verdicts_lib.judge_many(experiment.task, [problem], [text])
  right = "right" if verdict.is_correct else verdict.outcome
  return f"answer: {experiment.task.extract_answer(text)} ({right})"
