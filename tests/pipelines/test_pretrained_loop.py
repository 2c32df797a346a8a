"""The loop from a tiny pretrained model, and the policy that it exports."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from reasoning_rl.evaluation import results
from reasoning_rl.pipelines import export_model, loop, train_sft
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from tests.pipelines import tiny_model

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module", name="model")
def fixture_model(tmp_path_factory):
  return tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module", name="taught")
def fixture_taught(model, tmp_path_factory, quick_compilation):
  """The model after a warm-up, exported: nothing random is ever right."""
  config = tiny_model.config(
    model,
    network__lora_rank=0,
    sft__max_steps=60,
    sft__decay_steps=60,
    sft__demonstrations=200,
  )
  path = tmp_path_factory.mktemp("taught") / "run"
  train_sft.run(config, path)
  return config, path, export_model.run(path, path.with_name("taught"))


@pytest.fixture(scope="module", name="finished")
def fixture_finished(taught, tmp_path_factory):
  """A run from final answers alone that starts from what was exported."""
  config = tiny_model.config(
    taught[2], loop__baselines=(), collect__final_problems=5
  )
  path = tmp_path_factory.mktemp("loop") / "run"
  loop.run(config, path)
  return config, path


@pytest.fixture(scope="module", name="exported")
def fixture_exported(finished):
  _, path = finished
  return export_model.run(path, path.with_name("exported"))


def test_a_model_that_is_never_right_stops_the_loop_early(tmp_path, model):
  config = tiny_model.config(model, collect__problems=4, collect__labelled=4)
  with pytest.raises(ConfigError, match="none of the 16 sampled") as caught:
    loop.run(config, tmp_path / "run")
  assert "preflight" in str(caught.value) and "\n" not in str(caught.value)
  stages = json.loads((tmp_path / "run" / "stages.json").read_text())
  assert list(stages) == ["sft", "collect_0"]


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    (
      {"sft__max_steps": 9, "sft__optimizer__warmup_steps": 5000},
      "sft.optimizer cannot be used: decay_steps=1200 must exceed warmup_step",
    ),
    (
      {"imitation__optimizer__warmup_steps": 2},
      "imitation.optimizer, for the 2 updates of imitation.steps, cannot be",
    ),
    ({"rl__optimizer__b1": 1.5}, "rl.optimizer, .* b1=1.5 must be at least 0"),
    ({"prm__optimizer__schedule": "step"}, "prm.opt.* Unknown schedule 'step'"),
  ],
)
def test_an_optimizer_that_cannot_be_meant_stops_the_loop_at_once(
  tmp_path, model, changes, sentence
):
  config = tiny_model.config(model, **changes)
  with pytest.raises(ConfigError, match=sentence) as caught:
    loop.run(config, tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run" / "stages.json").exists()


def test_a_lone_stage_refuses_its_optimizer_and_no_other(tmp_path, model):
  changes = {"sft__max_steps": 9, "sft__optimizer__warmup_steps": 5000}
  config = tiny_model.config(model, **changes)
  with pytest.raises(ConfigError, match="the optimizer of sft cannot be used"):
    train_sft.run(config, tmp_path / "run")
  # Without updates the schedule does not matter.
  changes = {"sft__max_steps": 0, "rl__optimizer__warmup_steps": 5000}
  train_sft.run(tiny_model.config(model, **changes), tmp_path / "other")


@pytest.mark.slow
def test_the_loop_runs_to_its_report(finished):
  config, path = finished
  found = results.read_results(path / "report" / "results.json")
  assert [s["name"] for s in found["stages"]] == [
    "warm-up",
    "loop, iteration 1",
  ]
  stages = json.loads((path / "stages.json").read_text())
  assert stages["collect_0"]["pass_at_1"] > 0
  assert stages["collect_0"]["trajectories"] == 8 * config.collect.rollouts
  assert stages["collect_1"]["trajectories"] == 5 * config.collect.rollouts


def test_a_warm_up_goes_on_from_the_files_weights(taught):
  config, path, _ = taught
  with stage_lib.open_stage(config, path) as stage:
    policy, first = stage.policy("sft"), stage.first_policy()
  # 60 small steps lead away from the start, and not to another place.
  for name in ("token_embedding", "language_head"):
    (now,), (before,) = map(jax.tree.leaves, (policy[name], first[name]))
    correlation = np.corrcoef(np.ravel(now), np.ravel(before))[0, 1]
    assert 0.5 < correlation < 0.9999, name


@pytest.mark.slow
def test_an_exported_policy_opens_in_transformers(finished, exported):
  import torch
  import transformers

  config, path = finished
  model = transformers.AutoModelForCausalLM.from_pretrained(
    exported, attn_implementation="eager"
  )
  tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
  with stage_lib.open_stage(config, path) as stage:
    experiment = stage.experiment
    policy = stage.policy("policy_0")
    problems = experiment.problems("validation", 0, 4)
    network = experiment.policy
    hidden, _ = network.apply(policy, problems.prompt)
    ours = np.asarray(network.logits(policy, hidden))
    base, _ = network.apply(stage.first_policy(), problems.prompt)
    before = np.asarray(network.logits(stage.first_policy(), base))
  with torch.no_grad():
    theirs = model(torch.from_numpy(problems.prompt).long()).logits.numpy()
  for row, length in enumerate(problems.prompt_length):
    np.testing.assert_allclose(
      ours[row, :length], theirs[row, :length], atol=2e-4
    )
  assert np.abs(ours - before).max() > 0.01  # It has learnt something.
  text = problems.problems[0].question
  ids = tokenizer(text, add_special_tokens=False)["input_ids"]
  assert ids == experiment.tokenizer.encode(text)
  assert tokenizer.eos_token_id == experiment.tokenizer.end_id
  ends = list(experiment.tokenizer.end_ids)
  assert model.generation_config.eos_token_id == ends


@pytest.mark.slow
def test_the_model_card_says_where_it_comes_from(finished, exported):
  _, path = finished
  card = (exported / "README.md").read_text()
  found = results.read_results(path / "report" / "results.json")
  for part in (
    'license: "cc0-1.0"',
    'base_model: "taught"',
    "Task: word_problems-1",
    "Adapters of rank 2",
    "policy_0_imitation: 2 updates, supervised",
    "policy_0: 2 updates of reinforcement learning",
    f"Config hash: {found['config_hash']}",
    "8 held-out problems",
    f"| this model | {found['stages'][1]['greedy_pass_at_1']['mean']:.1%}",
  ):
    assert part in card, part


@pytest.mark.slow
def test_the_next_run_starts_from_an_exported_policy(taught, finished):
  config, path, _ = taught
  with stage_lib.open_stage(config, path) as stage:
    before = stage.policy("sft")
    fingerprint = stage.experiment.tokenizer.fingerprint()
  config, path = finished
  with stage_lib.open_stage(config, path) as stage:
    after = stage.experiment.policy.merge(stage.first_policy())
    assert stage.experiment.tokenizer.fingerprint() == fingerprint
  heads = [params.pop("thought_head") for params in (before, after)]
  assert len(heads) == 2
  jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.slow
def test_a_policy_is_exported_by_name_and_in_bfloat16(finished, tmp_path):
  _, path = finished
  with pytest.raises(ConfigError, match="'x': give one of sft, policy_0_imi"):
    export_model.run(path, tmp_path / "x", policy="x")
  folder = export_model.run(
    path, tmp_path / "out", policy="sft", dtype="bfloat16"
  )
  config = json.loads((folder / "config.json").read_text())
  assert config["torch_dtype"] == "bfloat16"
  card = (folder / "README.md").read_text()
  assert "| this model |" in card and "policy_0:" not in card
