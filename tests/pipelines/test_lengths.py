"""Buckets of prompts and thinking by config, from sampling to the learner."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.pipelines import (
  config_file,
  lengths,
  sampler,
  texts,
  thinking_curve,
  train_policy,
)
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.rl import advantages
from reasoning_rl.tasks import registry

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def load(**changes):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  config.update_from_flattened_dict(changes)
  return config


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory, quick_compilation):
  return experiment_lib.build(load(), tmp_path_factory.mktemp("workdir"))


def test_a_row_goes_into_the_smallest_bucket_that_holds_it():
  sizes = [lengths.bucket(n, (4, 8, 16), 12) for n in (1, 4, 5, 8, 9, 12)]
  assert sizes == [4, 4, 8, 8, 12, 12]
  assert lengths.bucket(3, (), 12) == 12
  order = lengths.by_bucket(np.array([9, 2, 5, 4, 20, 1]), (4, 8))
  np.testing.assert_array_equal(order, [1, 3, 5, 2, 0, 4])
  np.testing.assert_array_equal(
    lengths.by_bucket(np.array([9, 2, 5]), ()), [0, 1, 2]
  )


@pytest.mark.parametrize("buckets", [(0, 4), (8, 4), (4, 4), (1.5,)])
def test_buckets_that_do_not_rise_are_refused(buckets, tmp_path):
  config = load()
  with config.unlocked():
    config.data.buckets = buckets
  with pytest.raises(ConfigError, match="data.buckets"):
    experiment_lib.build(config, tmp_path)


def test_prompts_of_all_lengths_compile_a_program_per_bucket(
  experiment, tmp_path, monkeypatch
):
  problems = experiment.problems("train", 0, 12)
  short = np.arange(12) * 5 % 12 % problems.prompt.shape[1] + 1
  problems = dataclasses.replace(problems, prompt_length=short.astype(np.int32))
  config = load()
  with config.unlocked():
    config.data.buckets = (2, 6)
  traced, sample_fn = [], sampler.Sampler._sample_fn

  def count(self, params, rng, prompt, *rest, shared):
    traced.append(prompt.shape[1])
    return sample_fn(self, params, rng, prompt, *rest, shared)

  monkeypatch.setattr(sampler.Sampler, "_sample_fn", count)
  params = experiment.policy.init(experiment.rng(0))
  call = lambda run: sampler.Sampler(run, 2).trajectories(
    params, run.rng(3), problems, rows=4
  )
  expected = call(experiment)
  assert len(set(traced)) == 1
  traced.clear()
  found = call(experiment_lib.build(config, tmp_path))
  # Six pieces, and two prompts in each; a program for every size but no more.
  assert sorted(set(traced)) == [2, 6, problems.prompt.shape[1]]
  assert len(traced) == len(set(traced))
  for name, leaf in vars(expected).items():
    np.testing.assert_allclose(getattr(found, name), leaf, atol=1e-4)


def test_budgets_of_no_thinking_are_refused(tmp_path):
  config = load()
  with config.unlocked():
    config.evaluate.thinking_budgets = (1, 2)
  with pytest.raises(ConfigError, match="thinking.end is not set"):
    experiment_lib.build(config, tmp_path)
  config.thinking.end = "="
  config.evaluate.thinking_budgets = (2, 1)
  with pytest.raises(ConfigError, match=r"thinking_budgets is \(2, 1\)"):
    experiment_lib.build(config, tmp_path)


@pytest.mark.parametrize(
  ("max_tokens", "budgets", "refused"),
  [(18, (), False), (19, (), True), (3, (4, 18), False), (3, (4, 19), True)],
)
def test_thinking_has_to_leave_room_for_an_answer(max_tokens, budgets, refused):
  config = load(**{"thinking.end": "=", "thinking.max_tokens": max_tokens})
  with config.unlocked():
    config.evaluate.thinking_budgets = budgets
  control = lengths.thinking(config.thinking, _Equals())
  if not refused:
    lengths.check(config, control, 20)
    return
  with pytest.raises(ValueError, match="19 tokens .* leave no room .* of 20"):
    lengths.check(config, control, 20)


class _Equals:
  """A tokenizer of one token."""

  vocab_size, pad_id, bos_id, end_id, thought_end_id = 3, 0, None, 1, 2

  def encode(self, text):
    return [2] * len(text)

  def decode(self, ids):
    return "=" * len(list(ids))

  def save(self, path):
    pass

  def fingerprint(self):
    return ""


def test_an_experiment_refuses_thinking_that_fills_its_completions(
  experiment, tmp_path
):
  size = experiment.completion_size
  config = load(**{"thinking.end": "=", "thinking.max_tokens": size})
  with pytest.raises(ConfigError, match="leave no room for an answer"):
    experiment_lib.build(config, tmp_path)


@pytest.mark.parametrize(("size", "refused"), [(24, True), (64, False)])
def test_a_thought_has_to_hold_the_tokens_it_ends_after(size, refused):
  data = load().data
  task = registry.make("arithmetic")
  with data.unlocked():
    data.max_thought_tokens = size
  if not refused:
    assert texts.sizes(data, task, 64)["thought_size"] == 64
    return
  with pytest.raises(ConfigError, match="'every-64' .* 24 tokens at most"):
    texts.sizes(data, task, 64)


def test_accuracy_is_measured_at_each_cap_of_thinking(tmp_path):
  config = load(**{"thinking.end": "=", "thinking.max_tokens": 9})
  with config.unlocked():
    config.evaluate.thinking_budgets = (0, 3)
  run = experiment_lib.build(config, tmp_path)
  policy, problems = run.policy.init(run.rng(0)), run.problems("heldout", 0, 6)
  per_problem = {}
  (curve,) = thinking_curve.curves(run, problems, policy, per_problem)
  none, some = curve["points"]
  assert (none["budget"], none["thinking_tokens"]) == (0, 0.0)
  assert 0 < some["thinking_tokens"] <= 3 < some["policy_tokens"]
  for point in curve["points"]:
    right = per_problem[f"thinking greedy@{point['budget']}"]
    assert right.shape == (6,) and point["accuracy"].mean == right.mean()
  with config.unlocked():
    config.evaluate.thinking_budgets = ()
  run = dataclasses.replace(run, config=config)
  assert thinking_curve.curves(run, problems, policy, per_problem) == []


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"thinking.min_tokens": 5}, "max_tokens 3"),
    ({"thinking.max_waits": 1, "thinking.wait": ""}, "wait_ids"),
    ({"thinking.end": "THINK"}, "alphabet"),
  ],
)
def test_thinking_that_cannot_be_is_refused(changes, message, tmp_path):
  config = load(**{"thinking.end": "=", "thinking.max_tokens": 3} | changes)
  with pytest.raises(ConfigError, match=message):
    experiment_lib.build(config, tmp_path)


def test_a_learner_leaves_forced_tokens_out_of_its_loss(tmp_path):
  thinking = {"end": "==", "wait": "-", "min_tokens": 4, "max_tokens": 5}
  thinking["max_waits"] = 2
  config = load(**{f"thinking.{k}": v for k, v in thinking.items()})
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    run = stage.experiment
    assert run.thinking.end_ids == tuple(run.tokenizer.encode("=="))
    policy = run.policy.init(run.rng(0))
    credit = advantages.CreditConfig(**config.rl.credit)
    credit = dataclasses.replace(credit, kind="outcome")
    learner = train_policy._Learner(stage, 0, policy, None, credit)
    drawn = []
    sample = learner._sampler.sample
    learner._sampler.sample = lambda *args: (
      drawn.append(sample(*args)) or (drawn[0])
    )
    batch, metrics = learner.batch_at(0, policy)
  decoded = jax.tree.map(np.asarray, drawn[0].decoded)
  kept = learner._sampler._to_trajectory(
    run.problems("train", 0, len(batch.prompt)), drawn[0]
  )
  np.testing.assert_array_equal(kept.forced_mask, decoded.forced_mask)
  shape = batch.completion.shape
  forced = decoded.forced_mask.reshape(shape)
  real = np.arange(shape[-1]) < decoded.length.reshape(shape[:2])[..., None]
  assert forced.any() and (real & ~forced).any()
  np.testing.assert_array_equal(batch.completion_mask, real & ~forced)
  assert not np.asarray(batch.behavior_logprobs)[forced].any()
  assert metrics["thinking"] == pytest.approx(decoded.thinking_length.mean())
