"""A stage whose one dataset is small enough to work through by hand."""

import pathlib

import numpy as np
import pytest

from reasoning_rl import types
from reasoning_rl.data import batching
from reasoning_rl.pipelines import collect, config_file, train_sft
from reasoning_rl.pipelines import stage as stage_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="trajectories")
def fixture_trajectories():
  """Four solutions of two thoughts: two right and alike, two wrong."""
  completion = np.array([[5, 6, 7], [5, 6, 7], [8, 6, 7], [9, 6, 0]], np.int32)
  rows = np.zeros((4, 2), np.float32)
  return types.Trajectory(
    problem_id=np.array([1, 1, 1, 2], np.int32),
    prompt=np.full((4, 2), 3, np.int32),
    prompt_length=np.full(4, 2, np.int32),
    completion=completion,
    completion_length=np.array([3, 3, 3, 2], np.int32),
    thought_end=np.array([[0, 2], [0, 2], [0, 2], [0, 1]], np.int32),
    thought_count=np.full(4, 2, np.int32),
    behavior_logprobs=np.zeros((4, 3), np.float32),
    policy_logprobs=np.zeros((4, 3), np.float32),
    outcome_reward=np.array([1, 1, 0, 0], np.float32),
    labels=np.array([[0, 1], [0.5, 1], [0, 0], [0.5, 0]], np.float32),
    label_mask=np.array([[1, 1], [0, 0], [1, 1], [1, 1]], bool),
    thought_rewards=rows,
    thought_visits=rows.astype(np.int32),
    thought_values=rows,
  )


@pytest.fixture(name="collected")
def fixture_collected(monkeypatch, tmp_path, trajectories):
  """A stage whose one dataset is `trajectories`."""
  monkeypatch.setattr(collect, "load", lambda stage, names: trajectories)
  seed = batching.supervised_batch([[1, 1]], [[2, 2, 2]], 2, 3)
  monkeypatch.setattr(train_sft, "demonstrations", lambda stage: seed)
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    yield stage
