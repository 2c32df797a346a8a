"""Collects verified solutions and labels their thoughts, with no human.

Solutions are sampled and verified by their final answer. Of the first solution
of each of `collect.labelled` problems, every thought gets a Monte-Carlo
estimate: completions are sampled from right after it, and the share that
reaches the right answer is its label (Math-Shepherd, arXiv:2312.08935; soft
estimation is stored, hard estimation follows from it). Labels are spread over
many problems, since a PRM that sees a problem several times learns the problem.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Bool, Int

from reasoning_rl import masking, types
from reasoning_rl.data import batching, records, trajectory_store
from reasoning_rl.decoding import rollouts
from reasoning_rl.decoding import thinking as thinking_lib
from reasoning_rl.labels import monte_carlo
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import problem_batch, train_sft
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import verdicts as verdicts_lib

FIRST_PROBLEM = train_sft.MAX_DEMONSTRATIONS


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Collects one iteration alone, from the newest policy."""
  with stage_lib.open_stage(config, path) as stage:
    collect(stage, 0, stage.input_policy(train_sft.NAME), "sft")


def collect(
  stage: stage_lib.Stage,
  iteration: int,
  params: Any,
  weights: str,
  name: str = "",
  labelled: int | None = None,
  problems: int = 0,
) -> dict[str, Any]:
  """Writes the labelled trajectories of an iteration; returns a summary.

  Args:
    stage: The run.
    iteration: Chooses the training problems and random numbers.
    params: The policy.
    weights: Names the policy in the lineage.
    name: Names the dataset; by default the iteration.
    labelled: Problems with a labelled solution; by default as the config says.
    problems: How many; 0: as the config says.
  """
  name = name or str(iteration)
  config = stage.config.collect
  labelled = config.labelled if labelled is None else labelled
  count = problems or config.problems
  return stage.once(
    f"collect_{name}",
    lambda: _collect(stage, iteration, params, weights, name, labelled, count),
  )


def _collect(stage, iteration, params, weights, name, labelled, count):
  config, experiment = stage.config.collect, stage.experiment
  directory = stage.workdir.trajectories(name)
  wanted = count * config.rollouts
  if trajectory_store.is_finished(directory):
    return _summary(wanted, trajectory_store.load(directory), 0)
  start = FIRST_PROBLEM + iteration * config.problems
  problems = experiment.problems("train", start, count)
  path = (stage_lib.STREAMS["collect"], iteration)
  sampler = sampler_lib.Sampler(experiment, config.rollouts)
  found, decided = sampler.verified(
    params, experiment.rng(*path), problems, config.rows
  )
  tokens = 0
  index, rows = _to_label(decided, config.rollouts, labelled)
  if len(index):
    said, tokens = Labeler(experiment).label(
      params,
      experiment.rng(stage_lib.STREAMS["label"], iteration),
      sampler_lib.take_problems(problems, index),
      batching.take(found, rows),
    )
    found = _with_labels(found, said, rows)
  if not decided.any():
    raise ConfigError(
      f"the verifier of {experiment.task.name!r} could judge none of the"
      f" sampled solutions: {_words(sampler.verdicts)}."
    )
  if not decided.all():  # Neither right nor wrong: nothing to learn from.
    found = batching.take(found, np.flatnonzero(decided))
  lineage = records.Lineage(
    problem=f"{experiment.task.name}/train",
    sampler=f"rollouts at temperature {experiment.sampling.temperature}",
    weights_version=weights,
    rng_path="/".join(map(str, (stage.config.seed, *path))),
    verifier_version=experiment.task.version,
  )
  trajectory_store.write(directory, found, lineage, experiment.decode)
  return _summary(wanted, found, tokens) | sampler.summary()


def _to_label(
  decided: Bool[np.ndarray, " R"], group: int, labelled: int
) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
  """Returns the problems to label, and each one's first decided row."""
  grouped = decided.reshape(-1, group)[:labelled]
  index = np.flatnonzero(grouped.any(axis=1))
  return index, index * group + grouped[index].argmax(axis=1)


def _words(counts: Mapping[str, int]) -> str:
  return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def _summary(wanted, found, tokens):
  rewards = np.asarray(found.outcome_reward)
  _, problem = np.unique(np.asarray(found.problem_id), return_inverse=True)
  groups = np.bincount(problem, rewards) / np.bincount(problem)
  return {
    "trajectories": len(rewards),
    "undecided": wanted - len(rewards),
    "labels": int(np.sum(found.label_mask)),
    "pass_at_1": float(rewards.mean()),
    "mixed_groups": float(np.mean((groups > 0) & (groups < 1))),
    "sampled_tokens": int(np.sum(found.completion_length)),
    "label_tokens": int(tokens),
  }


def load(
  stage: stage_lib.Stage, names: Sequence[int | str]
) -> types.Trajectory:
  """Returns all trajectories of some datasets, by name or iteration."""
  experiment = stage.experiment
  return batching.concatenate(
    [
      trajectory_store.load(
        stage.workdir.trajectories(name),
        experiment.prompt_size,
        experiment.completion_size,
        experiment.max_thoughts,
      )
      for name in names
    ]
  )


def _with_labels(found, labelled, rows):
  """Returns `found` with the labels that some of its rows got."""
  labels, mask = found.labels.copy(), found.label_mask.copy()
  labels[rows], mask[rows] = labelled.labels, labelled.label_mask
  return found.replace(labels=labels, label_mask=mask)


