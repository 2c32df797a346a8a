"""Renaming: the same text with its interchangeable characters permuted.

Where a task's names mean nothing (the variables of a chain), every permutation
of them turns a problem and its solutions into an equivalent problem and its
solutions, so one solution teaches as many as there are permutations. Nothing is
asked of an oracle for it, and a verdict or a label stays what it was.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def rename(
  tokens: Int[np.ndarray, "B L"],
  interchangeable: Int[np.ndarray, " K"],
  seed: tuple[int, ...],
) -> Int[np.ndarray, "B L"]:
  """Permutes the interchangeable ids of every row, each row in its own way.

  Args:
    tokens: Prompts with their completions; one permutation serves a whole row.
    interchangeable: Ids that may be permuted; none leaves the rows as they are.
    seed: Chooses the permutations.

  Returns:
    The renamed rows.
  """
  if not len(interchangeable):
    return tokens
  rng = np.random.default_rng(seed)
  size = max(int(tokens.max()), int(interchangeable.max())) + 1
  names = np.tile(np.arange(size, dtype=tokens.dtype), (len(tokens), 1))
  draws = rng.random((len(tokens), len(interchangeable)))
  names[:, interchangeable] = interchangeable[np.argsort(draws, axis=1)]
  return np.take_along_axis(names, tokens, axis=1)
