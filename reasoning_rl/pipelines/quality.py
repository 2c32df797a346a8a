"""How good a PRM is: its scores against an exact oracle's verdicts."""

from __future__ import annotations

import numpy as np

from reasoning_rl.evaluation import reward_quality
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import measure, problem_batch
from reasoning_rl.tasks import base as task_base

# What was sampled of some problems.
Sampled = tuple[problem_batch.ProblemBatch, measure.ScoredSamples]


def of_prm(
  experiment: experiment_lib.Experiment,
  validation: Sampled,
  heldout: Sampled,
  per_problem: int,
) -> tuple[reward_quality.RewardQuality | None, str]:
  """Measures the PRM against the oracle, which no training has seen.

  Args:
    experiment: The run.
    validation: Where the threshold is chosen.
    heldout: What is reported on.
    per_problem: Solutions per problem that the oracle judges.

  Returns:
    The measurements, or None and the reason in a sentence.
  """
  if not isinstance(experiment.task, task_base.Oracle):
    return None, (
      "PRM quality was not measured: there is no oracle of which thoughts are"
      f" right in {experiment.task.name}."
    )
  label = lambda sampled: _labels(experiment, *sampled, per_problem)
  quality = _measured("PRM", label(validation), label(heldout))
  if quality is None:
    return None, (
      "PRM quality was not measured: the validation solutions are all right"
      " or all wrong."
    )
  return quality, ""


def _labels(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  samples: measure.ScoredSamples,
  per_problem: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Returns PRM scores and the oracle's verdicts of the first samples.

  Returns:
    Scores, verdicts and mask [rows, T], and each row's problem id.
  """
  total = samples.correct.shape[1]
  scores, mask = samples.thought_scores, samples.thought_mask
  verdicts = np.zeros(mask.shape, bool)
  found = samples.trajectory
  for row in range(len(problems) * total):
    problem, which = divmod(row, total)
    if which >= per_problem:
      continue
    end = found.thought_end[row, : found.thought_count[row]]
    cuts = np.split(
      found.completion[row, : found.completion_length[row]], end + 1
    )
    thoughts = [
      experiment.completion_text(c.tolist()).removesuffix("\n") + "\n"
      for c in cuts[: len(end)]
    ]
    said = experiment.task.thought_correct(problems.problems[problem], thoughts)
    verdicts[problem, which, : len(said)] = said
  keep = lambda x: x[:, :per_problem].reshape(-1, x.shape[-1])
  ids = np.repeat(problems.problem_id, per_problem)
  return keep(scores), keep(verdicts), keep(mask), ids


def _measured(
  name: str, validation: tuple, heldout: tuple
) -> reward_quality.RewardQuality | None:
  """Measures a PRM on held-out solutions; its threshold is from validation.

  Returns:
    None where the validation solutions are all right or all wrong: there is
    then no threshold to choose.
  """
  scores, verdicts, mask, _ = validation
  right = np.all(verdicts | ~mask, axis=1)
  if right.all() or not right.any():
    return None
  threshold = reward_quality.choose_threshold(scores, verdicts, mask)
  scores, verdicts, mask, ids = heldout
  return reward_quality.measure(name, scores, verdicts, mask, ids, threshold)
