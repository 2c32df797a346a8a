"""Which prefixes of solutions are completed, and whose labels come of it."""

import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.pipelines import collect, config_file
from reasoning_rl.pipelines import stage as stage_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("rows", [4, 256])
def test_thoughts_that_no_solution_goes_on_from_are_not_completed(
  tmp_path, trajectories, rows
):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  config.collect.update(label_rollouts=2, rows=rows)
  sizes = []

  def complete(params, rng, tokens, end, mask, row_id, answer, shared):
    """Is right in the first completion of every wanted prefix of odd rows."""
    sizes.append(end.shape)
    right = mask & (row_id[:, None] % 2 == 1)
    correct = np.stack([right, np.zeros_like(right)], axis=-1).reshape(-1)
    length = np.repeat(mask.reshape(-1), 2) * 3
    return np.zeros((len(length), 3), np.int32), length, correct

  found = batching.take(trajectories, np.array([0, 3]))
  # Stored with room for five thoughts, of which none has more than three.
  wide = np.zeros((2, 5), np.float32)
  found = found.replace(
    thought_end=np.array([[0, 1, 2, 0, 0], [0, 1, 0, 0, 0]], np.int32),
    thought_count=np.array([3, 2], np.int32),
    labels=wide,
    label_mask=wide > 0,
    thought_rewards=wide,
    thought_visits=wide.astype(np.int32),
    thought_values=wide,
  )
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    labeler = collect.Labeler(stage.experiment)
    labeler._complete = complete
    problems = stage.experiment.problems("train", 0, 2)
    said, tokens = labeler.label(None, jax.random.key(0), problems, found)
  # Two thoughts at most have something after them.
  assert {shape[1] for shape in sizes} == {2}
  np.testing.assert_array_equal(
    said.labels, [[0, 0, 1, 0, 0], [0.5, 0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(
    said.label_mask, [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
  )
  assert tokens == 3 * 2 * (2 + 1)
