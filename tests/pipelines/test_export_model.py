"""What is not exported, and what a model card says of a run."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from reasoning_rl.pipelines import config_file, export_model, model_card
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError, UserError
from tests.pipelines import tiny_model

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module", name="model")
def fixture_model(tmp_path_factory):
  return tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")


def refusal(workdir, output, **options):
  with pytest.raises(UserError) as caught:
    export_model.run(workdir, output, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def open_run(config, path):
  with stage_lib.open_stage(config, path):
    return path


def test_a_folder_that_is_there_is_left_alone(tmp_path):
  (tmp_path / "mine").write_text("thesis")
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "mine").write_text("thesis")
  for name in ("mine", "full"):
    assert "is there already" in refusal(tmp_path, tmp_path / name)
  assert (tmp_path / "full" / "mine").read_text() == "thesis"


def test_a_folder_of_no_run_is_refused_and_not_made(tmp_path):
  nowhere = tmp_path / "nowhere"
  assert "holds no run" in refusal(nowhere, tmp_path / "out")
  assert not nowhere.exists()
  (tmp_path / "file").write_text("x")
  assert "cannot be read" in refusal(tmp_path / "file", tmp_path / "out")


def test_a_character_tokenizer_is_refused_with_the_reason(tmp_path):
  config = config_file.load(tiny_model.CONFIGS / "arithmetic.py", "tiny")
  workdir = open_run(config, tmp_path / "run")
  sentence = refusal(workdir, tmp_path / "out", licence="mit")
  assert "'character', for which there is no tokenizer.json" in sentence


def test_a_run_without_a_policy_is_refused(tmp_path, model):
  workdir = open_run(tiny_model.config(model), tmp_path / "run")
  assert "holds no finished policy: run" in refusal(workdir, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_the_newest_policy_of_the_loop_is_chosen():
  newest = export_model._newest
  assert newest(["sft"]) == "sft"
  assert newest(["sft", "policy_0_imitation"]) == "sft"
  assert newest(["sft", "policy_9", "policy_10", "baseline_outcome"]) == (
    "policy_10"
  )


def write_card(folder, text):
  folder.mkdir(exist_ok=True)
  (folder / "README.md").write_text(text)
  return model_card.base_of(str(folder))


def test_a_licence_is_found_or_asked_for(tmp_path, model):
  assert model_card.base_of(str(model)).licence == "cc0-1.0"
  base = write_card(tmp_path / "a", "---\nlicense: mit\n---\nlicense: no\n")
  assert (base.name, base.licence) == ("a", "mit")
  assert model_card.licence(base, "") == "mit"
  with pytest.raises(ConfigError, match="a is under 'mit', which binds"):
    model_card.licence(base, "apache-2.0")
  for text in ("", "license: mit\n", "---\nother: x\n---\nlicense: mit\n"):
    base = write_card(tmp_path / "b", text)
    with pytest.raises(ConfigError, match="b does not name its licence"):
      model_card.licence(base, "")
  assert model_card.licence(base, "mit") == "mit"
  with pytest.raises(ConfigError, match="started from no pretrained model"):
    model_card.licence(model_card.base_of(""), "")


def test_a_fetched_model_is_known_by_its_source(tmp_path):
  (tmp_path / "source.json").write_text('{"model": "SmolLM2-135M-Instruct"}')
  (tmp_path / "LICENSE").write_text("Apache")
  base = model_card.base_of(str(tmp_path))
  assert base.origin == "HuggingFaceTB/SmolLM2-135M-Instruct"
  assert base.licence == "apache-2.0"
  assert base.terms == (tmp_path / "LICENSE",)
  for damaged in ("[]", "{", '{"model": 1}', "[" * 100_000):
    (tmp_path / "source.json").write_text(damaged)
    assert model_card.base_of(str(tmp_path)).licence == ""


def test_the_stages_of_a_policy_are_those_on_its_way():
  stages = model_card._stages_of
  assert stages("sft") == ["sft"]
  assert stages("policy_1") == [
    "sft",
    "policy_0_imitation",
    "policy_0",
    "policy_1_imitation",
    "policy_1",
  ]
  assert stages("policy_0_imitation") == ["sft", "policy_0_imitation"]


def test_the_script_refuses_in_one_sentence(tmp_path):
  script = [sys.executable, ROOT / "scripts" / "export_model.py"]
  flags = [f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'out'}"]
  refused = subprocess.run([*script, *flags], capture_output=True, text=True)
  assert refused.returncode == 2
  assert refused.stderr.startswith("error: ")
  assert len(refused.stderr.splitlines()) == 1
