"""Tests of a run's folder: its layout, its refusals and its ledger."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from reasoning_rl.pipelines import workdir as workdir_lib
from reasoning_rl.pipelines.errors import WorkdirError


def make_config(**changes):
  config = ml_collections.ConfigDict({"seed": 0, "rl": {"steps": 100}})
  config.update_from_flattened_dict(changes)
  return config


def open_and_close(path, config=None):
  with workdir_lib.open_workdir(path, config or make_config()) as workdir:
    return workdir


def begin(path):
  """Keeps a checkpoint of a run."""
  workdir = open_and_close(path)
  (workdir.policy_checkpoints / "sft").mkdir()
  (workdir.policy_checkpoints / "sft" / "data").write_text("1")


def refusal(path, config=None):
  """Returns the sentence with which the folder is refused."""
  with pytest.raises(WorkdirError) as caught:
    open_and_close(path, config)
  sentence = str(caught.value)
  assert str(path) in sentence
  assert "\n" not in sentence
  return sentence


def test_a_new_folder_gets_the_layout_and_the_config(tmp_path):
  workdir = open_and_close(tmp_path / "a" / "run")
  names = {
    str(path.relative_to(workdir.path)) for path in workdir.path.rglob("*")
  }
  assert names == {
    ".lock",
    "config.json",
    "checkpoints",
    "checkpoints/policy",
    "checkpoints/prm",
    "trajectories",
    "metrics",
    "report",
  }
  assert workdir.read_config() == {"seed": 0, "rl": {"steps": 100}}
  assert workdir.trajectories(3) == workdir.path / "trajectories" / "3"


def test_the_same_config_continues_where_it_was(tmp_path):
  with workdir_lib.open_workdir(tmp_path, make_config()) as workdir:
    assert not workdir.finished("collect/0")
    workdir.finish("collect/0", {"trajectories": 12})
  with workdir_lib.open_workdir(tmp_path, make_config()) as workdir:
    assert workdir.finished("collect/0")
    assert workdir.summary("collect/0") == {"trajectories": 12}


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path):
  begin(tmp_path)
  before = (tmp_path / "config.json").read_bytes()
  sentence = refusal(tmp_path, make_config(**{"rl.steps": 200, "seed": 1}))
  assert "(rl.steps: 100 -> 200; seed: 0 -> 1)" in sentence
  assert (tmp_path / "config.json").read_bytes() == before


def test_a_config_that_came_to_nothing_does_not_keep_the_folder(tmp_path):
  workdir = open_and_close(tmp_path)
  (tmp_path / "tokenizer.json").write_text("{}")
  (tmp_path / "compilation_cache").mkdir()
  (tmp_path / "compilation_cache" / "a").write_text("1")
  open_and_close(tmp_path, make_config(seed=1))
  assert workdir.read_config()["seed"] == 1
  # What the whole run depends on counts, as does anything unknown.
  (tmp_path / "tokenizer.model").write_text("1")
  assert "(seed: 1 -> 2)" in refusal(tmp_path, make_config(seed=2))
  (tmp_path / "tokenizer.model").unlink()
  with workdir_lib.open_workdir(tmp_path, make_config(seed=1)) as workdir:
    workdir.finish("sft", {})
  assert "(seed: 1 -> 2)" in refusal(tmp_path, make_config(seed=2))


def test_a_long_list_of_differences_is_cut(tmp_path):
  many = ml_collections.ConfigDict({f"key{i}": i for i in range(20)})
  begin(tmp_path)
  assert "and 14 more" in refusal(tmp_path, many)


@pytest.mark.parametrize("name", ["thesis.tex", ".hidden", "config.json"])
def test_a_folder_of_something_else_is_refused_untouched(tmp_path, name):
  (tmp_path / name).write_text('{"model_type": "llama"}')
  refusal(tmp_path)
  assert os.listdir(tmp_path) == [name]


def test_a_run_killed_at_its_very_start_continues(tmp_path):
  (tmp_path / ".lock").write_text("1\n")
  (tmp_path / "config.json.tmp").write_text('{"form')
  assert open_and_close(tmp_path).read_config()["seed"] == 0


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  assert "cannot write to workdir" in refusal(tmp_path / "file")
  assert "cannot write to workdir" in refusal(tmp_path / "file" / "run")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
  def deny(*args, **kwargs):
    raise PermissionError(13, "Permission denied")

  # By hand: the permissions of a real folder do not stop root.
  monkeypatch.setattr(pathlib.Path, "mkdir", deny)
  assert "(Permission denied)" in refusal(tmp_path / "run")


def test_an_error_of_the_run_itself_passes_through(tmp_path):
  with pytest.raises(FileNotFoundError, match="weights"):
    with workdir_lib.open_workdir(tmp_path, make_config()):
      raise FileNotFoundError("weights")


def test_two_runs_at_once_are_refused(tmp_path):
  with workdir_lib.open_workdir(tmp_path, make_config()):
    sentence = refusal(tmp_path)
    assert f"in use by another run (process {os.getpid()})" in sentence
  open_and_close(tmp_path)


def test_the_lock_of_a_killed_process_does_not_stay(tmp_path):
  (tmp_path / ".lock").touch()
  code = "import fcntl, os, sys; fcntl.flock(open(sys.argv[1], 'a'), 2)"
  code += "; os.kill(os.getpid(), 9)"
  died = subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")])
  assert died.returncode == -9
  open_and_close(tmp_path)


def test_a_stage_is_finished_once(tmp_path):
  workdir = open_and_close(tmp_path)
  workdir.finish("sft", {})
  with pytest.raises(ValueError, match="already finished"):
    workdir.finish("sft", {"loss": 1.0})
  assert workdir.summary("sft") == {}


def test_summaries_may_hold_arrays(tmp_path):
  workdir = open_and_close(tmp_path)
  summary = {"accuracy": np.float32(0.5), "curve": jnp.arange(3)}
  workdir.finish("evaluate", summary)
  assert workdir.summary("evaluate") == {"accuracy": 0.5, "curve": [0, 1, 2]}


def test_a_summary_that_cannot_be_written_loses_no_other(tmp_path):
  workdir = open_and_close(tmp_path)
  workdir.finish("sft", {"loss": 0.25})
  with pytest.raises(AttributeError):
    workdir.finish("prm", {"loss": object()})
  assert workdir.summary("sft") == {"loss": 0.25}
  assert not workdir.finished("prm")


def test_a_missing_stage_or_run_is_named(tmp_path):
  workdir = open_and_close(tmp_path / "run")
  with pytest.raises(WorkdirError, match="'prm' is not finished"):
    workdir.summary("prm")
  with pytest.raises(WorkdirError, match="holds no run"):
    workdir_lib.Workdir(tmp_path).read_config()


@pytest.mark.parametrize("text", ["", "[1]", '{"sft": {"loss"'])
def test_a_damaged_ledger_is_named(tmp_path, text):
  workdir = open_and_close(tmp_path)
  workdir.stages_path.write_text(text)
  with pytest.raises(WorkdirError, match="stages.json"):
    workdir.finished("sft")


def test_the_config_file_tells_its_format_and_hash(tmp_path):
  record = json.loads(open_and_close(tmp_path).config_path.read_text())
  assert record["format"] == "reasoning_rl workdir 1"
  assert len(record["hash"]) == 16
