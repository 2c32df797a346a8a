"""The tiny main job, from nothing to the report, and what guards it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from reasoning_rl.data import trajectory_store
from reasoning_rl.data.records import TrajectoryFileError
from reasoning_rl.evaluation import results
from reasoning_rl.pipelines import (
  collect,
  evaluate,
  imitate,
  loop,
  solve,
  train_policy,
  train_prm,
  train_sft,
)
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError, WorkdirError

_ROOT = pathlib.Path(__file__).parents[2]
_CONFIG = "configs/arithmetic.py:tiny"


def _load(path, *flags, config=_CONFIG):
  return config_lib.load([f"--config={config}", f"--workdir={path}", *flags])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  path = tmp_path_factory.mktemp("loop") / "run"
  loop.run(*_load(path))
  return path


def test_the_report_is_written_and_keeps_to_the_schema(finished):
  found = results.read_results(finished / "report" / "results.json")
  assert [s["name"] for s in found["stages"]] == [
    "warm-up",
    "loop, iteration 1",
    "more supervised steps",
  ]
  assert {c["method"] for c in found["curves"]} >= {
    "majority vote",
    "weighted vote, PRM",
    "beam, PRM",
    "mcts, PRM",
  }
  page = (finished / "report" / "index.html").read_text()
  assert "<details" in page
  assert "http://" not in page and "https://" not in page


def test_the_loop_learns_from_final_answers_alone(finished):
  text = (finished / "metrics/policy_0/metrics.jsonl").read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  rewards = [row["reward"] for row in rows]
  stages = json.loads((finished / "stages.json").read_text())
  # Rewards of 128 fresh problems an update, against 256 by the warm-up.
  warm_up = stages["collect_0"]["pass_at_1"]
  assert np.mean(rewards[-10:]) > warm_up + 0.03


def test_a_finished_run_is_not_repeated(finished, capsys):
  before = (finished / "stages.json").read_bytes()
  loop.run(*_load(finished))
  assert (finished / "stages.json").read_bytes() == before
  assert capsys.readouterr().out.strip().endswith("index.html")


def test_a_finished_run_needs_no_checkpoint(finished, tmp_path, capsys):
  copy = tmp_path / "run"
  shutil.copytree(
    finished, copy, ignore=shutil.ignore_patterns("checkpoints", "traj*")
  )
  loop.run(*_load(copy))
  assert str(copy) in capsys.readouterr().out


def test_a_changed_config_is_refused_and_named(finished):
  with pytest.raises(WorkdirError, match=r"rl\.steps"):
    loop.run(*_load(finished, "--config.rl.steps=7"))


def test_every_read_of_heldout_problems_is_logged(finished):
  lines = (finished / "heldout_reads.jsonl").read_text().splitlines()
  assert len(lines) == 1
  assert json.loads(lines[0])["problems"] == 32


def test_labels_are_shares_and_the_last_thought_has_the_verdict(finished):
  found = trajectory_store.load(finished / "trajectories" / "0")
  rows = np.arange(0, len(found.thought_count), 4)  # One of four per problem.
  last = found.thought_count[rows] - 1
  assert found.label_mask[rows, last].all()
  np.testing.assert_array_equal(
    found.labels[rows, last], found.outcome_reward[rows]
  )
  assert not np.delete(found.label_mask, rows, axis=0).any()
  shares = found.labels[found.label_mask] * 2  # Two rollouts per thought.
  np.testing.assert_allclose(shares, np.round(shares))


def test_the_device_and_the_host_verifier_agree(finished):
  config, path = _load(finished)
  with stage_lib.open_stage(config, path) as stage:
    experiment = stage.experiment
    found = trajectory_store.load(path / "trajectories" / "0")
    start = collect.FIRST_PROBLEM
    problems = experiment.problems("train", start, config.collect.problems)
    host = sampler_lib.verify(
      experiment,
      problems,
      found.completion,
      found.completion_length,
      config.collect.rollouts,
    )
  assert 0 < host.mean() < 1
  np.testing.assert_array_equal(found.outcome_reward > 0, host)


@pytest.mark.parametrize("method", ["beam", "mcts"])
def test_solve_prints_the_tree_the_answer_and_the_cost(
  finished, capsys, method
):
  solve.run(*_load(finished), index=1, method=method, budget=4)
  said = capsys.readouterr().out
  problem = _problem(finished, 1)
  assert problem.prompt.strip() in said
  assert "answer: " in said
  assert "policy tokens" in said.splitlines()[-1]


def _problem(workdir, index):
  config, path = _load(workdir)
  with stage_lib.open_stage(config, path) as stage:
    return stage.experiment.task.problem("heldout", index)


@pytest.mark.parametrize(
  "arguments, sentence",
  [
    (dict(index=0, method="dfs", budget=4), "--method is 'dfs'"),
    (dict(index=0, method="beam", budget=0), "--budget must be at least 1"),
    (dict(index=-1, method="beam", budget=4), "--problem at least 0"),
  ],
)
def test_solve_refuses_what_it_cannot_do(finished, arguments, sentence):
  with pytest.raises(ConfigError, match=sentence):
    solve.run(*_load(finished), **arguments)


def test_every_stage_runs_alone_on_what_the_one_before_left(
  tmp_path, capsys, monkeypatch
):
  checkpoints = tmp_path / "run" / "checkpoints" / "policy"
  flags = (
    # Named as well, it must not hide the imitation that went on from it.
    f"--config.inputs.policy={checkpoints / 'sft'}",
    "--config.sft.max_steps=20",
    "--config.sft.min_steps=20",
    "--config.sft.decay_steps=20",
    "--config.collect.problems=8",
    "--config.collect.labelled=8",
    "--config.prm.steps=3",
    "--config.imitation.steps=6",
    "--config.rl.steps=6",
    "--config.rl.problems_per_step=4",
    "--config.evaluate.problems=4",
    "--config.evaluate.validation_problems=4",
    "--config.evaluate.budgets=1,4",
  )
  run = _load(tmp_path / "run", *flags)
  with pytest.raises(ConfigError, match=r"run scripts/train_sft\.py with the"):
    collect.run(*run)
  train_sft.run(*run)
  with pytest.raises(TrajectoryFileError, match="scripts/collect.py"):
    train_prm.run(*run)
  for stage in (collect, train_prm, imitate):
    stage.run(*run)
  started = []
  learn = train_policy.train

  def train(stage, name, iteration, policy, prm):
    started.append((policy, stage.policy(imitate.name_of(name))))
    return learn(stage, name, iteration, policy, prm)

  monkeypatch.setattr(train_policy, "train", train)
  for stage in (train_policy, evaluate):
    stage.run(*run)
  stage_lib.jax.tree.map(np.testing.assert_array_equal, *started[0])
  assert capsys.readouterr().out.strip().endswith("index.html")
  page = results.read_results(tmp_path / "run" / "report" / "results.json")
  assert [s["name"] for s in page["stages"]] == [
    "warm-up",
    "loop, iteration 1",
  ]
  # Policy learning went on from imitation, and both are counted.
  assert page["stages"][1]["updates"] == 12


class _KilledError(Exception):
  pass


def test_a_killed_learner_continues_to_the_same_parameters(
  tmp_path, monkeypatch
):
  flags = ("--config.checkpoint_every=10", "--config.sft.validate_every=30")
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  train_sft.run(*_load(whole, *flags))

  def die(self, step, params, notes):
    if step == 25:
      raise _KilledError
    return False

  with monkeypatch.context() as patch:
    patch.setattr(train_sft._Validation, "__call__", die)
    with pytest.raises(_KilledError):
      train_sft.run(*_load(cut, *flags))
  train_sft.run(*_load(cut, *flags))

  def params(path):
    config, path = _load(path, *flags)
    with stage_lib.open_stage(config, path) as stage:
      policy = stage.policy("sft")
    return np.concatenate(
      [np.ravel(leaf) for leaf in stage_lib.jax.tree.leaves(policy)]
    )

  np.testing.assert_array_equal(params(whole), params(cut))
  text = (cut / "metrics/sft/metrics.jsonl").read_text()
  steps = [json.loads(line)["step"] for line in text.splitlines()]
  assert steps == sorted(set(steps))


def test_countdown_is_verified_on_the_host(tmp_path):
  config, path = _load(tmp_path / "run", config="configs/countdown.py:tiny")
  with stage_lib.open_stage(config, path) as stage:
    assert stage.experiment.answer_check is None
    policy = stage.experiment.policy.init(stage.experiment.rng(0))
    summary = collect.collect(stage, 0, policy, "untrained")
    source = train_prm.labelled(stage, [0])
    other = collect.collect(stage, 1, policy, "untrained", problems=5)
    asked = 5 * config.collect.rollouts
  assert summary["trajectories"] == 64
  assert other["trajectories"] + other["undecided"] == asked
  assert set(np.unique(source.outcome_reward)) <= {0.0, 1.0}


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--config.rl.stpes=3",), "did you mean 'rl.steps'"),
    (("--config.task.name=arithmetics",), "did you mean 'arithmetic'"),
    (("--config.data.max_prompt_tokens=3",), "data.max_prompt_tokens"),
    (("--config.network.max_positions=8",), "network.max_positions"),
    (("--config.task.arithmetic.bases=1",), "bases is 1"),
    (("--config.prm.kind=explicit",), "prm.kind is 'explicit'"),
    (("--config.prm.trunk=shared",), "set prm.kind to 'head'"),
    (("--config.search.draw=alike",), "use 'distinct' or 'merged'"),
    (("--config.search.top_p=0.0",), "search.top_p is 0.0: give a share"),
    (("--config.search.beam_candidates=0",), "search.beam_candidates is 0"),
    (("--config.evaluate.search_answer=votes",), "use 'best' or 'vote'"),
    (("--config.collect.final_problems=-1",), "collect.final_problems is -1"),
    (("--config.prm.extra_layers=1",), "prm.extra_layers is 1"),
    (("--config.sft.demonstrations=0",), "sft.demonstrations is 0"),
  ],
)
def test_bad_input_gives_one_sentence_and_exit_2(tmp_path, flags, sentence):
  done = subprocess.run(
    [
      sys.executable,
      str(_ROOT / "scripts" / "train_sft.py"),
      f"--config={_ROOT / _CONFIG}",
      f"--workdir={tmp_path / 'run'}",
      *flags,
    ],
    capture_output=True,
    text=True,
    timeout=120,
    env=os.environ | {"PYTHONPATH": str(_ROOT)},
  )
  assert done.returncode == 2, done.stderr
  assert sentence in done.stderr
  assert "Traceback" not in done.stderr
