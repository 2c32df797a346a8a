"""Endless shuffled batches for the learners that read stored rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from reasoning_rl import types
from reasoning_rl.data import batching, renaming
from reasoning_rl.pipelines import experiment as experiment_lib


def batch_fn(
  experiment: experiment_lib.Experiment,
  source: types.SupervisedBatch | types.ThoughtLabels,
  batch_size: int,
  *path: int,
) -> Callable[[int, Any], Any]:
  """Returns `batch_at(step, params)` over shuffled epochs of `source`.

  Rows are as long as the longest one, and renamed afresh at every step if
  `data.rename` says so.

  Args:
    experiment: The run.
    source: All rows.
    batch_size: Rows per step.
    *path: Of the learner's random stream: another path, other batches.
  """
  source = batching.trim(source)
  source = source.replace(
    shared=experiment.shared(source.tokens, _prompt_length(source))
  )
  names = experiment.interchangeable_ids
  rows_at = row_fn(experiment, source, batch_size, *path)
  seed = _seed(experiment, path)

  def batch_at(step, params):
    rows = rows_at(step, params)
    return rows.replace(
      tokens=renaming.rename(rows.tokens, names, (seed, step))
    )

  return batch_at


def row_fn(
  experiment: experiment_lib.Experiment,
  source: Any,
  batch_size: int,
  *path: int,
) -> Callable[[int, Any], Any]:
  """Returns `batch_at(step, params)` over shuffled epochs, rows as they are.

  Arguments as those of `batch_fn`; `source` is any record of `types`.
  """
  size = len(jax.tree.leaves(source)[0])
  seed = _seed(experiment, path)
  draws = None
  at = -1

  def batch_at(step, params):
    nonlocal draws, at
    del params
    if draws is None or step != at:
      draws = batching.index_batches(size, batch_size, seed, step)
    at = step + 1
    return batching.take(source, next(draws))

  return batch_at


def _seed(experiment, path):
  entropy = (experiment.config.seed, *path)
  return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _prompt_length(source):
  """Returns the real tokens of each row's prompt."""
  if hasattr(source, "prompt_length"):
    return np.asarray(source.prompt_length)
  # A loss begins with the completion.
  return np.asarray(source.loss_mask).argmax(axis=1)
