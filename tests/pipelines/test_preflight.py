"""What a preflight says of samples, and that it measures what it says."""

import json
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import preflight, train_sft
from reasoning_rl.pipelines import sampled as sampled_lib
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import stage as stage_lib

_ROOT = pathlib.Path(__file__).parents[2]


def _load(path, *flags):
  config = f"--config={_ROOT}/configs/arithmetic.py:tiny"
  return config_lib.load([config, f"--workdir={path}", *flags])


@pytest.fixture(name="config", scope="module")
def fixture_config(tmp_path_factory):
  return _load(tmp_path_factory.mktemp("w"))[0].preflight


def _sampled(correct, truncated=(), unparsed=()):
  """Returns samples with some of them (by flat index) lost."""
  correct = np.array(correct, bool)
  masks = []
  for lost in (truncated, unparsed):
    mask = np.zeros(correct.size, bool)
    mask[list(lost)] = True
    masks.append(mask.reshape(correct.shape))
  return sampled_lib.Sampled(correct, *masks, masks[0] & False, tokens=1.0)


def test_a_group_is_mixed_if_it_holds_both_outcomes():
  sampled = _sampled([[0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]])
  assert sampled.mixed_mask.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
  ("sampled", "can_learn", "words"),
  [
    # 1 of 5 groups is mixed: just enough.
    (_sampled([[0, 1]] + [[0, 0]] * 4), True, "20% of the groups are mixed"),
    (_sampled([[0, 1]] + [[0, 0]] * 5), False, "too hard, so take an easier"),
    (_sampled([[0, 1]] + [[1, 1]] * 5), False, "too easy, so take a harder"),
    (_sampled([[0, 0]] * 3), False, "only 0% of the groups"),
    # 3 of 10 samples find no end; 2 of 10 are allowed.
    (_sampled([[0, 1]] * 5, truncated=[0, 2, 4]), False, "30% of the samples"),
    (_sampled([[0, 1]] * 5, truncated=[0, 2]), True, "can learn"),
    # 4 of 10 cannot be read; 3 of 10 are allowed.
    (_sampled([[0, 1]] * 5, (), [0, 2, 4, 6]), False, "learn the format: 40%"),
    (_sampled([[0, 1]] * 5, (), [0, 2, 4]), True, "can learn"),
  ],
)
def test_the_verdict_by_hand(config, sampled, can_learn, words):
  verdict, sentence = preflight.verdict(sampled, config)
  assert verdict is can_learn and words in sentence
  assert sentence.endswith(".") and sentence.count(". ") == 0


def test_a_run_measures_the_start_where_there_is_no_warm_up(tmp_path, capsys):
  flags = (
    "--config.sft.max_steps=0",
    "--config.preflight.problems=6",
    "--config.preflight.rollouts=4",
    "--config.sampling.temperature=3.0",  # Hardly any solution has a form.
  )
  config, path = _load(tmp_path / "run", *flags)
  preflight.run(config, path)
  found = json.loads((path / preflight.FILE).read_text())
  assert found["verdict"] in " ".join(capsys.readouterr().out.split())
  assert found["policy"] == "the start" and not found["can_learn"]
  with stage_lib.open_stage(config, path) as stage:
    experiment = stage.experiment
    problems = experiment.different_problems("validation", 0, 6)
    policy = stage.first_policy()
    rng = experiment.rng(stage_lib.STREAMS["validate"], 0)
    rows = sampler_lib.Sampler(experiment, 4).trajectories(
      policy, rng, problems, config.evaluate.rows
    )
  ends = [
    row[size - 1] == experiment.tokenizer.end_id
    for row, size in zip(rows.completion, rows.completion_length, strict=True)
  ]
  assert 0 < found["truncated"] == 1 - np.mean(ends)
  # An untrained policy ends at random, and what it wrote has no form.
  assert found["unparsed"] == pytest.approx(np.mean(ends))
  right = np.asarray(rows.outcome_reward).reshape(6, 4)
  assert found["pass_at_k"]["1"]["mean"] == right.mean()
  assert found["pass_at_k"]["4"]["mean"] == right.any(axis=1).mean()
  assert sorted(found["pass_at_k"]) == ["1", "2", "4"]
  assert found["completion_tokens"] == rows.completion_length.mean()


def test_a_warm_up_of_no_steps_keeps_the_policy_it_starts_from(tmp_path):
  flags = ("--config.sft.max_steps=0", "--config.sft.validation_problems=6")
  config, path = _load(tmp_path / "run", *flags)
  with stage_lib.open_stage(config, path) as stage:
    summary = train_sft.warm_up(stage)
    kept = stage.policy(train_sft.NAME)
    start = stage.first_policy()
    assert train_sft.warm_up(stage) == summary
  assert (summary["steps"], summary["demonstrations"]) == (0, 0)
  assert summary["validation_pass_at_1"] == summary["validation"][0][1]
  jax.tree.map(np.testing.assert_array_equal, kept, start)


def test_without_a_policy_it_says_what_to_run(tmp_path):
  with pytest.raises(Exception, match="there is no policy in"):
    preflight.run(*_load(tmp_path / "run"))
