"""Tests of `reasoning_rl.data.records`."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.data import records as records_lib


def as_text(ids):
  return ",".join(map(str, ids))


def test_records_hold_only_real_tokens_and_thoughts(trajectory, lineage):
  records = list(records_lib.to_records(trajectory, lineage, as_text))
  for row, record in enumerate(records):
    assert set(record) == set(records_lib.FIELDS)
    length = trajectory.completion_length[row]
    np.testing.assert_array_equal(
      record["completion"], trajectory.completion[row, :length]
    )
    assert len(record["labels"]) == trajectory.thought_count[row]
    assert record["lineage"]["sampler"] == "temperature 1.0"


def test_records_padded_again_are_the_trajectory(trajectory, lineage):
  records = records_lib.to_records(trajectory, lineage, as_text)
  again = records_lib.to_trajectory(records, 5, 8, 3)
  jax.tree.map(np.testing.assert_array_equal, again, trajectory)
  dtypes = jax.tree.map(lambda a, b: a.dtype == b.dtype, again, trajectory)
  assert all(jax.tree.leaves(dtypes))


def test_without_sizes_the_longest_row_decides(trajectory, lineage):
  short = batching.take(trajectory, [0])
  records = list(records_lib.to_records(short, lineage, as_text))
  padded = records_lib.to_trajectory(records)
  assert padded.completion.shape == (1, short.completion_length[0])
  with pytest.raises(ValueError, match="`completion` of length"):
    records_lib.to_trajectory(records, completion_size=1)


def test_thoughts_split_at_their_last_token():
  spans = records_lib.split_thoughts(
    np.array([5, 2, 6, 7, 2, 1]), np.array([1, 5])
  )
  assert spans == [[5, 2], [6, 7, 2, 1]]


def test_lineage_is_text_only():
  with pytest.raises(ValueError, match="`weights_version` must be text"):
    records_lib.Lineage("a/train", "s", 3, "0", "1")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"thought_end": [[3, 3, 0]]}, "must rise"),
    ({"thought_end": [[1, 9, 0]]}, "within the completion"),
    ({"labels": [[0.0, 1.5, 0.0]]}, r"in \[0, 1\]"),
    ({"labels": [[np.nan, 0.5, 0.0]]}, r"in \[0, 1\]"),
    ({"behavior_logprobs": [[-np.inf] * 8]}, "behavior_logprobs.*finite"),
    ({"thought_values": [[0.0, np.nan, 0.0]]}, "thought_values.*finite"),
    ({"completion_length": [9]}, "8 columns"),
    ({"outcome_reward": [1.0, 0.0]}, "2 rows"),
  ],
)
def test_trajectories_that_do_not_fit_together_are_refused(
  trajectory, changes, message
):
  sound = batching.take(trajectory, [0]).replace(
    completion_length=np.array([6]),
    thought_count=np.array([2]),
    thought_end=np.array([[1, 5, 0]]),
    label_mask=np.array([[True, True, False]]),
  )
  records_lib.check_trajectory(sound, as_text)
  broken = sound.replace(
    **{name: np.array(value) for name, value in changes.items()}
  )
  with pytest.raises(ValueError, match=message):
    records_lib.check_trajectory(broken, as_text)


def test_what_lies_past_the_last_thought_is_not_looked_at(trajectory):
  count = np.zeros_like(trajectory.thought_count)
  beyond = trajectory.replace(
    thought_count=count, labels=np.full_like(trajectory.labels, np.nan)
  )
  records_lib.check_trajectory(beyond, as_text)
