"""Measurements on problems: samples with scores, search curves, PRM quality."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from reasoning_rl import masking, types
from reasoning_rl.decoding import sampling, scoring
from reasoning_rl.evaluation import accounting, accuracy
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import fates as fates_lib
from reasoning_rl.pipelines import problem_batch, reading
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
    thought_scores: PRM score of each thought; None without a PRM.
    outcome_scores: ORM score of each sample; None without an ORM.
    seconds: Wall time of sampling one solution.
    fates: What else became of the samples.
  """

  trajectory: types.Trajectory
  answers: list[list[str | None]]
  correct: Bool[np.ndarray, "B G"]
  thought_scores: Float[np.ndarray, "B G T"] | None
  outcome_scores: Float[np.ndarray, "B G"] | None
  seconds: float
  fates: fates_lib.Fates | None = None

  @property
  def thought_mask(self) -> Bool[np.ndarray, "B G T"]:
    """True at real thoughts."""
    count = self.trajectory.thought_count.reshape(self.correct.shape)
    size = self.trajectory.thought_end.shape[1]
    return np.asarray(masking.length_mask(count, size))

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
    self._score = experiment.map_problems(
      self._score_fn, 2, static_argnames=("shared",)
    )

  def _score_fn(
    self, prm, orm, prompt, prompt_length, rows, length, end, shared
  ):
    experiment = self._experiment
    thought = outcome = None
    if prm is not None:
      logits = scoring.completion_thought_logits(
        experiment.prm, prm, prompt, prompt_length, rows, end, shared
      )
      thought = jax.nn.sigmoid(logits)
    if orm is not None:
      logits = scoring.completion_outcome_logits(
        experiment.orm, orm, prompt, prompt_length, rows, length, shared
      )
      outcome = jax.nn.sigmoid(logits)
    return thought, outcome

  def scores(
    self, prm: Any, orm: Any, found: types.Trajectory, group: int, rows: int
  ) -> tuple[
    Float[np.ndarray, "B G T"] | None, Float[np.ndarray, "B G"] | None
  ]:
    """Returns each thought's and each solution's score, in pieces of `rows`.

    A model that is None gives None.
    """
    if prm is None and orm is None:
      return None, None
    read = functools.partial(self._score, prm, orm)
    said = reading.each(self._experiment, found, read, rows)
    grouped = lambda x: x.reshape(-1, group, *x.shape[1:])
    return jax.tree.map(grouped, said)


def score_samples(
  experiment: experiment_lib.Experiment,
  policy: Any,
  prm: Any,
  orm: Any,
  problems: problem_batch.ProblemBatch,
  count: int,
  rng: jax.Array,
) -> ScoredSamples:
  """Samples `count` solutions of every problem and scores them all."""
  rows = experiment.config.evaluate.rows
  begin = time.monotonic()
  sampler = sampler_lib.Sampler(experiment, count)
  found, decided = sampler.verified(policy, rng, problems, rows)
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
    fates_lib.of_texts(found_texts, answers, decided),
  )


class PassAt1(NamedTuple):
  """What one attempt at each problem reaches.

  Attributes:
    greedy: 1 where the likeliest tokens are right.
    sampled: Share of right samples; None if none were taken.
    fates: Of the greedy attempts.
  """

  greedy: Float[np.ndarray, " B"]
  sampled: Float[np.ndarray, " B"] | None
  fates: fates_lib.Fates


def pass_at_1(
  experiment: experiment_lib.Experiment,
  policy: Any,
  problems: problem_batch.ProblemBatch,
  samplers: Sequence[sampler_lib.Sampler],
  rng: jax.Array,
) -> PassAt1:
  """Returns greedy and sampled pass@1 of every problem.

  Args:
    experiment: The run.
    policy: Whose accuracy.
    problems: The problems.
    samplers: From `pass_at_1_samplers`, kept between policies.
    rng: For the samples.
  """
  rows = experiment.config.evaluate.rows
  (greedy, decided), *more = (
    sampler.verified(policy, rng, problems, rows) for sampler in samplers
  )
  right = lambda found: np.asarray(found.outcome_reward).reshape(
    len(problems), -1
  )
  return PassAt1(
    greedy=right(greedy)[:, 0],
    sampled=right(more[0][0]).mean(axis=1) if more else None,
    fates=fates_lib.of(experiment, greedy, decided),
  )


def pass_at_1_samplers(
  experiment: experiment_lib.Experiment,
) -> list[sampler_lib.Sampler]:
  """Returns a greedy sampler, and one of samples if any are wanted."""
  found = [sampler_lib.Sampler(experiment, 1, sampling.GREEDY)]
  samples = experiment.config.evaluate.samples
  return found + [sampler_lib.Sampler(experiment, samples)] * (samples > 0)


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
  rules: dict[str, tuple[accuracy.VotingRule, Any]] = {}
  if not solved:
    rules["majority vote"] = (accuracy.majority_vote, None)
    if samples.outcome_scores is not None:
      by_orm = samples.outcome_scores
      rules["weighted vote, ORM"] = (accuracy.weighted_vote, by_orm)
    if samples.thought_scores is not None:
      by_prm = samples.solution_scores(how)
      rules["weighted vote, PRM"] = (accuracy.weighted_vote, by_prm)
      rules["best-of-N, PRM"] = (accuracy.best_of_n, by_prm)
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
  rule: accuracy.VotingRule = accuracy.best_of_n,
) -> float:
  """Returns 1 if a search's complete solutions solve the problem, else 0.

  By default the best-scored one answers, as in best-of-N. Where reaching the
  goal is visible, any right one counts.
  """
  texts = [experiment.completion_text(list(s.tokens)) for s in found]
  verdicts = verdicts_lib.judge_many(
    experiment.task, [problem] * len(texts), texts
  )
  right = [verdict.is_correct for verdict in verdicts]
  if solved or not found:
    return float(any(right))
  answers = [experiment.task.extract_answer(text) for text in texts]
  chosen = rule(answers, scores)
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
  problems: problem_batch.ProblemBatch,
  pieces: Sequence[search_lib.Found],
  how: str,
  solved: bool,
  votes: str = "",
) -> tuple[Float[np.ndarray, " B"], accounting.Cost]:
  """Returns each problem's accuracy at one budget, and the mean cost.

  Args:
    experiment: The run.
    problems: What was searched.
    pieces: What was found.
    how: PRM aggregation of a solution's score.
    solved: See `judge`.
    votes: What answers: "" the best-scored solution; of "samples" the answer
      whose solutions have the largest sum of scores (arXiv:2206.02336); of
      "different" solutions that with the largest sum of score times probability
      under the policy, at temperature 1: a sum of probabilities is the weighted
      sum of arXiv:2203.11171, and the product is ours.
  """
  if votes not in ("", "samples", "different"):
    raise ValueError(f"votes is {votes!r}; use '', 'samples' or 'different'.")
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
      weights = [next(scores) for _ in mine]
      if votes == "different":
        weights = _times_probability(mine, weights)
      rule = accuracy.weighted_vote if votes else accuracy.best_of_n
      by_id[key] = judge(
        experiment, problem_of[key], mine, weights, solved, rule
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


def _times_probability(found, scores) -> list[float]:
  """Returns scores times the solutions' probabilities, but for a constant."""
  logprobs = np.array([sum(s.policy_logprobs) for s in found], np.float64)
  return (scores * np.exp(logprobs - logprobs.max(initial=-np.inf))).tolist()


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
