"""Accuracy against thinking tokens: the same policy, made to think so long.

Thinking is capped at every budget of a list, as in figure 1 of s1
(arXiv:2501.19393), which extends it too: that is up to the config's
`thinking.min_tokens` and `max_waits`.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from reasoning_rl.decoding import sampling
from reasoning_rl.evaluation import bootstrap
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import problem_batch
from reasoning_rl.pipelines import sampler as sampler_lib

NAME = "greedy"


def curves(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  policy: Any,
  per_problem: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
  """Measures greedy accuracy at each of `evaluate.thinking_budgets`.

  Args:
    experiment: The run.
    problems: What to solve.
    policy: Who thinks.
    per_problem: Gets each problem's accuracy, by name.

  Returns:
    Curves as in results.json; none without budgets.
  """
  points = []
  for budget in experiment.config.evaluate.thinking_budgets:
    found = _decode(_capped(experiment, budget), problems, policy)
    right, thinking, tokens = (np.concatenate(x) for x in found)
    per_problem[f"thinking {NAME}@{budget}"] = right
    points.append(
      {
        "budget": int(budget),
        "accuracy": bootstrap.mean_interval(right),
        "thinking_tokens": float(thinking.mean()),
        "policy_tokens": float(tokens.mean()),
      }
    )
  return [{"method": NAME, "points": points}] if points else []


def _capped(experiment, budget) -> experiment_lib.Experiment:
  """Returns the run with thinking of at most `budget` tokens."""
  config = copy.deepcopy(experiment.config)
  least = min(config.thinking.min_tokens, budget)
  config.thinking.update(max_tokens=budget, min_tokens=least)
  return dataclasses.replace(experiment, config=config)


def _decode(experiment, problems, policy):
  """Returns verdicts, thinking tokens and all tokens, piece by piece."""
  sampler = sampler_lib.Sampler(experiment, 1, sampling.GREEDY)
  rows = experiment.config.evaluate.rows
  found = []
  for index, keep in experiment.pieces(len(problems), rows):
    piece = sampler_lib.take_problems(problems, index)
    samples = sampler.sample(policy, experiment.rng(), piece)
    decoded = samples.decoded
    each = samples.outcome_reward, decoded.thinking_length, decoded.length
    found.append([np.asarray(x)[:keep] for x in each])
  return list(zip(*found, strict=True))
