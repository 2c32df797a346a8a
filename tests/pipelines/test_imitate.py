"""Tests of what imitation and the reward models learn from."""

import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl import types
from reasoning_rl.data import batching
from reasoning_rl.pipelines import (
  collect,
  config_file,
  imitate,
  train_prm,
  train_sft,
)
from reasoning_rl.pipelines import stage as stage_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _trajectories():
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


@pytest.fixture(name="stage")
def fixture_stage(monkeypatch, tmp_path):
  """A stage whose one dataset is `_trajectories`."""
  monkeypatch.setattr(collect, "load", lambda stage, names: _trajectories())
  seed = batching.supervised_batch([[1, 1]], [[2, 2, 2]], 2, 3)
  monkeypatch.setattr(train_sft, "demonstrations", lambda stage: seed)
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    yield stage


def test_different_right_solutions_are_imitated_beside_the_seeds(stage):
  source = imitate.solutions(stage, [0])
  rows = [[1, 1, 2, 2, 2], [3, 3, 5, 6, 7]]
  np.testing.assert_array_equal(source.tokens[:, :5], rows)
  np.testing.assert_array_equal(source.loss_mask[1, :5], [0, 0, 1, 1, 1])
  assert not source.loss_mask[:, 5:].any()


def test_a_right_solution_makes_its_thoughts_right_under_hard_labels(stage):
  source = train_prm.labelled(stage, [0])
  # The second row has no labels and is left out; the first one's completions
  # all failed, but the solution itself did not.
  np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [1, 0]])
  np.testing.assert_array_equal(source.outcome_reward, [1, 0, 0])


def test_a_completion_makes_right_all_the_thoughts_it_goes_on_from(
  stage, monkeypatch
):
  found = _trajectories()
  found.labels[2:] = [[0, 0], [0, 0.5]]
  found.label_mask[2:] = [[1, 1], [1, 0]]
  monkeypatch.setattr(collect, "load", lambda stage, names: found)
  source = train_prm.labelled(stage, [0])
  # What is not labelled says nothing, not even of the thoughts before it.
  np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [0, 0]])
  found.label_mask[3] = True
  source = train_prm.labelled(stage, [0])
  np.testing.assert_array_equal(source.labels[2], [1, 1])


def test_soft_labels_are_the_estimates_themselves(stage):
  stage.config.prm.label = "soft"
  source = train_prm.labelled(stage, [0])
  np.testing.assert_array_equal(source.labels, [[0, 1], [0, 0], [0.5, 0]])


def test_labels_after_the_first_error_can_be_dropped(stage):
  stage.config.prm.until_first_error = True
  source = train_prm.labelled(stage, [0])
  np.testing.assert_array_equal(source.label_mask, [[1, 1], [1, 0], [1, 1]])


@pytest.mark.parametrize("tied", [True, False])
def test_an_implicit_prm_begins_as_the_policys_language_model(tied, tmp_path):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  config.network.tied_embedding = tied
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    experiment = stage.experiment
    policy = experiment.policy.init(experiment.rng(0))
    for network in (experiment.prm, experiment.orm):
      start = train_prm.from_policy(network, policy, experiment.rng(1))
      assert start.pop("implicit_head")
      jax.tree.map(np.testing.assert_array_equal, start, policy)


def test_an_unknown_kind_of_label_is_refused(stage):
  stage.config.prm.label = "oracle"
  with pytest.raises(ValueError, match="prm.label is 'oracle'"):
    train_prm.labelled(stage, [0])
