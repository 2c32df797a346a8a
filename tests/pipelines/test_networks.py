"""Runs that start from a pretrained model: what they load and refuse."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from reasoning_rl.data import chat
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import loop, networks, train_prm, train_sft
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.training import sharding
from tests.pipelines import tiny_model

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module", name="model")
def fixture_model(tmp_path_factory):
  return tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")


def build(tmp_path, model, **changes):
  return experiment_lib.build(tiny_model.config(model, **changes), tmp_path)


def first_params(experiment, seed=0):
  return networks.first_params(
    experiment.config,
    experiment.policy,
    jax.random.key(seed),
    experiment.mesh,
  )


def leaves(params):
  names = sharding.leaf_names(params)
  return dict(zip(names, map(np.asarray, jax.tree.leaves(params)), strict=True))


def is_new(name):
  return "lora_" in name or name.startswith(("thought_head", "implicit_head"))


def refusal(tmp_path, model, **changes):
  with pytest.raises(ConfigError) as caught:
    build(tmp_path, model, **changes)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_the_start_is_the_files_weights(tmp_path, model):
  experiment = build(
    tmp_path,
    model,
    network__lora_rank=0,
    prm__kind="implicit",
    prm__trunk="separate",
    prm__certainty=False,
  )
  assert experiment.policy.config.num_layers == 2
  found = leaves(first_params(experiment))
  saved = safetensors.numpy.load_file(model / "model.safetensors")
  assert len(found) == len(saved)
  layer = "model.layers.1."
  for name, expected in {
    "token_embedding/embedding": saved["model.embed_tokens.weight"],
    "language_head/kernel": saved["lm_head.weight"].T,
    "final_norm/scale": saved["model.norm.weight"],
    "layers_1/mlp/up/kernel": saved[layer + "mlp.up_proj.weight"].T,
    "layers_1/attention/q/kernel": saved[
      layer + "self_attn.q_proj.weight"
    ].T.reshape(32, 4, 8),
    "layers_1/attention/out/kernel": saved[
      layer + "self_attn.o_proj.weight"
    ].T.reshape(4, 8, 32),
  }.items():
    np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_heads_and_adapters_complete_the_trunk_and_leave_it(tmp_path, model):
  plain = build(
    tmp_path,
    model,
    network__lora_rank=0,
    prm__trunk="separate",
    prm__certainty=False,
  )
  experiment = build(tmp_path, model)  # A shared trunk with a head, and LoRA.
  assert experiment.prm == experiment.policy
  before, found = leaves(first_params(plain)), leaves(first_params(experiment))
  shapes = leaves(
    jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype),
      jax.eval_shape(experiment.policy.init, jax.random.key(0)),
    )
  )
  assert {k: x.shape for k, x in found.items()} == {
    k: x.shape for k, x in shapes.items()
  }
  assert {name for name in found if not is_new(name)} == set(before)
  for name, value in before.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)
  assert all((x == 0).all() for n, x in found.items() if n.endswith("lora_b"))
  kernels = [x for n, x in found.items() if n.endswith(("lora_a", "t/kernel"))]
  assert all(np.std(x) > 0 for x in kernels)
  other = leaves(first_params(experiment, seed=1))
  changed = {name for name in found if (found[name] != other[name]).any()}
  assert changed and all(is_new(name) for name in changed)


def test_only_a_head_on_the_policy_can_read_its_certainty(tmp_path, model):
  said = refusal(tmp_path, model, prm__certainty=True, prm__trunk="separate")
  assert "set prm.trunk to 'shared', or prm.certainty to False" in said
  said = refusal(tmp_path, model, prm__certainty=True, thinking__end="so")
  assert "leave thinking.end empty" in said
  experiment = build(tmp_path, model, prm__certainty=True)
  found = leaves(first_params(experiment))
  kernel = found["thought_head/hidden/kernel"]
  width = experiment.policy.config.model_size
  assert kernel.shape == (width + 2, width)


@pytest.mark.parametrize("kind", ["implicit", "head"])
def test_a_reward_model_begins_as_the_policy(tmp_path, model, kind):
  experiment = build(
    tmp_path,
    model,
    prm__trunk="separate",
    prm__kind=kind,
    prm__certainty=False,
  )
  policy = first_params(experiment)
  prm = train_prm.from_policy(experiment.prm, policy, jax.random.key(3))
  before, found = leaves(policy), leaves(prm)
  own = {"implicit": "implicit_head", "head": "thought_head"}[kind]
  assert any(name.startswith(own) for name in found)
  for name, value in found.items():
    if not name.startswith(own):
      np.testing.assert_array_equal(value, before[name], err_msg=name)
  tokens = np.arange(24, dtype=np.int32).reshape(2, 12)
  hidden = lambda network, params: network.apply(params, jnp.asarray(tokens))[0]
  np.testing.assert_array_equal(
    hidden(experiment.prm, prm), hidden(experiment.policy, policy)
  )


def test_a_conversation_is_what_its_template_writes(tmp_path, model):
  experiment = build(tmp_path, model)
  problem = experiment.task.problem("train", 3)
  system, user = (text for _, text in problem.messages)
  assert problem.question in user
  messages = [
    {"role": "system", "content": system},
    {"role": "user", "content": user},
  ]
  expected = chat.to_ids(chat.render("smollm2", messages), experiment.tokenizer)
  assert experiment.encode_prompt(problem) == expected
  text = experiment.tokenizer.decode(expected)
  assert text == f"system\n{system}\nuser\n{user}\nassistant\n"
  batch = experiment.problems("train", 3, 1)
  length = int(batch.prompt_length[0])
  np.testing.assert_array_equal(batch.prompt[0, :length], expected)


def test_a_conversation_without_a_template_is_refused(tmp_path, model):
  experiment = build(tmp_path, model, tokenizer__chat="")
  with pytest.raises(ConfigError, match="tokenizer.chat names no template"):
    experiment.problems("train", 0, 1)
  experiment = build(tmp_path, model, tokenizer__chat="llama3")
  with pytest.raises(ConfigError, match="choose the chat template that"):
    experiment.problems("train", 0, 1)


def test_another_tokenizer_is_refused(tmp_path, model):
  sentence = refusal(tmp_path, model, tokenizer__kind="character")
  assert "set it to 'huggingface'" in sentence
  sentence = refusal(tmp_path, "", model__path="")
  assert "neither tokenizer.path nor model.path" in sentence
  other = tmp_path / "other"
  rows = build(tmp_path, model).policy.config.vocab_size
  size = tiny_model.write_tokenizer(other, ("strawberries and cream",))
  assert size > rows
  sentence = refusal(tmp_path, model, tokenizer__path=str(other))
  assert f"has {size} ids and the model {rows}" in sentence


def test_a_context_that_is_too_short_is_refused(tmp_path, model):
  sentence = refusal(tmp_path, model, data__max_prompt_tokens=245)
  assert "exceed the context of 256; lower data.max_prompt_tokens" in sentence
  build(tmp_path, model, data__max_prompt_tokens=244)


def run_loop(monkeypatch, workdir, model):
  """Runs what scripts/run_loop.py does; returns its exit status."""
  config = tiny_model.config(model)
  monkeypatch.setattr(config_lib, "load", lambda argv: (config, workdir))
  return config_lib.main(loop.run, stage_lib.USER_ERRORS, [])


@pytest.mark.parametrize("damage", ["folder", "weights", "config", "tokenizer"])
def test_a_damaged_model_is_one_sentence_and_leaves_nothing(
  tmp_path, model, monkeypatch, capsys, damage
):
  copy, workdir = tmp_path / "model", tmp_path / "run"
  shutil.copytree(model, copy)
  if damage == "folder":
    shutil.rmtree(copy)
  else:
    name = {"weights": "model.safetensors"}.get(damage, f"{damage}.json")
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
  assert run_loop(monkeypatch, workdir, copy) == 2
  said = capsys.readouterr().err
  assert said.startswith("error: ") and len(said.splitlines()) == 1
  assert str(copy) in said
  assert not list(workdir.glob("checkpoints/*/*"))
  assert not (workdir / "stages.json").exists()


def test_a_run_goes_on_once_its_model_is_whole(tmp_path, model):
  copy = tmp_path / "model"
  shutil.copytree(model, copy)
  whole = (copy / "model.safetensors").read_bytes()
  (copy / "model.safetensors").write_bytes(whole[:-4])
  config = tiny_model.config(copy)
  with pytest.raises(stage_lib.USER_ERRORS):
    train_sft.run(config, tmp_path / "run")
  (copy / "model.safetensors").write_bytes(whole)
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    train_sft.warm_up(stage)
    found, first = leaves(stage.policy("sft")), leaves(stage.first_policy())
  for name, value in first.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)
