"""One trajectory as one record: the form in which trajectories are stored.

A record is a flat dict of NumPy arrays without padding, with the thoughts as
text and where the trajectory came from. It reads on its own: by this package,
by TFDS or as a line of JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from reasoning_rl import types

Record = dict[str, Any]

# The fields of a record by the axis they run over, with their types.
SCALARS = {"problem_id": np.int32, "outcome_reward": np.float32}
PROMPT = {"prompt": np.int32}
COMPLETION = {
  "completion": np.int32,
  "behavior_logprobs": np.float32,
  "policy_logprobs": np.float32,
  "forced_mask": np.bool_,
}
THOUGHT = {
  "thought_end": np.int32,
  "labels": np.float32,
  "label_mask": np.bool_,
  "thought_rewards": np.float32,
  "thought_visits": np.int32,
  "thought_values": np.float32,
}
# What older records lack: nothing was forced then.
LATER = ("forced_mask",)
ARRAYS = PROMPT | COMPLETION | THOUGHT
FIELDS = (*SCALARS, *ARRAYS, "thoughts", "lineage")


def complete(record: Record) -> Record:
  """Returns a record with what it lacks because it is older."""
  nothing = np.zeros(len(record["completion"]), np.bool_)
  return dict.fromkeys(LATER, nothing) | record


class TrajectoryFileError(ValueError):
  """A file of trajectories is missing, damaged or not what it should be."""


@dataclasses.dataclass(frozen=True)
class Lineage:
  """Where trajectories came from.

  Attributes:
    problem: Task and split, e.g. "arithmetic/train"; with `problem_id` it
      names the problem.
    sampler: What produced the completion, e.g. "mcts" or "temperature 1.0".
    weights_version: The policy that was sampled, e.g. "iteration 2, step 400".
    rng_path: The `fold_in` path of the rng from the run's seed, e.g. "0/3/7".
    verifier_version: What paid the outcome reward.
  """

  problem: str
  sampler: str
  weights_version: str
  rng_path: str
  verifier_version: str

  def __post_init__(self):
    """Refuses anything but text, which a stored record could not tell back."""
    for name, value in vars(self).items():
      if not isinstance(value, str):
        raise ValueError(f"Lineage `{name}` must be text, not {value!r}.")


LINEAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Lineage))

Text = Callable[[list[int]], str] | Sequence[Sequence[str]]


def to_records(
  trajectory: types.Trajectory, lineage: Lineage, text: Text
) -> Iterator[Record]:
  """Yields one record per row, in order.

  Args:
    trajectory: Rows with padding.
    lineage: Shared by all rows.
    text: A tokenizer's `decode`, or the thoughts of every row as text.

  Yields:
    Records with every name in `FIELDS`.
  """
  host = jax.tree.map(np.asarray, trajectory)
  lengths = (
    (PROMPT, host.prompt_length),
    (COMPLETION, host.completion_length),
    (THOUGHT, host.thought_count),
  )
  columns = [
    (name, getattr(host, name).astype(dtype), length)
    for fields, length in lengths
    for name, dtype in fields.items()
  ]
  origin = dataclasses.asdict(lineage)
  for row in range(len(host.problem_id)):
    record: Record = {
      name: dtype(getattr(host, name)[row]) for name, dtype in SCALARS.items()
    }
    for name, column, length in columns:
      record[name] = column[row, : length[row]]
    if callable(text):
      spans = split_thoughts(record["completion"], record["thought_end"])
      record["thoughts"] = [text(span) for span in spans]
    else:
      record["thoughts"] = list(text[row])
    record["lineage"] = origin
    yield record


def to_trajectory(
  records: Iterable[Record],
  prompt_size: int | None = None,
  completion_size: int | None = None,
  thought_size: int | None = None,
) -> types.Trajectory:
  """Pads records into one `Trajectory` of NumPy arrays.

  Args:
    records: What `to_records` yields; thoughts and lineage are left out.
    prompt_size: Positions of a prompt; None takes the longest.
    completion_size: Positions of a completion, likewise.
    thought_size: Thoughts of a trajectory, likewise.

  Returns:
    Rows in the order of the records, padded with zeros.
  """
  columns: dict[str, list[Any]] = {name: [] for name in (*SCALARS, *ARRAYS)}
  for record in records:
    for name, column in columns.items():
      column.append(record[name])
  leaves = {
    name: np.array(columns[name], dtype) for name, dtype in SCALARS.items()
  }
  groups = (
    ("prompt", "prompt_length", PROMPT, prompt_size),
    ("completion", "completion_length", COMPLETION, completion_size),
    ("thought_end", "thought_count", THOUGHT, thought_size),
  )
  for key, length_name, fields, size in groups:
    length = np.array([len(row) for row in columns[key]], np.int32)
    size = _checked_size(key, length, size)
    mask = np.arange(size) < length[:, None]
    leaves[length_name] = length
    for name, dtype in fields.items():
      leaves[name] = _pad(columns[name], mask, dtype)
  return types.Trajectory(**leaves)


def split_thoughts(
  completion: Int[np.ndarray, " L"], thought_end: Int[np.ndarray, " T"]
) -> list[list[int]]:
  """Returns the token ids of each thought; `thought_end` has no padding."""
  ids = completion.tolist()
  stops = [end + 1 for end in thought_end.tolist()]
  starts = [0, *stops[:-1]]
  return [ids[start:stop] for start, stop in zip(starts, stops, strict=True)]


def check_trajectory(trajectory: types.Trajectory, text: Text) -> None:
  """Raises a ValueError that says what does not fit together."""
  host = jax.tree.map(np.asarray, trajectory)
  rows = len(host.problem_id)
  if not rows:
    raise ValueError("There are no trajectories; collect at least one.")
  for name, leaf in vars(host).items():
    if len(leaf) != rows:
      raise ValueError(
        f"`{name}` has {len(leaf)} rows but there are {rows} problem ids; give"
        " every field one row per trajectory."
      )
  if not callable(text) and len(text) != rows:
    raise ValueError(
      f"There are texts for {len(text)} trajectories but {rows} trajectories;"
      " give one list of thoughts each."
    )
  pairs = (
    ("prompt_length", "prompt"),
    ("completion_length", "completion"),
    ("thought_count", "thought_end"),
  )
  for length_name, name in pairs:
    length, size = getattr(host, length_name), getattr(host, name).shape[1]
    if length.min() < 0 or length.max() > size:
      raise ValueError(
        f"`{length_name}` goes from {length.min()} to {length.max()} but"
        f" `{name}` has {size} columns; lengths must fit."
      )
  real = np.arange(host.thought_end.shape[1]) < host.thought_count[:, None]
  _check_values(host, real)


def check_record(record: Record) -> None:
  """Raises a ValueError unless the arrays of a record fit together."""
  for fields in (COMPLETION, THOUGHT):
    lengths = {name: len(record[name]) for name in fields}
    if len(set(lengths.values())) > 1:
      raise ValueError(f"these must be equally long: {lengths}")
  if len(record["thoughts"]) != len(record["thought_end"]):
    raise ValueError("there must be one text per thought")
  one_row = to_trajectory([record])
  _check_values(one_row, np.ones((1, one_row.thought_end.shape[1]), bool))


def _check_values(
  host: types.Trajectory, real: Bool[np.ndarray, "B T"]
) -> None:
  after = host.thought_end[:, 1:] <= host.thought_end[:, :-1]
  outside = (host.thought_end < 0) | (
    host.thought_end >= host.completion_length[:, None]
  )
  if (outside & real).any() or (after & real[:, 1:]).any():
    raise ValueError(
      "`thought_end` must rise from thought to thought and stay within the"
      " completion."
    )
  used = host.labels[host.label_mask & real]
  if not ((used >= 0) & (used <= 1)).all():
    raise ValueError(
      "`labels` must lie in [0, 1] wherever `label_mask` is True."
    )
  tokens = np.arange(host.completion.shape[1]) < host.completion_length[:, None]
  checked = [(COMPLETION, tokens), (THOUGHT, real), (SCALARS, np.s_[:])]
  for fields, mask in checked:
    for name in fields:
      if not np.isfinite(getattr(host, name)[mask]).all():
        raise ValueError(f"`{name}` holds a value that is not finite.")


def _checked_size(
  key: str, length: Int[np.ndarray, " B"], size: int | None
) -> int:
  longest = int(length.max(initial=0))
  if size is not None and longest > size:
    raise ValueError(
      f"A record has a `{key}` of length {longest} but only {size} fit; ask for"
      f" {longest} or more."
    )
  return longest if size is None else size


def _pad(
  column: list[Any], mask: Bool[np.ndarray, "B L"], dtype: type
) -> np.ndarray:
  padded = np.zeros(mask.shape, dtype)
  if column:
    padded[mask] = np.concatenate(column)
  return padded
