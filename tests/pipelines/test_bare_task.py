"""Tasks that have problems and a verifier, and nothing else."""

import dataclasses
import pathlib

import numpy as np
import pytest

from reasoning_rl.evaluation import tree_view
from reasoning_rl.pipelines import (
  config_file,
  imitate,
  measure,
  quality,
  search,
  texts,
  train_sft,
  trees,
)
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base, registry
from tests.pipelines import bare_task


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory):
  return bare_task.build(tmp_path_factory.mktemp("workdir"))


def test_a_bare_task_is_a_task_and_nothing_more(experiment):
  task = experiment.task
  assert isinstance(task, base.Task)
  for more in (
    base.Bounded,
    base.Demonstrated,
    base.Oracle,
    base.Lettered,
    base.DeviceVerified,
  ):
    assert not isinstance(task, more)
  assert experiment.answer_check is None
  assert experiment.interchangeable_ids.size == 0


def test_a_tree_shows_what_the_verifier_says_and_no_more(experiment):
  params = experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )
  problems = experiment.problems("train", 5, 3)
  searcher = search.Searcher(experiment, search.plan(experiment, "beam", 8))
  found = searcher.search(params, experiment.rng(2), problems)[0]
  ends = 0
  for view in trees.views(experiment, problems, found, "beam", "min", 3):
    for node in view.nodes:
      assert (node.correct is None) == (not node.terminal)
      ends += node.terminal
    tree_view.render_text(view, color=False)
  assert ends


def test_without_an_oracle_prm_quality_is_not_measured(
  experiment, trajectories
):
  nothing = np.zeros((4, 1), np.float32)
  samples = measure.ScoredSamples(
    trajectories, [], nothing > 0, nothing[..., None], nothing, 0.0
  )
  sampled = (experiment.problems("train", 0, 4), samples)
  found, sentence = quality.of_prm(experiment, sampled, sampled, 4)
  assert found is None and "no oracle" in sentence and "bare" in sentence


def test_what_is_not_there_cannot_be_asked_for(experiment, collected):
  stage = dataclasses.replace(collected, experiment=experiment)
  with pytest.raises(ConfigError, match="'bare' has no demonstrations: start"):
    _demonstrations(stage)
  config = experiment.config
  with pytest.raises(ConfigError, match="data.max_prompt_tokens is 0 and the"):
    texts.sizes(config.data, experiment.task)
  with pytest.raises(ConfigError, match="'bare' is free text and has no alpha"):
    texts.make_tokenizer(config, experiment.task, pathlib.Path("."))


_demonstrations = train_sft.demonstrations  # As it is before `collected`.


def test_without_a_warm_up_only_what_was_found_is_imitated(
  collected, trajectories
):
  collected.config.sft.max_steps = 0
  found = imitate.solutions(collected, [0])
  assert len(found.length) == 1  # Right and different; no seeds.
  trajectories.outcome_reward[:] = 0
  with pytest.raises(ConfigError, match="nothing to imitate"):
    imitate.solutions(collected, [0])


def test_sizes_are_those_of_the_config_then_those_of_the_task():
  config = config_file.load(bare_task.CONFIGS / "arithmetic.py", "tiny")
  task = registry.make("word_problems", steps=2)
  config.data.max_thought_tokens = 24
  assert texts.sizes(config.data, task) == {
    "prompt_size": task.max_prompt_chars,
    "completion_size": 5 * 24,
    "thought_size": 24,
    "max_thoughts": 5,
  }
  config.data.update(max_thoughts=4, max_completion_tokens=64)
  found = texts.sizes(config.data, task)
  assert (found["max_thoughts"], found["completion_size"]) == (4, 64)


@pytest.fixture(name="words", scope="module")
def fixture_words(tmp_path_factory):
  config = config_file.load(bare_task.CONFIGS / "arithmetic.py", "tiny")
  config.task.name = "word_problems"
  config.task.word_problems.shots = 2
  config.tokenizer.update(kind="sentencepiece", vocab_size=256)
  config.data.update(max_thought_tokens=32, max_prompt_tokens=400)
  config.network.max_positions = 1024
  return experiment_lib.build(config, tmp_path_factory.mktemp("words"))


def test_worked_examples_end_in_the_end_token(words):
  problems = words.problems("train", 0, 2)
  end_id = words.tokenizer.end_id
  for row, size, problem in zip(
    problems.prompt, problems.prompt_length, problems.problems, strict=True
  ):
    cuts = np.flatnonzero(row[:size] == end_id)
    parts = np.split(row[:size], cuts)
    assert len(cuts) == 2
    said = [words.tokenizer.decode(p[p != end_id].tolist()) for p in parts]
    assert said == problem.prompt.split(base.END)


def test_a_demonstration_survives_its_tokens(words):
  for problem in words.problems("train", 0, 8).problems:
    thoughts = words.task.demonstration(problem)
    text = words.completion_text(words.encode_solution(thoughts))
    assert text == "".join(thoughts)
    assert words.task.verify(problem, text)
    cut = words.completion_text(words.encode_solution(thoughts)[:-1])
    assert not words.task.verify(problem, cut)


def test_a_conversation_needs_a_template(words):
  task = registry.make("word_problems", prompt_style="chat")
  with pytest.raises(ConfigError, match="conversation, and tokenizer.chat n"):
    words.encode_prompt(task.problem("train", 0))
