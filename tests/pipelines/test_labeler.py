"""Which prefixes of solutions are completed, and whose labels come of it."""

import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.pipelines import collect, config_file
from reasoning_rl.pipelines import stage as stage_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def with_thoughts(found, ends, counts):
  """Returns trajectories with these thoughts, and nothing said of them."""
  wide = np.zeros(np.shape(ends), np.float32)
  return found.replace(
    thought_end=np.array(ends, np.int32),
    thought_count=np.array(counts, np.int32),
    labels=wide,
    label_mask=wide > 0,
    thought_rewards=wide,
    thought_visits=wide.astype(np.int32),
    thought_values=wide,
  )


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
  found = with_thoughts(found, [[0, 1, 2, 0, 0], [0, 1, 0, 0, 0]], [3, 2])
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


def test_completions_go_on_thinking_where_their_prefixes_were(
  tmp_path, trajectories
):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  config.thinking.update(end="?", wait="", max_tokens=2)
  config.collect.update(label_rollouts=2, rows=4)
  counts = []

  def complete(params, rng, tokens, end, mask, *rest, shared):
    counts.append(rest[-1].count)
    size = 2 * mask.size
    none = np.zeros((size, 3), np.int32)
    return none, np.zeros(size, np.int32), np.zeros(size, bool)

  found = batching.take(trajectories, np.array([0, 3]))
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    labeler = collect.Labeler(stage.experiment)
    (delimiter,) = stage.experiment.thinking.end_ids
    # Ends of thoughts at 1 and 3; the second row has stopped to think at 2.
    completion = np.full((2, 5), delimiter - 1, np.int32)
    completion[1, 2] = delimiter
    found = with_thoughts(found, [[1, 3, 4], [1, 3, 4]], [3, 3]).replace(
      completion=completion,
      completion_length=np.array([5, 5], np.int32),
      forced_mask=np.zeros(completion.shape, bool),
    )
    labeler._complete = complete
    problems = stage.experiment.problems("train", 0, 2)
    labeler.label(None, jax.random.key(0), problems, found)
  said = np.concatenate(counts)[:2]
  np.testing.assert_array_equal(said, [[2, 4], [2, 3]])
