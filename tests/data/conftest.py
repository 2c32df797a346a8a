"""Trajectories that the tests of this folder share."""

from __future__ import annotations

import numpy as np
import pytest

from reasoning_rl import types
from reasoning_rl.data import records as records_lib


def make_trajectory(rows: int, seed: int = 0) -> types.Trajectory:
  """Returns random trajectories padded with zeros: Lp 5, L 8, T 3."""
  rng = np.random.default_rng(seed)
  prompt_length = rng.integers(0, 6, rows, dtype=np.int32)
  completion_length = rng.integers(3, 9, rows, dtype=np.int32)
  thought_count = rng.integers(0, 4, rows, dtype=np.int32)
  thought_end = np.zeros((rows, 3), np.int32)
  for row in range(rows):
    count = thought_count[row]
    ends = rng.choice(completion_length[row], count, replace=False)
    thought_end[row, :count] = np.sort(ends)

  def ints(length, size):
    mask = np.arange(size) < length[:, None]
    return np.where(mask, rng.integers(1, 60, mask.shape), 0).astype(np.int32)

  def floats(length, size):
    mask = np.arange(size) < length[:, None]
    return np.where(mask, rng.random(mask.shape), 0).astype(np.float32)

  real = np.arange(3) < thought_count[:, None]
  return types.Trajectory(
    problem_id=rng.integers(0, 9, rows, dtype=np.int32),
    prompt=ints(prompt_length, 5),
    prompt_length=prompt_length,
    completion=ints(completion_length, 8),
    completion_length=completion_length,
    thought_end=thought_end,
    thought_count=thought_count,
    behavior_logprobs=-floats(completion_length, 8),
    policy_logprobs=-floats(completion_length, 8),
    outcome_reward=rng.integers(0, 2, rows).astype(np.float32),
    labels=floats(thought_count, 3),
    label_mask=real & (rng.random((rows, 3)) < 0.7),
    thought_rewards=floats(thought_count, 3),
    thought_visits=ints(thought_count, 3),
    thought_values=floats(thought_count, 3),
  )


@pytest.fixture
def trajectory() -> types.Trajectory:
  """Returns seven random trajectories."""
  return make_trajectory(7)


@pytest.fixture
def lineage() -> records_lib.Lineage:
  """Returns a lineage with a different text in every field."""
  return records_lib.Lineage(
    problem="arithmetic/train",
    sampler="temperature 1.0",
    weights_version="iteration 2",
    rng_path="0/3",
    verifier_version="arithmetic 1",
  )
