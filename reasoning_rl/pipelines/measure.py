"""Measurements on problems: samples with scores, search curves, PRM quality."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from reasoning_rl import masking, types
from reasoning_rl.decoding import sampling, scoring
from reasoning_rl.evaluation import accounting, accuracy
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.prm import aggregate
from reasoning_rl.search import extract
from reasoning_rl.tasks import verdicts as verdicts_lib

# Where a budget is smaller than the samples there are, its accuracy is the mean
# over this many random subsets of them.
_SUBSETS = 32


@dataclasses.dataclass(frozen=True)
class ScoredSamples:
  """Independent samples of some problems, with every score they got.

  Attributes:
    trajectory: The samples, B · n rows.
    answers: Final answers, per problem.
    correct: The verifier's verdicts.
    thought_scores: PRM score of each thought.
    outcome_scores: ORM score of each sample.
    seconds: Wall time of sampling one solution.
  """

  trajectory: types.Trajectory
  answers: list[list[str | None]]
  correct: Bool[np.ndarray, "B G"]
  thought_scores: Float[np.ndarray, "B G T"]
  outcome_scores: Float[np.ndarray, "B G"]
  seconds: float

  @property
  def thought_mask(self) -> Bool[np.ndarray, "B G T"]:
    """True at real thoughts."""
    shape = self.thought_scores.shape
    count = self.trajectory.thought_count.reshape(shape[:2])
    return np.asarray(masking.length_mask(count, shape[2]))

  @property
  def mean_tokens(self) -> float:
    """Policy tokens of one sample, on average."""
    return float(np.mean(self.trajectory.completion_length))

  @property
  def mean_thoughts(self) -> float:
    """Thoughts of one sample, on average."""
    return float(np.mean(self.trajectory.thought_count))

  def solution_scores(self, how: str) -> Float[np.ndarray, "B G"]:
    """Returns the PRM's aggregated score of every sample."""
    return np.asarray(
      aggregate.aggregate(self.thought_scores, self.thought_mask, how)
    )


