"""Adapters beside a bfloat16 base: who samples is who learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import scoring
from reasoning_rl.models import network as network_lib
from reasoning_rl.models.pretrained import load as load_lib
from reasoning_rl.pipelines import (
  collect,
  export_model,
  fit,
  loop,
  networks,
  sampler,
)
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from tests.pipelines import tiny_model

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module", name="model")
def fixture_model(tmp_path_factory):
  return tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module", name="experiment")
def fixture_experiment(model, tmp_path_factory):
  config = tiny_model.config(model, model__dtype="bfloat16")
  return experiment_lib.build(config, tmp_path_factory.mktemp("w"))


@pytest.fixture(scope="module", name="base")
def fixture_base(experiment):
  """A policy with a layer whose kernel is large where its inputs cancel.

  Both halves of an embedding are the same and a kernel's halves are ±64, so the
  layer adds nothing: but for adapters, far below the steps of 64 in bfloat16.
  """
  params = networks.first_params(
    experiment.config, experiment.policy, jax.random.key(0), experiment.mesh
  )
  half = params["token_embedding"]["embedding"][:, :16]
  params["token_embedding"] = {"embedding": jnp.concatenate([half, half], 1)}
  layer = dict(params["layers_0"])
  silent = jnp.zeros_like(layer["attention"]["out"]["kernel"])
  out = layer["attention"]["out"] | {"kernel": silent}
  layer["attention"] = layer["attention"] | {"out": out}
  scale = layer["mlp_norm"]["scale"]
  layer["mlp_norm"] = {"scale": jnp.ones_like(scale)}
  gate = layer["mlp"]["gate"]
  kernel = jnp.full_like(gate["kernel"], 64).at[16:].set(-64)
  layer["mlp"] = layer["mlp"] | {"gate": gate | {"kernel": kernel}}
  return params | {"layers_0": layer}


@pytest.fixture(scope="module", name="learnt")
def fixture_learnt(base):
  layer = base["layers_0"]
  gate = layer["mlp"]["gate"]
  assert gate["kernel"].dtype == jnp.bfloat16
  rng = np.random.default_rng(1)
  shape = gate["lora_b"].shape
  lora_b = jnp.asarray(rng.normal(0, 0.03, shape), jnp.float32)
  mlp = layer["mlp"] | {"gate": gate | {"lora_b": lora_b}}
  return base | {"layers_0": layer | {"mlp": mlp}}


def test_behaviour_logprobs_are_the_learners(experiment, base, learnt):
  problems = experiment.problems("train", 0, 4)
  found = sampler.Sampler(experiment, 4).trajectories(
    learnt, jax.random.key(2), problems, 16
  )

  def logprobs(params):
    size = found.completion.shape[-1]
    return scoring.completion_logprobs(
      experiment.policy,
      params,
      problems.prompt,
      problems.prompt_length,
      jnp.asarray(found.completion).reshape(4, 4, size),
      experiment.sampling,
    )[0].reshape(16, size)

  mask = (
    np.arange(found.completion.shape[-1]) < found.completion_length[:, None]
  )
  far = lambda x: float(np.abs(x - found.behavior_logprobs)[mask].mean())
  learner, before = far(logprobs(learnt)), far(logprobs(base))
  assert before > 0.1
  assert learner < before / 5


def test_a_search_reads_the_policy_that_learns(experiment, learnt):
  params = experiment.search_params(learnt, learnt).policy
  tokens = np.arange(24, dtype=np.int32).reshape(2, 12)
  read = lambda params: experiment.policy.apply(params, tokens)[0]
  np.testing.assert_array_equal(read(params), read(learnt))


def test_a_whole_network_in_bfloat16_does_not_learn(model, tmp_path):
  changes = dict(model__dtype="bfloat16", network__lora_rank=0)
  config = tiny_model.config(model, **changes)
  with pytest.raises(ConfigError, match="set network.lora_rank to 1 or more"):
    loop.run(config, tmp_path / "loop")
  assert not (tmp_path / "loop" / "stages.json").exists()
  with stage_lib.open_stage(config, tmp_path / "stage") as stage:
    params = stage.first_policy()
    learn = lambda **how: stage.fit(
      fit.Fit(
        name="sft",
        loss_fn=lambda *_: (jnp.zeros(()), {}),
        batch_at=lambda _: {},
        optimizer=config.sft.optimizer,
        decay_steps=2,
        **how,
      ),
      params,
      stage.policy_directory("sft"),
      0,
    )
    with pytest.raises(ConfigError, match="model.dtype to 'float32'") as caught:
      learn(num_steps=1)
    assert "\n" not in str(caught.value)
    assert learn(num_steps=0)[1]["finished"]
  fit.check_precision(params, r"thought_head/.*")


def test_labels_are_sampled_as_solutions_are(
  experiment, learnt, trajectories, monkeypatch
):
  read = []
  keep = network_lib.Network.for_sampling
  monkeypatch.setattr(
    network_lib.Network,
    "for_sampling",
    lambda self, params: read.append(keep(self, params)) or read[-1],
  )
  monkeypatch.setattr(
    collect.rollouts,
    "from_thoughts",
    lambda policy, params, *_: read.append(params) or 1 / 0,
  )
  labeler = collect.Labeler(experiment)
  with pytest.raises(ZeroDivisionError):
    labeler._complete_fn(learnt, *[None] * 6, shared=0)
  assert read[0] is read[1]


def test_an_export_in_float32_keeps_what_was_learnt(
  experiment, learnt, tmp_path, monkeypatch
):
  monkeypatch.setattr(stage_lib.Stage, "policy", lambda *_: learnt)
  monkeypatch.setattr(export_model, "_check_policy", lambda *_: "sft")
  config = experiment.config
  with stage_lib.open_stage(config, tmp_path / "run"):
    pass
  folder = export_model.run(tmp_path / "run", tmp_path / "out", dtype="float32")
  _, params = load_lib.load(folder, dtype="float32")
  gate = learnt["layers_0"]["mlp"]["gate"]
  learnt_here = (
    gate["lora_a"]
    @ gate["lora_b"]
    * (experiment.policy.config.lora_alpha / gate["lora_a"].shape[-1])
  )
  change = params["layers_0"]["mlp"]["gate"]["kernel"] - np.asarray(
    gate["kernel"], np.float32
  )
  assert np.abs(learnt_here).max() > 0.05
  np.testing.assert_allclose(change, learnt_here, atol=1e-4)
