"""Packing host data into fixed shapes, and drawing batches that can resume.

Batch k is a function of the seed and k alone, so a run that continues from
step k sees exactly what an uninterrupted run would have seen.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import grain
import jax
import numpy as np
from jaxtyping import Int

from reasoning_rl import types

Rows = TypeVar("Rows")
JoinedRows = TypeVar("JoinedRows", types.SupervisedBatch, types.ThoughtLabels)


class PromptTooLongError(ValueError):
  """A prompt has more tokens than the prompt's positions."""


class CompletionTooLongError(ValueError):
  """A completion has more tokens than the completion's positions."""


def index_batches(
  size: int, batch_size: int, seed: int, start_step: int = 0
) -> Iterator[Int[np.ndarray, " B"]]:
  """Returns endless batches of indices below `size`, shuffled every epoch.

  Args:
    size: Number of elements to draw from.
    batch_size: Indices per batch; a batch may run into the next epoch.
    seed: From 0 to 2³² - 1.
    start_step: Batches that an earlier run has consumed.

  Returns:
    An iterator whose k-th batch is number `start_step + k` of the sequence.
  """
  if size < 1 or batch_size < 1:
    raise ValueError(
      f"Cannot draw batches of {batch_size} from {size} elements; both must be"
      " at least 1."
    )
  dataset = grain.MapDataset.range(size).seed(seed).shuffle().repeat()
  dataset = dataset.batch(batch_size)
  return (dataset[step] for step in itertools.count(start_step))


def batches(
  source: Rows, batch_size: int, seed: int, start_step: int = 0
) -> Iterator[Rows]:
  """Returns endless batches of `source`; see `index_batches`.

  Args:
    source: A record of `types`, whose rows are drawn, or anything with a
      length and integer indexing, whose elements are drawn into a list.
    batch_size: Rows or elements per batch.
    seed: From 0 to 2³² - 1.
    start_step: Batches that an earlier run has consumed.
  """
  if dataclasses.is_dataclass(source):
    size = len(jax.tree.leaves(source)[0])
    pick = take
  else:
    size = len(source)
    pick = _elements
  chosen = index_batches(size, batch_size, seed, start_step)
  return (pick(source, index) for index in chosen)


def pad_rows(
  rows: Sequence[Sequence[int]], size: int, pad_id: int = 0
) -> tuple[Int[np.ndarray, "B L"], Int[np.ndarray, " B"]]:
  """Returns right-padded token ids and their lengths."""
  length = np.array([len(row) for row in rows], np.int32)
  tokens = np.full((len(rows), size), pad_id, np.int32)
  flat = itertools.chain.from_iterable(rows)
  tokens[_mask(length, size)] = np.fromiter(flat, np.int32, length.sum())
  return tokens, length


def prompt_batch(
  prompts: Sequence[Sequence[int]], prompt_size: int, pad_id: int = 0
) -> tuple[Int[np.ndarray, "B Lp"], Int[np.ndarray, " B"]]:
  """Returns right-padded prompts and their lengths; none may be too long."""
  _check_lengths(
    prompts,
    prompt_size,
    PromptTooLongError,
    "prompt",
    "data.max_prompt_tokens",
  )
  return pad_rows(prompts, prompt_size, pad_id)


def supervised_batch(
  prompts: Sequence[Sequence[int]],
  completions: Sequence[Sequence[int]],
  prompt_size: int,
  completion_size: int,
  pad_id: int = 0,
) -> types.SupervisedBatch:
  """Joins prompts and completions into rows for likelihood training.

  Args:
    prompts: Token ids, an opening token included where the model wants one.
    completions: Token ids, the end token included.
    prompt_size: Most tokens of a prompt.
    completion_size: Most tokens of a completion.
    pad_id: Fills the rows up to `prompt_size + completion_size`.

  Returns:
    Rows whose loss mask is True at the completion's tokens.
  """
  prompt, prompt_length = prompt_batch(prompts, prompt_size, pad_id)
  _check_lengths(
    completions,
    completion_size,
    CompletionTooLongError,
    "completion",
    "data.max_completion_tokens",
  )
  completion, length = pad_rows(completions, completion_size, pad_id)
  tokens, in_completion = _join(
    prompt, prompt_length, completion, length, pad_id
  )
  return types.SupervisedBatch(
    tokens=tokens, length=prompt_length + length, loss_mask=in_completion
  )


