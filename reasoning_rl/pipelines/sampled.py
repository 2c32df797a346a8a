"""What becomes of a policy's samples: right, mixed, cut off, unread."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool

from reasoning_rl.decoding import sampling
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import fates, problem_batch
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import stage as stage_lib


@dataclasses.dataclass(frozen=True)
class Sampled:
  """What became of some samples.

  Attributes:
    correct: The verifier's verdicts.
    truncated_mask: True where a sample found no end.
    unparsed_mask: True where it ended without a final answer.
    undecided_mask: True where the verifier does not know.
    tokens: Tokens of one sample, on average.
  """

  correct: Bool[np.ndarray, "B G"]
  truncated_mask: Bool[np.ndarray, "B G"]
  unparsed_mask: Bool[np.ndarray, "B G"]
  undecided_mask: Bool[np.ndarray, "B G"]
  tokens: float

  @property
  def mixed_mask(self) -> Bool[np.ndarray, " B"]:
    """True for problems with right and wrong samples."""
    return self.correct.any(axis=1) & ~self.correct.all(axis=1)


def measure(
  experiment: experiment_lib.Experiment,
  policy: Any,
  problems: problem_batch.ProblemBatch,
  rollouts: int,
  how: sampling.SamplingConfig | None = None,
) -> Sampled:
  """Returns what becomes of `rollouts` samples of every problem.

  Args:
    experiment: The run.
    policy: The policy's parameters.
    problems: The problems.
    rollouts: Samples of each, G.
    how: How tokens are chosen; by default as the config says.
  """
  found, decided = sampler_lib.Sampler(experiment, rollouts, how).verified(
    policy,
    experiment.rng(stage_lib.STREAMS["validate"], 0),
    problems,
    experiment.config.evaluate.rows,
  )
  lost = fates.of(experiment, found)
  group = lambda x: x.reshape(len(problems), rollouts)
  return Sampled(
    correct=group(np.asarray(found.outcome_reward) > 0),
    truncated_mask=group(lost.truncated_mask),
    unparsed_mask=group(lost.unparsed_mask),
    undecided_mask=group(~decided),
    tokens=float(np.mean(found.completion_length)),
  )


def greedy(
  experiment: experiment_lib.Experiment,
  policy: Any,
  problems: problem_batch.ProblemBatch,
) -> Sampled:
  """Returns what becomes of the likeliest completion of every problem."""
  return measure(experiment, policy, problems, 1, sampling.GREEDY)
