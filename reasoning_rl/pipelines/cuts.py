"""A text that is already there, cut into thoughts as a sampler would cut it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from reasoning_rl.data import batching, boundaries, thoughts

_LEAST = 64
_spans = jax.jit(thoughts.thought_spans, static_argnums=(2, 3, 4))


def ends(
  ids: Sequence[int],
  boundary: boundaries.Boundary,
  end_ids: tuple[int, ...],
) -> list[int]:
  """Returns the index of the last token of each thought of a completion."""
  size = _LEAST  # Powers of two, so that few programs are compiled.
  while size < len(ids):
    size *= 2
  tokens, length = batching.pad_rows([ids], size)
  end, count = _spans(tokens, length, boundary, end_ids, size)
  return np.asarray(end)[0, : int(count[0])].tolist()