def thought_labels(
  trajectory: types.Trajectory, pad_id: int = 0
) -> types.ThoughtLabels:
  """Joins each trajectory into one row, with `thought_end` counted in it.

  Entries past the last thought have `thought_end` 0 and a False mask.
  """
  host = jax.tree.map(np.asarray, trajectory)
  tokens, _ = _join(
    host.prompt,
    host.prompt_length,
    host.completion,
    host.completion_length,
    pad_id,
  )
  real = _mask(host.thought_count, host.thought_end.shape[1])
  shifted = host.thought_end + host.prompt_length[:, None]
  return types.ThoughtLabels(
    tokens=tokens,
    prompt_length=host.prompt_length,
    length=host.prompt_length + host.completion_length,
    thought_end=np.where(real, shifted, 0).astype(np.int32),
    labels=host.labels,
    label_mask=host.label_mask & real,
    outcome_reward=host.outcome_reward,
  )


def concatenate(trajectories: Sequence[Rows]) -> Rows:
  """Stacks the rows of records of one type, padding to the largest sizes."""
  if not trajectories:
    raise ValueError(
      "There is nothing to concatenate; give one record or more."
    )
  return jax.tree.map(_concatenate_leaves, *trajectories)


def take(rows: Rows, index: Any) -> Rows:
  """Returns the rows that `index` (integers, a slice or a mask) selects."""
  return jax.tree.map(lambda leaf: np.asarray(leaf)[index], rows)


def trim(rows: JoinedRows) -> JoinedRows:
  """Returns the rows without the columns in which all of them are padding.

  A learner computes every column, and few solutions are as long as the longest
  that is possible. Up to seven columns stay, so that sources whose longest rows
  differ a little still have one shape, which is compiled once.
  """
  size = -(-int(rows.length.max()) // 8) * 8
  cut = {
    name: getattr(rows, name)[:, :size]
    for name in ("tokens", "loss_mask")
    if hasattr(rows, name)
  }
  return rows.replace(**cut)


def _elements(source: Any, index: Int[np.ndarray, " B"]) -> list[Any]:
  return [source[int(i)] for i in index]


def _mask(length: Int[np.ndarray, " B"], size: int) -> np.ndarray:
  return np.arange(size) < length[:, None]


def _join(
  prompt: Int[np.ndarray, "B Lp"],
  prompt_length: Int[np.ndarray, " B"],
  completion: Int[np.ndarray, "B L"],
  completion_length: Int[np.ndarray, " B"],
  pad_id: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the joined rows and where the completion lies in them."""
  size = prompt.shape[1] + completion.shape[1]
  in_prompt = _mask(prompt_length, size)
  in_completion = _mask(prompt_length + completion_length, size) & ~in_prompt
  tokens = np.full((len(prompt), size), pad_id, np.int32)
  # Boolean indexing goes row by row on both sides, so real tokens line up.
  tokens[in_prompt] = prompt[_mask(prompt_length, prompt.shape[1])]
  tokens[in_completion] = completion[
    _mask(completion_length, completion.shape[1])
  ]
  return tokens, in_completion


def _check_lengths(
  rows: Sequence[Sequence[int]],
  size: int,
  error: type[ValueError],
  name: str,
  key: str,
) -> None:
  longest = max((len(row) for row in rows), default=0)
  if longest > size:
    raise error(
      f"A {name} has {longest} tokens but only {size} fit; raise {key} to"
      f" {longest} or more."
    )


def _concatenate_leaves(*leaves: Any) -> np.ndarray:
  leaves = [np.asarray(leaf) for leaf in leaves]
  sizes = np.max([leaf.shape[1:] for leaf in leaves], axis=0)
  padded = [
    np.pad(
      leaf,
      [(0, 0)]
      + [
        (0, int(size) - own)
        for size, own in zip(sizes, leaf.shape[1:], strict=True)
      ],
    )
    for leaf in leaves
  ]
  return np.concatenate(padded)
