"""Sampled and verified solutions: rollouts on the device, verdicts, records."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import types
from reasoning_rl.data import batching, thoughts
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import rollouts, sampling
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import lengths, problem_batch
from reasoning_rl.tasks import verdicts as verdicts_lib

_CUT = "cut off before its end"  # Why a solution that reads right is wrong.


class Samples(NamedTuple):
  """Rollouts of some problems, on the device; B · G rows.

  Attributes:
    decoded: Tokens and log-probabilities.
    thought_end: Index of each thought's last token.
    thought_count: Real thoughts.
    outcome_reward: 1 where the on-device check accepts; 0 if there is none.
    decided_mask: True where the verifier knows right from wrong; None if it
      always does.
  """

  decoded: decode_lib.Decoded
  thought_end: Int[Array, "R T"]
  thought_count: Int[Array, " R"]
  outcome_reward: Float[Array, " R"]
  decided_mask: Bool[Array, " R"] | None = None


class Sampler:
  """Samples solutions with one compiled program per shape.

  Attributes:
    num_rollouts: Rollouts per problem, G.
    verdicts: How many verdicts there were, by outcome and reason; of a task
      that tells no reasons, none.
  """

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    num_rollouts: int,
    how: sampling.SamplingConfig | None = None,
    partial_credit: bool = False,
  ):
    """Prepares sampling.

    Args:
      experiment: The run.
      num_rollouts: Rollouts per problem, G.
      how: How tokens are chosen; by default as the config says.
      partial_credit: Whether the reward is what the task pays, which may be
        more than 0 for a wrong solution; else it is 1 for right ones alone.
    """
    self._experiment = experiment
    self._partial_credit = partial_credit
    self.verdicts: collections.Counter[str] = collections.Counter()
    self.num_rollouts = num_rollouts
    self._config = experiment.rollout_config(num_rollouts, how)
    self._sample = experiment.map_problems(
      self._sample_fn, 2, static_argnames=("shared",)
    )

  def _sample_fn(
    self, params, rng, prompt, prompt_length, problem_id, answer, shared
  ):
    experiment, group = self._experiment, self.num_rollouts
    decoded = rollouts.from_prompts(
      experiment.policy,
      experiment.policy.for_sampling(params),
      rng,
      prompt,
      prompt_length,
      problem_id,
      self._config,
      shared,
    )
    # The keys and values are not part of the answer, so they are not computed
    # for the caller.
    decoded = decoded.replace(keys_values=None)
    end, count = thoughts.thought_spans(
      decoded.tokens,
      decoded.length,
      experiment.boundary,
      experiment.end_ids,
      experiment.max_thoughts,
    )
    outcome = jnp.zeros(decoded.length.shape, jnp.float32)
    if experiment.answer_check is not None:
      right = experiment.answer_check(
        decoded.tokens, decoded.length, jnp.repeat(answer, group, axis=0)
      )
      outcome = (right & decoded.stopped_mask).astype(jnp.float32)
    return Samples(decoded, end, count, outcome)

  def sample(
    self,
    params: Any,
    rng: Key[Array, ""],
    problems: problem_batch.ProblemBatch,
  ) -> Samples:
    """Samples all `problems` at once; verdicts are final."""
    samples, found = self._sample_and_judge(params, rng, problems)
    self._count(found)
    return samples

  def summary(self) -> dict[str, Any]:
    """Returns the verdicts for a stage's summary, if there are reasons."""
    if not self.verdicts:
      return {}
    return {"verdicts": dict(sorted(self.verdicts.items()))}

  def _count(self, found: Sequence[verdicts_lib.Verdict]) -> None:
    if isinstance(self._experiment.task, verdicts_lib.Judged):
      self.verdicts.update(verdicts_lib.tally(found))

  def _sample_and_judge(self, params, rng, problems):
    """Returns samples, and the host's verdicts if they are its."""
    samples = self._sample(
      params,
      rng,
      self._experiment.trim_prompts(problems),
      problems.prompt_length,
      problems.problem_id,
      problems.answer,
      shared=problems.shared,
    )
    if self._experiment.answer_check is not None:
      return samples, ()
    found = judge(
      self._experiment,
      problems,
      np.asarray(samples.decoded.tokens),
      np.asarray(samples.decoded.length),
      self.num_rollouts,
    )
    if not isinstance(self._experiment.task, verdicts_lib.EndsItself):
      stopped = np.asarray(samples.decoded.stopped_mask)
      found = [
        verdict if ended or not verdict.is_correct else verdicts_lib.wrong(_CUT)
        for verdict, ended in zip(found, stopped, strict=True)
      ]
    paid = [v.credit if self._partial_credit else v.is_correct for v in found]
    samples = samples._replace(outcome_reward=np.array(paid, np.float32))
    if isinstance(self._experiment.task, verdicts_lib.Judged):
      decided = np.array([v.is_decided for v in found], bool)
      samples = samples._replace(decided_mask=decided)
    return samples, found

  def trajectories(
    self,
    params: Any,
    rng: Key[Array, ""],
    problems: problem_batch.ProblemBatch,
    rows: int,
  ) -> types.Trajectory:
    """Samples `problems` in pieces of at most `rows` rows.

    Returns:
      Host records; what a problem gets does not depend on the pieces. A sample
      whose verdict is undecided has earned 0.
    """
    return self.verified(params, rng, problems, rows)[0]

  def verified(
    self,
    params: Any,
    rng: Key[Array, ""],
    problems: problem_batch.ProblemBatch,
    rows: int,
  ) -> tuple[types.Trajectory, Bool[np.ndarray, " R"]]:
    """Samples as `trajectories`; True where the verdict is not undecided."""
    parts, decided, group = [], [], self.num_rollouts
    buckets = self._experiment.config.data.buckets
    order = lengths.by_bucket(problems.prompt_length, buckets)
    for index, keep in self._experiment.pieces(len(problems), rows // group):
      piece = take_problems(problems, order[index])
      samples, said = self._sample_and_judge(params, rng, piece)
      self._count(said[: keep * group])
      found = self._to_trajectory(piece, samples)
      parts.append(batching.take(found, np.arange(keep * group)))
      mask = samples.decided_mask
      mask = np.ones(len(piece) * group, bool) if mask is None else mask
      decided.append(mask[: keep * group])
    found, mask = batching.concatenate(parts), np.concatenate(decided)
    if not buckets:
      return found, mask
    place = np.argsort(order)[:, None] * group + np.arange(group)
    place = place.reshape(-1)
    return batching.take(found, place), mask[place]

  def _to_trajectory(self, problems, samples) -> types.Trajectory:
    samples = jax.tree.map(np.asarray, samples)
    decoded, group = samples.decoded, self.num_rollouts
    shape = samples.thought_end.shape
    repeat = functools.partial(np.repeat, repeats=group, axis=0)
    zeros = np.zeros(shape, np.float32)
    return types.Trajectory(
      problem_id=repeat(problems.problem_id),
      prompt=repeat(problems.prompt),
      prompt_length=repeat(problems.prompt_length),
      completion=decoded.tokens,
      completion_length=decoded.length,
      thought_end=samples.thought_end,
      thought_count=samples.thought_count,
      behavior_logprobs=decoded.behavior_logprobs,
      policy_logprobs=decoded.policy_logprobs,
      forced_mask=np.zeros(decoded.tokens.shape, bool)
      if decoded.forced_mask is None
      else decoded.forced_mask,
      outcome_reward=samples.outcome_reward,
      labels=zeros,
      label_mask=np.zeros(shape, bool),
      thought_rewards=zeros,
      thought_visits=np.zeros(shape, np.int32),
      thought_values=zeros,
    )


def take_problems(
  problems: problem_batch.ProblemBatch, index: Int[np.ndarray, " B"]
) -> problem_batch.ProblemBatch:
  """Returns the problems at `index`."""
  return problem_batch.ProblemBatch(
    tuple(problems.problems[i] for i in index),
    problems.prompt[index],
    problems.prompt_length[index],
    problems.problem_id[index],
    problems.answer[index],
    problems.shared,
  )


def texts(
  experiment: experiment_lib.Experiment,
  tokens: Int[np.ndarray, "R L"],
  length: Int[np.ndarray, " R"],
) -> list[str]:
  """Returns the rows as the verifier reads them."""
  return [
    experiment.completion_text(row[:size].tolist())
    for row, size in zip(tokens, length, strict=True)
  ]


def verify(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  tokens: Int[np.ndarray, "R L"],
  length: Int[np.ndarray, " R"],
  num_rollouts: int,
) -> Bool[np.ndarray, " R"]:
  """Returns whether the host's verifier calls each row right."""
  found = judge(experiment, problems, tokens, length, num_rollouts)
  return np.array([verdict.is_correct for verdict in found], bool)


def judge(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  tokens: Int[np.ndarray, "R L"],
  length: Int[np.ndarray, " R"],
  num_rollouts: int,
) -> list[verdicts_lib.Verdict]:
  """Returns the host verifier's verdict on every row."""
  found = texts(experiment, tokens, length)
  asked = [problems.problems[row // num_rollouts] for row in range(len(found))]
  return verdicts_lib.judge_many(experiment.task, asked, found)
