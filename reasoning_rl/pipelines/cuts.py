"""A text that is already there, cut into thoughts as a sampler would cut it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from reasoning_rl.data import batching, thoughts
from reasoning_rl.pipelines import experiment as experiment_lib

_LEAST = 64
_spans = jax.jit(thoughts.thought_spans, static_argnums=(2, 3, 4))


def ends(
  experiment: experiment_lib.Experiment, ids: Sequence[int]
) -> list[int]:
  """Returns the index of the last token of each thought.

  Args:
    experiment: Its boundary and its end tokens count, its limits do not.
    ids: A completion's tokens.
  """
  size = _LEAST  # Powers of two, so that few programs are compiled.
  while size < len(ids):
    size *= 2
  tokens, length = batching.pad_rows([ids], size)
  end, count = _spans(
    tokens, length, experiment.boundary, experiment.end_ids, size
  )
  return np.asarray(end)[0, : int(count[0])].tolist()
