"""PRMs against first wrong steps that people have marked."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.decoding import scoring
from reasoning_rl.pipelines import (
  champ,
  config_file,
  fit,
  preview,
  train_prm,
)
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import champ as champ_lib

_ROOT = pathlib.Path(__file__).parents[2]
_STEPS = ("We have 12 + 7 = 19 pens.", "So 19 + 1 = 21.", "The answer is 21.")
pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(name="config")
def fixture_config(tokenizer_folder):
  config = config_file.load(_ROOT / "configs" / "smollm2_words.py", "")
  with config.unlocked():
    config.model.path = ""
    config.tokenizer.path = str(tokenizer_folder)
    config.network.update(model_size=16, num_layers=1, num_heads=2)
    config.network.update(num_kv_heads=1, head_size=8, mlp_size=16)
    config.network.update(max_positions=1024, lora_rank=0)
    config.prm.update(trunk="separate", kind="implicit", certainty=False)
    config.prm.optimizer.warmup_steps = 0
  return config


@pytest.fixture(name="experiment")
def fixture_experiment(config, tmp_path):
  with preview.reader(config, tmp_path) as experiment:
    yield experiment


def _solution(name="P_1", error=1, steps=_STEPS):
  return champ_lib.Solution(name, "How many pens?", "20", "m", steps, error)


def _some(count=24):
  """Returns solutions of as many problems, a third of them without error."""
  return [
    _solution(f"P_{i}", None if i % 3 == 0 else i % 3) for i in range(count)
  ]


def test_a_mark_is_the_thought_that_its_line_is_in(experiment):
  row = champ.read(experiment, _solution(), 0)
  assert row.correct.tolist() == [True, False] and row.mask.all()
  start = row.thought_end[0] + 1
  assert experiment.tokenizer.decode(row.tokens[start:]) == _STEPS[1] + "\n"
  whole = champ.read(experiment, _solution(error=None), 0)
  assert whole.correct.tolist() == [True] * 3
  assert whole.tokens[-1] == experiment.tokenizer.end_id
  # What a person did not judge is not read: nothing before it depends on it.
  assert whole.tokens[: len(row.tokens)] == row.tokens


@pytest.mark.parametrize("kind", ["paragraph", "every-5"])
def test_a_mark_is_found_in_thoughts_of_other_kinds(config, tmp_path, kind):
  with config.unlocked():
    config.data.thoughts = kind
  with preview.reader(config, tmp_path) as experiment:
    row = champ.read(experiment, _solution(error=2), 0)
    ends = row.thought_end
    text = experiment.tokenizer.decode(row.tokens[ends[-2] + 1 : ends[-1] + 1])
  assert not row.correct[-1] and row.correct[:-1].all()
  if kind == "paragraph":
    assert text == _STEPS[2] and len(ends) == 3
  else:  # The last thought is the one that the line begins in.
    shown = _STEPS[2].split(" ")[0]
    assert shown[:1] in text


def test_scores_do_not_depend_on_padding(experiment):
  steps = tuple(f"Step {i}: we have {i}." for i in range(20))
  rows = [
    champ.read(experiment, solution, 0)
    for solution in (_solution(), _solution(steps=steps, error=15))
  ]
  prm = experiment.prm.init(jax.random.key(1))
  prm["implicit_head"] = jax.tree.map(lambda x: x + 0.01, prm["implicit_head"])
  found = champ.score(experiment, prm, rows)
  for row, scores in zip(rows, found, strict=True):
    alone = scoring.thought_logits(
      experiment.prm,
      prm,
      np.array([row.tokens], np.int32),
      np.array([row.prompt_length], np.int32),
      np.array([row.thought_end], np.int32),
    )
    expected = jax.nn.sigmoid(alone)[0]
    size = len(row.thought_end)
    np.testing.assert_allclose(scores[:size], expected, rtol=1e-4, atol=1e-6)
  assert len(set(found[1][:15].tolist())) > 1


def test_a_prm_that_knows_all_scores_all(experiment, monkeypatch):
  def oracle(experiment, prm, rows, progress):
    right = champ._padded(rows, "correct")
    return np.where(right, 0.9, 0.1).astype(np.float32)

  monkeypatch.setattr(champ, "score", oracle)
  found = champ.measure(experiment, None, _some())
  quality = found["quality"]
  assert quality.first_error_f1.mean == quality.auroc.mean == 1.0
  assert found["problems"] + found["choosing_problems"] == 24
  assert quality.solutions == found["problems"]
  assert quality.calibration_error.mean == pytest.approx(0.1)


def test_a_prm_that_knows_nothing_finds_no_error(experiment, monkeypatch):
  flat = lambda experiment, prm, rows, progress: np.full(
    champ._padded(rows, "mask").shape, 0.5, np.float32
  )
  monkeypatch.setattr(champ, "score", flat)
  quality = champ.measure(experiment, None, _some())["quality"]
  assert quality.auroc.mean == 0.5
  assert quality.first_error_f1.mean == 0.0


def test_too_few_solutions_are_a_sentence(experiment, monkeypatch):
  monkeypatch.setattr(
    champ, "score", lambda e, p, rows, _: np.zeros((len(rows), 3), np.float32)
  )
  with pytest.raises(ConfigError, match="both halves of the problems need"):
    champ.measure(experiment, None, _some(2))
  experiment = dataclasses.replace(
    experiment,
    prm=dataclasses.replace(
      experiment.prm,
      config=dataclasses.replace(experiment.prm.config, max_positions=4),
    ),
  )
  with pytest.raises(ConfigError, match="no solution fits the context of 4"):
    champ.measure(experiment, None, _some())


def test_the_marks_of_people_are_read(experiment):
  pytest.importorskip("champ_dataset")
  every = champ_lib.champ_solutions()
  assert len(every) == 540
  assert sum(solution.first_error is None for solution in every) == 96
  for solution in every[:12]:
    row = champ.read(experiment, solution, 0)
    assert (solution.first_error is None) == row.correct.all()
    if solution.first_error is not None:
      start = row.thought_end[-2] + 1 if len(row.thought_end) > 1 else None
      text = experiment.tokenizer.decode(
        row.tokens[row.prompt_length if start is None else start :]
      )
      assert text.strip() == solution.steps[solution.first_error]


def test_a_run_writes_what_it_measured(config, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(champ_lib, "champ_solutions", lambda source: _some())
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    experiment = stage.experiment
    policy = experiment.policy.init(experiment.rng(0))
    start = train_prm.from_policy(experiment.prm, policy, experiment.rng(1))
    task = fit.Fit(
      name="prm",
      loss_fn=lambda *_: (0.0, {}),
      batch_at=lambda *_: None,
      num_steps=0,
      optimizer=config.prm.optimizer,
    )
    stage.fit(task, start, stage.prm_directory("prm_0"), 1)
  champ.run(config, tmp_path / "run")
  assert "first-error F1" in capsys.readouterr().out
  found = json.loads((tmp_path / "run" / "report" / champ.FILE).read_text())
  assert found["prm"] == "prm_0" and found["too_long"] == 0
  assert found["quality"]["solutions"] == found["problems"]
  with pytest.raises(ConfigError, match="there is no PRM in"):
    champ.run(config, tmp_path / "other")
