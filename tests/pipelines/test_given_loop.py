"""The whole loop on a user's own file, and on a generator of reasoning_gym."""

from __future__ import annotations

import json

import pytest

from reasoning_rl.data import trajectory_store
from reasoning_rl.evaluation import results
from reasoning_rl.pipelines import loop
from reasoning_rl.tasks import registry
from tests.pipelines import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation")]


@pytest.fixture(scope="module", name="model")
def fixture_model(tmp_path_factory):
  return tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")


def _jsonl(path):
  """Questions with few answers, so that a small model is sometimes right."""
  rows = [
    {
      "question": f"Is {number} odd or even?",
      "answer": ("even", "odd")[number % 2],
      "solution": f"I see {number % 10} at the end.",
    }
    for number in range(10, 90)
  ]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return {"train": str(path), "answer_kind": "exact"}


def _gym(path):
  options = '{"min_numbers": 2, "max_numbers": 2, "max_value": 20}'
  return {"generator": "gcd", "options": options}


@pytest.mark.parametrize("name", ["jsonl", "gym"])
def test_a_given_task_runs_through_the_loop(name, model, tmp_path):
  if name == "gym":
    pytest.importorskip("reasoning_gym")
  options = {"jsonl": _jsonl, "gym": _gym}[name](tmp_path / "own.jsonl")
  config = tiny_model.config(
    model,
    task__name=name,
    network__lora_rank=0,
    sft__max_steps=60,
    sft__decay_steps=60,
    sft__demonstrations=60,
    sft__validation_problems=4,
    data__max_prompt_tokens=120,
    data__max_thought_tokens=20,
    data__max_thoughts=3,
    data__max_completion_tokens=32,
    loop__baselines=(),
    evaluate__problems=4,
    evaluate__validation_problems=4,
  )
  with config.unlocked():
    config.task[name].update(options, shots=0, prompt_style="chat")
  path = tmp_path / "run"
  loop.run(config, path)
  found = results.read_results(path / "report" / "results.json")
  assert found["task"] == name and found["heldout_problems"] == 4
  methods = {curve["method"] for curve in found["curves"]}
  assert {"pass@k", "majority vote", "best-of-N, PRM", "beam, PRM"} <= methods
  stages = json.loads((path / "stages.json").read_text())
  assert stages["collect_0"]["pass_at_1"] > 0
  rewards = trajectory_store.load(path / "trajectories" / "0").outcome_reward
  assert 0 < rewards.mean() < 1
  task = registry.make(name, **config.task[name].to_dict())
  manifest = (path / "trajectories" / "0").rglob("*.json")
  assert any(task.version in file.read_text() for file in manifest)
