"""Tests of when the warm-up lowers its learning rate, and when it stops."""

import pathlib

import pytest

from reasoning_rl.pipelines import config_file, train_sft
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.training import metrics

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _warm_up(path, **changes):
  """Returns the summary and the learning rates of both phases."""
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  config.sft.update(
    demonstrations=8,
    batch_size=8,
    held_steps=12,
    hold_until=1.0,
    decay_steps=4,
    max_decay_steps=10,
    validate_every=2,
    validation_problems=8,
  )
  config.sft.update(changes)
  config.sft.optimizer.warmup_steps = 2
  with stage_lib.open_stage(config, path) as stage:
    summary = train_sft.warm_up(stage)
    rates = [
      [row["learning_rate"] for row in metrics.read(directory)]
      for directory in (
        stage.workdir.metrics / train_sft.HELD,
        stage.workdir.metrics / train_sft.NAME,
      )
    ]
  return summary, *rates


def test_the_learning_rate_is_held_and_then_decays(tmp_path):
  # No pass@1 gains less than -2 points, so only the upper limit ends the decay.
  summary, held, decay = _warm_up(tmp_path / "run", plateau_gain=-2.0)
  assert held == pytest.approx([2.5e-3] + [5e-3] * 11)
  assert decay[0] == pytest.approx(5e-3)
  assert decay[4:] == pytest.approx([5e-4] * 6)
  assert summary["steps"] == 22
  assert [step for step, _ in summary["validation"]] == list(range(2, 23, 2))


def test_the_decay_begins_at_the_wanted_pass_at_1(tmp_path):
  summary, held, _ = _warm_up(
    tmp_path / "run", hold_until=0.0, plateau_gain=-2.0
  )
  assert (len(held), summary["steps"]) == (2, 12)


def test_no_plateau_counts_before_the_decay_is_over(tmp_path):
  # Any pass@1 gains less than 2 points.
  summary, _, decay = _warm_up(tmp_path / "run", plateau_gain=2.0)
  assert (len(decay), summary["steps"]) == (4, 16)


def test_a_plateau_is_a_last_fifth_that_gained_too_little():
  rising = [[step, step / 100] for step in range(10, 101, 10)]
  assert not train_sft.plateaued(rising, 0.01)
  # Best before 80: 0.8; after it 0.805.
  assert train_sft.plateaued([*rising[:8], [90, 0.7], [100, 0.805]], 0.01)
  assert not train_sft.plateaued([*rising[:8], [90, 0.82], [100, 0.7]], 0.01)
  assert not train_sft.plateaued([[10, 0.5]], 0.01)
