"""Tests of reasoning_rl.training.metrics."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.training import metrics as metrics_lib


def test_metrics_come_back_under_their_prefix(tmp_path):
  with metrics_lib.MetricsWriter(tmp_path / "new") as writer:
    writer.write(1, {"loss": jnp.float32(0.5), "rows": 3}, prefix="train")
    writer.write(2, {"loss": np.float64(0.25)})
    # Readable while the run goes on.
    assert len(metrics_lib.read(tmp_path / "new")) == 2
  assert metrics_lib.read(tmp_path / "new") == [
    {"step": 1, "train/loss": 0.5, "train/rows": 3.0},
    {"step": 2, "loss": 0.25},
  ]
  (events,) = (tmp_path / "new").glob("events.out.tfevents.*")
  assert b"train/loss" in events.read_bytes()


def test_what_is_not_finite_is_null_in_valid_json(tmp_path):
  with metrics_lib.MetricsWriter(tmp_path) as writer:
    writer.write(1, {"nan": float("nan"), "infinite": jnp.inf, "one": 1.0})
  text = (tmp_path / metrics_lib.FILE_NAME).read_text()

  def refuse(constant):
    raise AssertionError(constant)

  line = json.loads(text, parse_constant=refuse)
  assert line == {"step": 1, "nan": None, "infinite": None, "one": 1.0}


def test_a_resumed_run_drops_what_lies_beyond_its_checkpoint(tmp_path):
  with metrics_lib.MetricsWriter(tmp_path) as writer:
    for step in range(1, 6):
      writer.write(step, {"loss": step})
  with (tmp_path / metrics_lib.FILE_NAME).open("a") as file:
    file.write('{"step": 6, "lo')  # Torn by a kill.
  with metrics_lib.MetricsWriter(tmp_path, resume_step=3) as writer:
    writer.write(4, {"loss": 40})
  lines = metrics_lib.read(tmp_path)
  assert [line["step"] for line in lines] == [1, 2, 3, 4]
  assert lines[-1]["loss"] == 40


def test_without_a_step_to_resume_from_only_a_torn_line_is_dropped(tmp_path):
  path = tmp_path / metrics_lib.FILE_NAME
  path.write_text('{"step": 9, "loss": 1.0}\n{"step"')
  with metrics_lib.MetricsWriter(tmp_path) as writer:
    writer.write(10, {"loss": 2.0})
  assert [line["step"] for line in metrics_lib.read(tmp_path)] == [9, 10]


def test_a_metric_that_is_no_scalar_is_named_and_writes_nothing(tmp_path):
  with metrics_lib.MetricsWriter(tmp_path) as writer:
    with pytest.raises(ValueError, match='"loss" is not a number'):
      writer.write(1, {"fine": 1.0, "loss": np.zeros(1)})
    with pytest.raises(ValueError, match='"name" is not a number'):
      writer.write(1, {"name": "policy"})
  assert metrics_lib.read(tmp_path) == []


def test_only_the_first_process_writes(tmp_path, monkeypatch):
  monkeypatch.setattr(metrics_lib.jax, "process_index", lambda: 1)
  with metrics_lib.MetricsWriter(tmp_path / "other") as writer:
    writer.write(1, {"loss": 1.0})
    writer.flush()
  assert not (tmp_path / "other").exists()
