"""Has networks read stored solutions, each different one once.

A policy says the same again and again: of SmolLM2's 16 samples of a word
problem 4.6 differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from reasoning_rl import masking, types
from reasoning_rl.pipelines import experiment as experiment_lib


def each(
  experiment: experiment_lib.Experiment,
  found: types.Trajectory,
  read: Callable[..., Any],
  rows: int,
) -> Any:
  """Returns what `read` makes of every solution, as arrays of [R, ...].

  Args:
    experiment: The run.
    found: The solutions, those of a problem together; a problem has one prompt.
    read: `read(prompt, prompt_length, completion, completion_length,
      thought_end, shared=)` of B problems with G solutions each; gives arrays
      of [B, G, ...].
    rows: Most solutions read at once.
  """
  first, which = _different(found)
  group = _groups(np.asarray(found.problem_id), first)
  shared = experiment.shared(found.prompt, found.prompt_length)
  places, said = [], []
  problems, width = group.shape
  for piece, _ in experiment.pieces(problems, max(1, rows // width)):
    index = first[group[piece]]
    of_piece = read(
      found.prompt[index[:, 0]],
      found.prompt_length[index[:, 0]],
      found.completion[index],
      found.completion_length[index],
      found.thought_end[index],
      shared=shared,
    )
    places.append(group[piece].reshape(-1))
    said.append(jax.tree.map(_rows, of_piece))
  order = np.concatenate(places)

  def whole(*parts):
    once = np.empty((len(first), *parts[0].shape[1:]), parts[0].dtype)
    once[order] = np.concatenate(parts)
    return once[which]

  return jax.tree.map(whole, *said)


def _rows(x):
  return np.asarray(x).reshape(-1, *x.shape[2:])


def _different(
  found: types.Trajectory,
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " R"]]:
  """Returns a row of each different solution, and which of them each row is."""
  size = found.completion.shape[1]
  real = np.asarray(masking.length_mask(found.completion_length, size))
  ids, ends = np.asarray(found.problem_id)[:, None], found.thought_end
  rows = np.concatenate([ids, np.where(real, found.completion, -1), ends], 1)
  place: dict[bytes, int] = {}
  which = [place.setdefault(row.tobytes(), len(place)) for row in rows]
  _, first = np.unique(which, return_index=True)
  return first, np.array(which)


def _groups(
  problem_id: Int[np.ndarray, " R"], first: Int[np.ndarray, " N"]
) -> Int[np.ndarray, "B G"]:
  """Returns the places of the different solutions, in groups of one problem.

  A problem with more than G has several groups, and the last one repeats its
  last place. G is half of the most solutions of a problem, equal ones counted:
  one shape for all that a run reads, with little read twice.
  """
  ends = lambda ids: np.flatnonzero(np.diff(ids, append=ids[-1] - 1)) + 1
  most = np.diff(ends(problem_id), prepend=0).max()
  width = max(1, most // 2)
  end = ends(problem_id[first])
  groups = [
    np.minimum(np.arange(start, start + width), stop - 1)
    for begin, stop in zip([0, *end[:-1]], end, strict=True)
    for start in range(begin, stop, width)
  ]
  return np.stack(groups)
