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
    found: The solutions, those of a problem together.
    read: `read(prompt, prompt_length, completion, completion_length,
      thought_end, shared=)` of B problems with G solutions each; gives arrays
      of [B, G, ...].
    rows: Most solutions read at once.
  """
  first, which = _different(found)
  shared = experiment.shared(found.prompt, found.prompt_length)
  places, said = [], []
  for group in _groups(np.asarray(found.problem_id)[first]):
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
  _, first, which = np.unique(
    rows, axis=0, return_index=True, return_inverse=True
  )
  order = np.argsort(first)  # A problem's solutions lie together.
  return first[order], np.argsort(order)[which.reshape(-1)]


def _groups(
  problem_id: Int[np.ndarray, " N"],
) -> list[Int[np.ndarray, "B G"]]:
  """Returns the places of each run of one problem, short and long ones apart.

  A run repeats its last place to be as long as the others of its group. Lengths
  are told apart by powers of two and from a quarter of the longest on: few are
  read twice, and three shapes are compiled at most.
  """
  start = np.flatnonzero(np.diff(problem_id, prepend=problem_id[0] - 1))
  count = np.diff(start, append=len(problem_id))
  width = np.ceil(np.log2(np.maximum(count, count.max() / 4)))
  groups = []
  for now in (width == each for each in np.unique(width)):
    place = np.arange(count[now].max())[None]
    groups.append(start[now, None] + np.minimum(place, count[now, None] - 1))
  return groups