class Labeler:
  """Monte-Carlo labels of thoughts, all prefixes of many solutions at once."""

  def __init__(self, experiment: experiment_lib.Experiment):
    """Prepares labelling.

    Args:
      experiment: The run; `collect.label_rollouts` completions per thought.
    """
    self._experiment = experiment
    self._config = experiment.rollout_config(
      experiment.config.collect.label_rollouts
    )
    self._replay = jax.jit(thinking_lib.replay, static_argnums=0)
    self._complete = experiment.map_problems(
      self._complete_fn, 2, static_argnames=("shared",)
    )

  def _complete_fn(
    self,
    params,
    rng,
    tokens,
    thought_end,
    mask,
    row_id,
    answer,
    thinking=None,
    *,
    shared,
  ):
    experiment = self._experiment
    decoded = rollouts.from_thoughts(
      experiment.policy,
      experiment.policy.for_sampling(params),
      rng,
      tokens,
      thought_end,
      mask,
      row_id,
      self._config,
      shared,
      thinking,
    ).replace(keys_values=None)
    correct = decoded.stopped_mask
    if experiment.answer_check is not None:
      per_row = decoded.length.shape[0] // answer.shape[0]
      correct &= experiment.answer_check(
        decoded.tokens, decoded.length, jnp.repeat(answer, per_row, axis=0)
      )
    return decoded.tokens, decoded.length, correct

  def label(
    self,
    params: Any,
    rng: jax.Array,
    problems: problem_batch.ProblemBatch,
    found: types.Trajectory,
  ) -> tuple[types.Trajectory, int]:
    """Returns `found` with soft labels, and the tokens that they cost.

    Args:
      params: The completer, the policy itself.
      rng: Folded by row, thought and rollout.
      problems: The problems, in the order of their groups of rows.
      found: Verified solutions.
    """
    joined = batching.thought_labels(found)
    size = found.thought_end.shape[1]
    thoughts = np.asarray(masking.length_mask(found.thought_count - 1, size))
    # Rows of a thought that no solution has would be decoded all the same.
    some = max(1, int(found.thought_count.max()) - 1)
    group = len(found.outcome_reward) // len(problems)
    correct, decided, tokens = self._label_rows(
      params,
      rng,
      problems,
      joined,
      thoughts[:, :some],
      group,
      self._thinking(found, some),
    )
    rest = ((0, 0), (0, size - some), (0, 0))
    correct, decided = np.pad(correct, rest), np.pad(decided, rest)
    rollout_mask = thoughts[..., None] & decided
    labels, mask = monte_carlo.soft_labels(
      jnp.asarray(correct), jnp.asarray(rollout_mask)
    )
    labels, mask = monte_carlo.with_outcome(
      labels, mask, found.thought_count, found.outcome_reward
    )
    found = found.replace(
      labels=np.asarray(labels), label_mask=np.asarray(mask)
    )
    return found, tokens

  def _thinking(self, found, some):
    """Returns where the first thoughts' ends are in the rows' thinking."""
    if self._config.thinking is None:
      return None
    after = self._replay(
      self._config.thinking,
      found.completion,
      found.completion_length,
      found.forced_mask,
    )
    ends: Int[np.ndarray, "B T"] = found.thought_end[:, :some]
    return jax.tree.map(
      lambda x: np.take_along_axis(np.asarray(x), ends, axis=1), after
    )

  def _label_rows(
    self, params, rng, problems, joined, thoughts, group, thinking
  ):
    """Completes every wanted prefix, a piece of the rows at a time."""
    each = self._config.num_rollouts
    per_row = thoughts.shape[1] * each
    most = self._experiment.config.collect.rows // per_row
    parts: list[Bool[np.ndarray, "B T G"]] = []
    known: list[Bool[np.ndarray, "B T G"]] = []
    tokens = 0
    at = lambda tree, index: jax.tree.map(lambda x: x[index], tree)
    for index, keep in self._experiment.pieces(len(thoughts), most):
      said, length, correct = jax.tree.map(
        np.asarray,
        self._complete(
          params,
          rng,
          joined.tokens[index],
          joined.thought_end[index, : thoughts.shape[1]],
          thoughts[index],
          index.astype(np.int32),
          problems.answer[index // group],
          *(() if thinking is None else (at(thinking, index),)),
          shared=problems.shared,
        ),
      )
      decided = np.ones(correct.shape, bool)
      if self._experiment.answer_check is None:
        right, decided = self._verify(
          problems, joined, index, group, said, length, per_row
        )
        correct = correct & right
      shape = len(index), thoughts.shape[1], each
      parts.append(correct.reshape(shape)[:keep])
      known.append(decided.reshape(shape)[:keep])
      tokens += int(length.reshape(len(index), -1)[:keep].sum())
    return np.concatenate(parts), np.concatenate(known), tokens

  def _verify(self, problems, joined, index, group, said, length, per_row):
    """Has the host verify every prefix with its completion.

    Returns:
      Which are right, and of which this is known.
    """
    experiment = self._experiment
    each = self._config.num_rollouts
    asked, texts = [], []
    rows = np.flatnonzero(length)
    for row in rows:
      source, at = divmod(row, per_row)
      problem = index[source] // group
      start = problems.prompt_length[problem]
      end = joined.thought_end[index[source], at // each] + 1
      prefix: Int[np.ndarray, " L"] = joined.tokens[index[source], start:end]
      text = experiment.completion_text(
        [*prefix.tolist(), *said[row, : length[row]].tolist()]
      )
      asked.append(problems.problems[problem])
      texts.append(text)
    found = verdicts_lib.judge_many(experiment.task, asked, texts)
    right, decided = np.zeros(len(length), bool), np.ones(len(length), bool)
    right[rows] = [verdict.is_correct for verdict in found]
    decided[rows] = [verdict.is_decided for verdict in found]
    return right, decided
