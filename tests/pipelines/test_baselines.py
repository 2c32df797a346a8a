"""The baselines make as many updates as the loop, on data of their own."""

import pathlib

import numpy as np
import pytest

from reasoning_rl.data import trajectory_store
from reasoning_rl.pipelines import (
  baselines,
  collect,
  config_file,
  learning,
  train_sft,
)
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _config(*names):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  config.sft.update(demonstrations=8, max_steps=2, min_steps=2, batch_size=8)
  config.sft.validation_problems = 8
  config.collect.update(problems=4, rollouts=2, labelled=2, rows=64)
  config.imitation.update(steps=3, batch_size=8)
  config.imitation.optimizer.warmup_steps = 1
  config.rl.update(steps=2, problems_per_step=2, rollouts=2)
  config.rl.optimizer.warmup_steps = 1
  config.loop.update(iterations=2, baselines=names)
  return config


@pytest.fixture(name="stage", scope="module")
def fixture_stage(tmp_path_factory):
  """A run whose warm-up, first dataset and baselines are finished."""
  config = _config("demonstrations", "rejection", "outcome")
  path = tmp_path_factory.mktemp("baselines") / "run"
  with stage_lib.open_stage(config, path) as stage:
    train_sft.warm_up(stage)
    collect.collect(stage, 0, stage.policy("sft"), "sft")
    baselines.train(stage)
    yield stage


def test_every_baseline_makes_the_updates_of_the_loop(stage):
  cost = lambda name: learning.cost(stage.workdir, name)
  for name in stage.config.loop.baselines:
    assert cost(f"baseline_{name}")["updates"] == 2 * (3 + 2), name
  # Two iterations, two updates, four short solutions each.
  assert cost("baseline_outcome")["train_tokens"] > 2 * 2 * 4
  assert "train_tokens" not in cost("baseline_rejection")


def test_later_iterations_sample_from_the_baseline_and_label_nothing(stage):
  for name in ("rejection_1", "outcome_1"):
    found = trajectory_store.load(stage.workdir.trajectories(name))
    assert len(found.outcome_reward) == 8
    assert not found.label_mask.any()
    np.testing.assert_array_equal(
      np.unique(found.problem_id), collect.FIRST_PROBLEM + 4 + np.arange(4)
    )


def test_finished_baselines_are_not_repeated(stage):
  before = stage.workdir.stages()
  names = [checkpoint for _, _, checkpoint in baselines.train(stage)]
  assert names == [
    "baseline_demonstrations",
    "baseline_rejection",
    "baseline_outcome",
  ]
  assert stage.workdir.stages() == before


def test_an_unknown_baseline_is_refused(tmp_path):
  with stage_lib.open_stage(_config("outcomes"), tmp_path / "run") as stage:
    with pytest.raises(ConfigError, match="names 'outcomes'; there are"):
      baselines.train(stage)
