"""Prompts compared on validation problems."""

import contextlib
import io
import json
import pathlib

import numpy as np
import pytest
import rich.console

from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import preflight, prompt_choice, sampled
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from tests.pipelines import tiny_model

_ROOT = pathlib.Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module", name="config")
def fixture_config(tmp_path_factory):
  model = tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")
  return tiny_model.config(
    model,
    preflight__problems=6,
    preflight__rollouts=2,
    preflight__prompts=("ended:1", "ended:0"),
  )


def test_a_prompt_is_measured_as_a_run_with_it_would_be(
  config, tmp_path, capsys
):
  preflight.run(config, tmp_path / "run")
  found = json.loads((tmp_path / "run" / preflight.FILE).read_text())["prompts"]
  shown = " ".join(capsys.readouterr().out.split())
  assert {record["prompt"] for record in found} == {"ended:0", "ended:1"}
  for record in found:
    assert f"{record['prompt']} is right in" in shown
    own = prompt_choice.config_of(config, record["prompt"])
    own.data.max_prompt_tokens = record["longest_prompt"]
    with stage_lib.open_stage(own, tmp_path / record["prompt"]) as stage:
      problems = stage.experiment.different_problems("validation", 0, 6)
      expected = sampled.greedy(
        stage.experiment, stage.first_policy(), problems
      )
    assert record["longest_prompt"] == problems.prompt_length.max()
    assert record["greedy_pass_at_1"]["mean"] == expected.correct.mean()
    assert record["truncated"] == expected.truncated_mask.mean()
    assert record["unparsed"] == expected.unparsed_mask.mean()
  # A worked example is read as well.
  by_prompt = {record["prompt"]: record["longest_prompt"] for record in found}
  assert by_prompt["ended:1"] > by_prompt["ended:0"]


def test_the_best_prompt_comes_first(config, tmp_path, monkeypatch):
  rights = iter((1, 3))

  def greedy(experiment, policy, problems):
    correct = np.arange(len(problems))[:, None] < next(rights)
    lost = np.zeros_like(correct)
    return sampled.Sampled(correct, lost, lost, lost, tokens=1.0)

  monkeypatch.setattr(sampled, "greedy", greedy)
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    found = prompt_choice.compare(stage, None)
  rates = {r["prompt"]: r["greedy_pass_at_1"]["mean"] for r in found}
  assert rates == {"ended:0": 3 / 6, "ended:1": 1 / 6}
  assert list(rates) == ["ended:0", "ended:1"]


def test_a_prompt_above_the_runs_limit_is_marked(config):
  record = {
    "greedy_pass_at_1": dict(mean=0.5, low=0.25, high=0.75),
    "truncated": 0.1,
    "unparsed": 0.0,
    "undecided": 0.2,
  }
  most = config.data.max_prompt_tokens
  found = [
    record | {"prompt": "ended:9", "longest_prompt": most + 1},
    record | {"prompt": "chat:0", "longest_prompt": most},
  ]
  console = rich.console.Console(file=io.StringIO(), width=160)
  console.print(prompt_choice._table(config, found))
  rows = console.file.getvalue().splitlines()
  (above,) = [row for row in rows if "ended:9" in row]
  (fits,) = [row for row in rows if "chat:0" in row]
  assert f"{most + 1} tokens, above {most}" in above
  assert f"{most} tokens " in fits and "above" not in fits
  assert "(the config's)" in fits and "20.0%" in fits


def test_a_prompt_beyond_the_context_is_named(config, tmp_path):
  config = config.copy_and_resolve_references()
  config.preflight.prompts = ("ended:0", "ended:40")
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    with pytest.raises(ConfigError, match="has 'ended:40': .* context of 256"):
      prompt_choice.compare(stage, None)


def test_the_task_of_a_prompt_is_closed(config, tmp_path, monkeypatch):
  opened, ready = [], stage_lib.ready

  @contextlib.contextmanager
  def watched(task, say):
    opened.append(task.shots)
    with ready(task, say):
      yield
    opened.append("closed")

  monkeypatch.setattr(stage_lib, "ready", watched)
  lost = np.zeros((6, 1), bool)
  monkeypatch.setattr(
    sampled,
    "greedy",
    lambda *_: sampled.Sampled(lost, lost, lost, lost, tokens=1.0),
  )
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    prompt_choice.compare(stage, None)
  # Around them is the run's own task.
  assert opened[1:-1] == [1, "closed", 0, "closed"]


def test_the_rest_of_the_config_stays(config):
  other = prompt_choice.config_of(config, "ended:3")
  task, own = (c.task[c.task.name] for c in (other, config))
  assert (task.prompt_style, task.shots) == ("ended", 3)
  assert (own.prompt_style, own.shots) != ("ended", 3)
  task.update(prompt_style=own.prompt_style, shots=own.shots)
  assert other.to_json() == config.to_json()


@pytest.mark.parametrize(
  ("prompt", "sentence"),
  [
    ("ended", "preflight.prompts has 'ended': write a style and a number"),
    ("ended:x", "preflight.prompts has 'ended:x'"),
    ("ended:-1", "preflight.prompts has 'ended:-1'"),
    ("poem:2", "prompt_style is 'poem': use one of ended, chat"),
  ],
)
def test_a_prompt_that_cannot_be_is_refused(config, tmp_path, prompt, sentence):
  with pytest.raises((ConfigError, task_base.TaskError), match=sentence):
    experiment_lib.build(prompt_choice.config_of(config, prompt), tmp_path)


def test_a_task_of_symbols_has_no_prompt_to_choose(tmp_path):
  path = f"--config={_ROOT}/configs/arithmetic.py:tiny"
  config, _ = config_lib.load([path, f"--workdir={tmp_path / 'run'}"])
  with pytest.raises(ConfigError, match="'arithmetic' is not: leave it empty"):
    prompt_choice.config_of(config, "ended:4")
