"""Tests of what the reward models learn from, and where they begin."""

import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.pipelines import collect, config_file, train_prm
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def test_a_right_solution_makes_its_thoughts_right_under_hard_labels(collected):
  source = train_prm.labelled(collected, [0])
  # The second row has no labels and is left out; the first one's completions
  # all failed, but the solution itself did not.
  np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [1, 0]])
  np.testing.assert_array_equal(source.outcome_reward, [1, 0, 0])


def test_a_completion_makes_right_all_the_thoughts_it_goes_on_from(
  collected, trajectories
):
  found = trajectories
  found.labels[2:] = [[0, 0], [0, 0.5]]
  found.label_mask[2:] = [[1, 1], [1, 0]]
  source = train_prm.labelled(collected, [0])
  # What is not labelled says nothing, not even of the thoughts before it.
  np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [0, 0]])
  found.label_mask[3] = True
  source = train_prm.labelled(collected, [0])
  np.testing.assert_array_equal(source.labels[2], [1, 1])


def test_soft_labels_are_the_estimates_themselves(collected):
  collected.config.prm.label = "soft"
  source = train_prm.labelled(collected, [0])
  np.testing.assert_array_equal(source.labels, [[0, 1], [0, 0], [0.5, 0]])


def test_labels_after_the_first_error_can_be_dropped(collected):
  collected.config.prm.until_first_error = True
  source = train_prm.labelled(collected, [0])
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


def test_the_newest_iteration_may_teach_alone(collected, monkeypatch):
  load, asked = collect.load, []
  monkeypatch.setattr(
    collect,
    "load",
    lambda stage, names: asked.append(list(names)) or load(stage, names),
  )
  for collected.config.prm.iterations in ("all", "newest"):
    train_prm.labelled(collected, range(3))
  assert asked == [[0, 1, 2], [2]]


def test_the_orm_may_learn_for_fewer_steps(collected):
  stage = collected
  stage.config.prm.update(steps=2, orm_steps=0, batch_size=2)
  stage.config.prm.optimizer.warmup_steps = 0
  policy = stage.experiment.policy.init(stage.experiment.rng(0))
  learn = lambda name: train_prm.train(stage, name, [0], policy)["steps"]
  assert (learn("prm_0"), learn("orm_0")) == (2, 2)
  stage.config.prm.orm_steps = 1
  assert (learn("prm_1"), learn("orm_1")) == (2, 1)


def test_solutions_without_labels_teach_their_outcome_if_asked(collected):
  collected.config.prm.update(outcomes=True, label="soft")
  source = train_prm.labelled(collected, [0])
  # The second row is right and has no labels; those of the others stay.
  assert source.label_mask.all()
  np.testing.assert_array_equal(
    source.labels, [[0, 1], [1, 1], [0, 0], [0.5, 0]]
  )
  np.testing.assert_array_equal(source.outcome_reward, [1, 1, 0, 0])


def test_nothing_labelled_is_a_sentence(collected, trajectories):
  trajectories.label_mask[:] = False
  with pytest.raises(ConfigError, match=r"no thought has a label: raise"):
    train_prm.labelled(collected, [0])


@pytest.mark.parametrize(
  ("prm", "sentence"),
  [
    (dict(outcomes=True), "set prm.label to 'soft'"),
    (
      dict(outcomes=True, label="soft", until_first_error=True),
      "prm.until_first_error to False",
    ),
    (dict(kind="head", trunk="shared", extra_layers=1), "set it to 0, or prm"),
    (dict(label="oracle"), "'oracle'; use 'soft' or 'hard'"),
    (dict(iterations="last"), "'last'; use 'all' or 'newest'"),
  ],
)
def test_what_contradicts_itself_is_refused_at_the_start(
  collected, prm, sentence
):
  config = collected.config.copy_and_resolve_references()
  config.prm.update(prm)
  with pytest.raises(ConfigError, match=sentence):
    stage_lib.experiment_lib.build(config, collected.workdir.path)
