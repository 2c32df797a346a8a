"""Tests that what the verifier does not know teaches nobody anything."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.pipelines import (
  collect,
  sampler,
  train_policy,
)
from reasoning_rl.rl import advantages, groups
from reasoning_rl.tasks import verdicts
from tests.pipelines import bare_task


class _Doubtful(bare_task.Bare):
  """Arithmetic, judged by the parity of the completion's length."""

  name, version = "doubtful", "doubtful-1"
  ends_itself = True  # Solutions that are cut off are judged like others.

  def judge(self, problem, completion):
    return self.judge_many([problem], [completion])[0]

  def judge_many(self, problems, completions):
    return [_judge(text) for text in completions]

  def verify(self, problem, completion):
    return self.judge(problem, completion).is_correct


def _judge(text):
  return (
    verdicts.undecided("even: as it were"),
    verdicts.correct("three"),
    verdicts.wrong("five", 0.25),
  )[len(text) % 3]


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory):
  return bare_task.build(tmp_path_factory.mktemp("workdir"), _Doubtful)


@pytest.mark.parametrize("partial_credit", [False, True])
def test_samples_carry_what_is_decided_and_what_is_paid(
  experiment, partial_credit
):
  problems = experiment.problems("train", 0, 5)
  params = experiment.policy.init(experiment.rng(0))
  sampling = sampler.Sampler(experiment, 4, partial_credit=partial_credit)
  # Pieces of two problems: the last one is filled up and counted once.
  found, decided = sampling.verified(params, experiment.rng(1), problems, 8)
  texts = sampler.texts(experiment, found.completion, found.completion_length)
  want = [_judge(text) for text in texts]
  np.testing.assert_array_equal(decided, [v.is_decided for v in want])
  assert 0 < decided.sum() < len(decided)
  paid = [v.credit if partial_credit else float(v.is_correct) for v in want]
  np.testing.assert_array_equal(found.outcome_reward, np.float32(paid))
  assert sampling.summary() == {"verdicts": verdicts.tally(want)}
  assert sum(sampling.verdicts.values()) == 20


def test_a_task_without_reasons_has_no_mask_and_no_counts(experiment):
  plain = dataclasses.replace(experiment, task=experiment.task._task)
  problems = plain.problems("train", 0, 2)
  sampling = sampler.Sampler(plain, 2)
  params = plain.policy.init(plain.rng(0))
  assert sampling.sample(params, plain.rng(1), problems).decided_mask is None
  assert sampling.summary() == {}


def test_the_first_decided_row_of_a_problem_is_labelled():
  decided = np.array([1, 1, 0, 1, 0, 0, 1, 0], bool)
  index, rows = collect._to_label(decided, 2, 3)
  np.testing.assert_array_equal(index, [0, 1])
  np.testing.assert_array_equal(rows, [0, 3])
  index, rows = collect._to_label(np.ones(8, bool), 2, 3)
  np.testing.assert_array_equal(rows, [0, 2, 4])


REWARDS = jnp.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
DECIDED = jnp.array([[1, 1, 0, 1], [1, 1, 0, 1]], bool)


def test_undecided_rollouts_are_no_part_of_their_group():
  got = advantages.grpo_outcome(REWARDS, True, DECIDED)
  # Of 1, 0, 1: the mean is 2/3 and the deviation √2/3.
  up, down = 1 / np.sqrt(2), -np.sqrt(2)
  np.testing.assert_allclose(got[0], [up, down, 0, up], rtol=1e-6)
  np.testing.assert_array_equal(got[1], np.zeros(4))
  np.testing.assert_array_equal(
    groups.mixed_group_mask(REWARDS, DECIDED), [True, False]
  )
  nobody = jnp.zeros((2, 4), bool)
  assert not groups.mixed_group_mask(REWARDS, nobody).any()
  assert not advantages.grpo_outcome(REWARDS, True, nobody).any()


@pytest.mark.parametrize("kind", ["outcome", "rejection", "pure"])
def test_all_decided_is_the_same_bit_for_bit(kind):
  config = advantages.CreditConfig(kind=kind)
  scores = jnp.linspace(0.1, 0.9, 24).reshape(2, 4, 3)
  mask = jnp.ones((2, 4, 3), bool)
  plain = advantages.thought_advantages(config, REWARDS, scores, mask)
  masked = advantages.thought_advantages(
    config, REWARDS, scores, mask, jnp.ones((2, 4), bool)
  )
  np.testing.assert_array_equal(plain, masked)
  if kind != "pure":
    some = advantages.thought_advantages(config, REWARDS, scores, mask, DECIDED)
    assert not some[~np.asarray(DECIDED)].any()


def test_undecided_tokens_are_no_part_of_the_policys_loss(
  experiment, collected
):
  stage = dataclasses.replace(collected, experiment=experiment)
  credit = advantages.CreditConfig(kind="outcome")
  policy = experiment.policy.init(experiment.rng(0))
  learner = train_policy._Learner(stage, 0, policy, None, credit)
  batch, metrics = learner.batch_at(0, policy)
  counts = learner.summary()["verdicts"]
  total = sum(counts.values())
  undecided = counts["undecided: even"]
  assert metrics["undecided"] == pytest.approx(undecided / total)
  some = np.asarray(batch.completion_mask).any(axis=-1)
  assert (~some).sum() >= undecided > 0
  assert 0 < metrics["reward"] < 1