class Scorer:
  """Scores stored solutions with the PRM and the ORM."""

  def __init__(self, experiment: experiment_lib.Experiment):
    """Prepares scoring.

    Args:
      experiment: The run.
    """
    self._experiment = experiment
    self._score = experiment.map_problems(self._score_fn, 2)

  def _score_fn(self, prm, orm, prompt, prompt_length, rows, length, end):
    experiment = self._experiment
    thought = scoring.completion_thought_logits(
      experiment.prm, prm, prompt, prompt_length, rows, end
    )
    outcome = scoring.completion_outcome_logits(
      experiment.orm, orm, prompt, prompt_length, rows, length
    )
    return jax.nn.sigmoid(thought), jax.nn.sigmoid(outcome)

  def scores(
    self, prm: Any, orm: Any, found: types.Trajectory, group: int, rows: int
  ) -> tuple[Float[np.ndarray, "B G T"], Float[np.ndarray, "B G"]]:
    """Returns each thought's and each solution's score, in pieces of `rows`."""
    problems = len(found.outcome_reward) // group
    grouped = lambda x: x.reshape(problems, group, *x.shape[1:])
    thought, outcome = [], []
    for index, keep in self._experiment.pieces(problems, rows // group):
      t, o = self._score(
        prm,
        orm,
        grouped(found.prompt)[index, 0],
        grouped(found.prompt_length)[index, 0],
        grouped(found.completion)[index],
        grouped(found.completion_length)[index],
        grouped(found.thought_end)[index],
      )
      thought.append(np.asarray(t)[:keep])
      outcome.append(np.asarray(o)[:keep])
    return np.concatenate(thought), np.concatenate(outcome)


def score_samples(
  experiment: experiment_lib.Experiment,
  policy: Any,
  prm: Any,
  orm: Any,
  problems: experiment_lib.ProblemBatch,
  count: int,
  rng: jax.Array,
) -> ScoredSamples:
  """Samples `count` solutions of every problem and scores them all."""
  rows = experiment.config.evaluate.rows
  begin = time.monotonic()
  sampler = sampler_lib.Sampler(experiment, count)
  found = sampler.trajectories(policy, rng, problems, rows)
  seconds = (time.monotonic() - begin) / (len(problems) * count)
  thought, outcome = Scorer(experiment).scores(prm, orm, found, count, rows)
  found_texts = sampler_lib.texts(
    experiment, found.completion, found.completion_length
  )
  answers = [experiment.task.extract_answer(text) for text in found_texts]
  group = lambda x: [x[i : i + count] for i in range(0, len(x), count)]
  return ScoredSamples(
    found,
    group(answers),
    np.asarray(found.outcome_reward).reshape(-1, count) > 0,
    thought,
    outcome,
    seconds,
  )


def pass_at_1(
  experiment: experiment_lib.Experiment,
  policy: Any,
  problems: experiment_lib.ProblemBatch,
  samplers: tuple[sampler_lib.Sampler, sampler_lib.Sampler],
  rng: jax.Array,
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
  """Returns greedy and sampled pass@1 of every problem.

  Args:
    experiment: The run.
    policy: Whose accuracy.
    problems: The problems.
    samplers: From `pass_at_1_samplers`, kept between policies.
    rng: For the samples.
  """
  rows = experiment.config.evaluate.rows
  greedy, sampled = (
    np.asarray(
      sampler.trajectories(policy, rng, problems, rows).outcome_reward
    ).reshape(-1, sampler.num_rollouts)
    for sampler in samplers
  )
  return greedy[:, 0], sampled.mean(axis=1)


def pass_at_1_samplers(
  experiment: experiment_lib.Experiment,
) -> tuple[sampler_lib.Sampler, sampler_lib.Sampler]:
  """Returns a greedy sampler and one of eight samples per problem."""
  return (
    sampler_lib.Sampler(experiment, 1, sampling.GREEDY),
    sampler_lib.Sampler(experiment, 8),
  )


def voting_curves(
  samples: ScoredSamples, budgets: Sequence[int], how: str, solved: bool
) -> dict[str, dict[int, Float[np.ndarray, " B"]]]:
  """Returns each problem's accuracy by method and budget, from samples.

  Args:
    samples: At least as many per problem as the largest budget.
    budgets: Samples' worth.
    how: PRM aggregation.
    solved: Whether reaching the goal is visible, so that any right candidate
      counts (`pass_at_k`) and voting is beside the point.
  """
  total = samples.correct.shape[1]
  counts = samples.correct.sum(axis=1)
  if solved:
    rules = {}
  else:
    by_prm = samples.solution_scores(how)
    rules = {
      "majority vote": (accuracy.majority_vote, None),
      "weighted vote, ORM": (accuracy.weighted_vote, samples.outcome_scores),
      "weighted vote, PRM": (accuracy.weighted_vote, by_prm),
      "best-of-N, PRM": (accuracy.best_of_n, by_prm),
    }
  curves = {
    "pass@k": {k: accuracy.pass_at_k(counts, total, k) for k in budgets}
  }
  for name, (rule, scores) in rules.items():
    curves[name] = {
      k: accuracy.accuracy_at_budget(
        samples.answers,
        samples.correct,
        k,
        rule,
        scores,
        subsets=0 if k == total else _SUBSETS,
      )
      for k in budgets
    }
  return curves


def judge(
  experiment: experiment_lib.Experiment,
  problem: Any,
  found: Sequence[extract.Solution],
  scores: Sequence[float],
  solved: bool,
) -> float:
  """Returns 1 if a search's complete solutions solve the problem, else 0.

  The best-scored one answers, as in best-of-N. Where reaching the goal is
  visible, any right one counts.
  """
  texts = [experiment.completion_text(list(s.tokens)) for s in found]
  verdicts = verdicts_lib.judge_many(
    experiment.task, [problem] * len(texts), texts
  )
  right = [verdict.is_correct for verdict in verdicts]
  if solved or not found:
    return float(any(right))
  answers = [experiment.task.extract_answer(text) for text in texts]
  chosen = accuracy.best_of_n(answers, scores)
  return float(
    any(r for a, r in zip(answers, right, strict=True) if a == chosen)
  )


def solution_scores(
  found: Sequence[extract.Solution], how: str
) -> Float[np.ndarray, " B"]:
  """Returns the aggregated PRM score of each solution."""
  size = max((len(s.thought_rewards) for s in found), default=1)
  rewards = np.zeros((len(found), size), np.float32)
  for row, solution in enumerate(found):
    rewards[row, : len(solution.thought_rewards)] = solution.thought_rewards
  count = np.array([len(s.thought_rewards) for s in found], np.int32)
  mask = np.arange(size)[None] < count[:, None]
  return np.asarray(aggregate.aggregate(rewards, mask, how))


def search_point(
  experiment: experiment_lib.Experiment,
  problems: experiment_lib.ProblemBatch,
  pieces: Sequence[search_lib.Found],
  how: str,
  solved: bool,
) -> tuple[Float[np.ndarray, " B"], accounting.Cost]:
  """Returns each problem's accuracy at one budget, and the mean cost."""
  by_id: dict[int, float] = {}
  costs: dict[int, tuple[float, float, float]] = {}
  problem_of = dict(
    zip(problems.problem_id.tolist(), problems.problems, strict=True)
  )
  for piece in pieces:
    every = [s for row in piece.solutions for s in row]
    scores = iter(solution_scores(every, how).tolist())
    for row, key in enumerate(piece.tree.problem_id.tolist()):
      mine = piece.solutions[row]
      by_id[key] = judge(
        experiment, problem_of[key], mine, [next(scores) for _ in mine], solved
      )
      costs[key] = (
        float(piece.policy_tokens[row]),
        float(piece.prm_tokens[row]),
        float(piece.pool_bytes[row]),
      )
  keys = problems.problem_id.tolist()
  tokens, read, held = np.array([costs[key] for key in keys]).mean(axis=0)
  context = (
    float(problems.prompt_length.mean()) + experiment.completion_size / 2
  )
  flops = search_lib.network_flops(experiment.policy, tokens, context)
  flops += search_lib.network_flops(experiment.prm, read, context)
  cost = accounting.Cost(
    policy_tokens=tokens,
    prm_tokens=read,
    flops=flops,
    peak_cache_bytes=held,
    seconds=float(np.mean([piece.seconds for piece in pieces])),
  )
  return np.array([by_id[key] for key in keys]), cost


def sampling_cost(
  experiment: experiment_lib.Experiment,
  samples: ScoredSamples,
  budget: int,
  reader: Any,
) -> accounting.Cost:
  """Returns the mean cost of `budget` samples, scored by `reader` if given."""
  tokens = samples.mean_tokens * budget
  prompt = float(np.mean(samples.trajectory.prompt_length))
  context = prompt + samples.mean_tokens / 2
  config = experiment.policy.config
  read = tokens if reader is not None else 0.0
  flops = search_lib.network_flops(experiment.policy, tokens, context)
  if reader is not None:
    flops += search_lib.network_flops(reader, read, context)
  per_token = search_lib.bytes_per_token(config)
  return accounting.Cost(
    policy_tokens=tokens,
    prm_tokens=read,
    flops=flops,
    peak_cache_bytes=(prompt + tokens) * per_token,
    seconds=samples.seconds * budget,
  )
