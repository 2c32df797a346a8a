"""Learners of adapters: their checkpoints, their base, their stages."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import (
  config_file,
  fit,
  train_policy,
  train_prm,
  train_sft,
)
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.training import checkpoint
from reasoning_rl.training import sharding as sharding_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def is_learnt(name: str) -> bool:
  return "lora_" in name or "_head" in name


def leaves(params) -> dict[str, np.ndarray]:
  names = sharding_lib.leaf_names(params)
  return dict(zip(names, map(np.asarray, jax.tree.leaves(params)), strict=True))


@pytest.fixture(scope="module", name="stage")
def fixture_stage(tmp_path_factory, quick_compilation):
  """A stage whose learners train adapters, two parts of a batch at a time."""
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  with config.unlocked():
    config.network.lora_rank = 2
    config.sft.accumulate = config.prm.accumulate = config.rl.accumulate = 2
    config.sft.max_steps = config.sft.min_steps = 2
    config.sft.validate_every = 1
    config.rl.steps = config.prm.steps = 1
    config.rl.problems_per_step = config.rl.rollouts = 2
    config.sft.validation_problems = 4
    config.rl.credit.kind = "outcome"
    for section in (config.sft, config.prm, config.rl):
      section.optimizer.warmup_steps = 0
  path = tmp_path_factory.mktemp("run")
  with stage_lib.open_stage(config, path) as stage:
    train_sft.warm_up(stage)
    yield stage


def test_a_policy_of_adapters_is_its_base_and_what_was_learnt(stage):
  first = leaves(stage.first_policy())
  policy = leaves(stage.policy("sft"))
  assert policy.keys() == first.keys()
  for name, leaf in first.items():
    assert np.array_equal(policy[name], leaf) != is_learnt(name), name


def test_a_checkpoint_holds_adapters_alone(stage):
  directory = stage.policy_directory("sft")
  assert fit.has_base(directory)
  saved = checkpoint.leaf_names(directory)
  assert all("lora_" in n for n in saved if n.startswith("params/"))
  assert not any("kernel" in n or "embedding" in n for n in saved)


def test_adapters_of_another_base_are_refused(stage):
  other = stage.experiment.policy.init(jax.random.key(9))
  with pytest.raises(checkpoint.CheckpointError, match="trained on base"):
    fit.load_params(stage.policy_directory("sft"), other, stage.experiment.mesh)
  with pytest.raises(checkpoint.CheckpointError, match="trained on base"):
    go_on(stage, other, adapters=stage.experiment.adapters)
  with pytest.raises(checkpoint.CheckpointError, match="no base is given"):
    go_on(stage, stage.first_policy(), adapters=None)


def test_a_finished_learner_of_adapters_comes_back_whole(stage):
  params, notes = go_on(
    stage, stage.first_policy(), adapters=stage.experiment.adapters
  )
  assert notes["finished"]
  jax.tree.map(np.testing.assert_array_equal, params, stage.policy("sft"))


def go_on(stage, params, adapters):
  """Continues the finished warm-up, of which nothing is left to do."""
  task = fit.Fit(
    name="sft",
    loss_fn=lambda params, batch, rng: (0.0, {}),
    batch_at=lambda step, params: None,
    num_steps=2,
    optimizer=stage.config.sft.optimizer,
    adapters=adapters,
  )
  return stage.fit(task, params, stage.policy_directory("sft"), 0)


@pytest.mark.parametrize(
  "kind", [pytest.param("implicit", marks=pytest.mark.slow), "head"]
)
def test_a_prm_of_adapters_has_the_policys_base_and_its_own_head(
  stage, kind, trajectories, monkeypatch
):
  config = stage.config.copy_and_resolve_references()
  config.prm.kind = kind
  config.prm.extra_layers = 0 if kind == "implicit" else 1
  config.prm.batch_size = 2
  experiment = stage_lib.experiment_lib.build(config, stage.workdir.path)
  stage = dataclasses.replace(stage, experiment=experiment)
  monkeypatch.setattr(train_prm.collect, "load", lambda *_: trajectories)
  name, policy = f"prm_{kind}", stage.policy("sft")
  train_prm.train(stage, name, [0], policy)
  before, prm = leaves(policy), leaves(train_prm.load(stage, name))
  saved = checkpoint.leaf_names(stage.prm_directory(name))
  extra = f"layers_{config.network.num_layers}/"
  for leaf, value in prm.items():
    own = is_learnt(leaf) or leaf.startswith(extra)
    assert (f"params/{leaf}" in saved) == own, leaf
    if not own:
      np.testing.assert_array_equal(value, before[leaf])
  # The adapters began as the policy's, and one step is small.
  name = "layers_0/mlp/up/lora_a"
  moved = np.abs(prm[name] - before[name]).max()
  assert 0 < moved < 0.1


def test_adapters_learn_by_reinforcement_and_are_merged_to_search(stage):
  policy = stage.policy("sft")
  train_policy.train(stage, "policy_0", 0, policy, None)
  found = leaves(stage.policy("policy_0"))
  moved = {n for n, x in leaves(policy).items() if (x != found[n]).any()}
  assert moved and all("lora_" in name for name in moved)
  prm = stage.experiment.prm.init(jax.random.key(0))
  params = stage.experiment.search_params(stage.policy("policy_0"), prm)
  assert not any("lora_" in n for n in leaves(params.policy))


def test_a_head_on_the_policy_keeps_the_policys_adapters(
  stage, trajectories, monkeypatch
):
  config = stage.config.copy_and_resolve_references()
  config.prm.update(kind="head", trunk="shared", batch_size=2)
  experiment = stage_lib.experiment_lib.build(config, stage.workdir.path)
  stage = dataclasses.replace(stage, experiment=experiment)
  monkeypatch.setattr(train_prm.collect, "load", lambda *_: trajectories)
  first = stage.first_policy()
  policy = jax.tree.map_with_path(
    lambda path, x: x + 0.1 if "lora_" in str(path) else x, first
  )
  train_prm.train(stage, "prm_shared", [0], policy)
  saved = checkpoint.leaf_names(stage.prm_directory("prm_shared"))
  saved = {n for n in saved if n.startswith("params/")}
  assert saved == {f"params/{n}" for n in leaves(policy) if is_learnt(n)}
  before, prm = leaves(policy), leaves(train_prm.load(stage, "prm_shared"))
  assert prm.keys() == before.keys()
  for name, value in prm.items():
    if not name.startswith("thought_head"):
      np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_base_is_read_and_named_once_for_all_loads(stage, monkeypatch):
  read, named = [], []
  first_params = stage_lib.networks.first_params
  fingerprint = fit.partition.fingerprint
  monkeypatch.setattr(
    stage_lib.networks,
    "first_params",
    lambda *args: read.append(0) or first_params(*args),
  )
  monkeypatch.setattr(
    fit.partition, "fingerprint", lambda x: named.append(0) or fingerprint(x)
  )
  stage = dataclasses.replace(stage)  # Has loaded nothing yet.
  found = [stage.policy("sft") for _ in range(3)]
  assert (len(read), len(named)) == (1, 1)
  jax.tree.map(np.testing.assert_array_equal, found[0], found[2])


def test_a_reward_model_of_a_large_policy_makes_its_head_alone(
  stage, monkeypatch
):
  config = stage.config.copy_and_resolve_references()
  config.prm.update(kind="head", extra_layers=1)
  experiment = stage_lib.experiment_lib.build(config, stage.workdir.path)
  policy = stage.policy("sft")
  made = []
  init = network_lib.Network.init
  monkeypatch.setattr(
    network_lib.Network,
    "init",
    lambda self, rng: (
      made.append(isinstance(rng, jax.core.Tracer)) or init(self, rng)
    ),
  )
  assert experiment.has_base
  start = train_prm.from_policy(
    experiment.prm, policy, jax.random.key(0), experiment.has_base
  )
  assert made and all(made)  # Only ever traced, so that the trunk is left out.
  extra = f"layers_{config.network.num_layers}"
  assert start.keys() - policy.keys() == {"thought_head", extra}
  for name in start.keys() & policy.keys():
    jax.tree.map(np.testing.assert_array_equal, start[name], policy[name])
