"""What is read of completions, and of prompts that a token opens."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl.data import records, trajectory_store
from reasoning_rl.pipelines import config_file, sampled, sampler
from reasoning_rl.pipelines import experiment as experiment_lib
from tests.pipelines import tiny_model

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory, quick_compilation):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


class _Content:
  """A task whose host calls every completion right."""

  name, version = "content", "content-1"

  def __init__(self, task):
    self.problem = task.problem

  def extract_answer(self, completion):
    return completion

  def verify(self, problem, completion):
    return True


def test_newlines_at_the_end_of_a_cut_off_completion_are_no_end(experiment):
  encode = experiment.tokenizer.encode
  for count in range(4):
    cut = encode("1+2=3" + "\n" * count)
    assert experiment.completion_text(cut) == "1+2=3"
    assert not experiment.is_ended(cut)
    ended = [*cut, experiment.tokenizer.end_id]
    assert experiment.completion_text(ended) == "1+2=3" + "\n" * (count + 1)
    assert experiment.is_ended(ended)


def test_a_row_that_found_no_end_is_never_right(experiment):
  content = dataclasses.replace(experiment, task=_Content(experiment.task))
  problems = content.problems("train", 0, 8)
  params = content.policy.init(jax.random.key(0))
  host = sampler.Sampler(content, 4)
  found = host.sample(params, jax.random.key(1), problems)
  stopped = np.asarray(found.decoded.stopped_mask)
  assert 0 < stopped.mean() < 1
  np.testing.assert_array_equal(found.outcome_reward, stopped)
  measured = sampled.measure(content, params, problems, 4)
  np.testing.assert_array_equal(measured.truncated_mask, ~measured.correct)
  # But for a task that says that its solutions need no end.
  content.task.ends_itself = True
  found = host.sample(params, jax.random.key(1), problems)
  assert np.all(np.asarray(found.outcome_reward) == 1)


def test_an_id_without_a_token_is_read_and_answers_nothing(
  experiment, trajectories, tmp_path
):
  unknown = experiment.tokenizer.vocab_size
  task = experiment.task
  problem = task.problem("train", 0)
  right = experiment.encode_solution(task.demonstration(problem))
  assert task.verify(problem, experiment.completion_text(right))
  for place in range(len(right)):
    tokens = [*right[:place], unknown, *right[place:]]
    text = experiment.completion_text(tokens)
    assert text == experiment_lib.UNREADABLE + "\n"
    assert not task.verify(problem, text)
  rows = trajectories.replace(completion=trajectories.completion + unknown)
  lineage = records.Lineage(*["x"] * len(records.LINEAGE_FIELDS))
  trajectory_store.write(tmp_path / "rows", rows, lineage, experiment.decode)
  again = trajectory_store.load(tmp_path / "rows")
  np.testing.assert_array_equal(again.completion[0], rows.completion[0])


def test_a_token_opens_a_prompt_where_the_tokenizer_has_one(tmp_path):
  model = tiny_model.write(tmp_path / "model")
  style = dict(task__word_problems__prompt_style="ended")
  build = lambda: experiment_lib.build(
    tiny_model.config(model, data__max_prompt_tokens=0, **style), tmp_path
  )
  bare = build()
  path = model / "tokenizer_config.json"
  fields = json.loads(path.read_text())
  fields |= {"bos_token": "<|im_start|>", "add_bos_token": True}
  path.write_text(json.dumps(fields))
  opened = build()
  problem = opened.task.problem("train", 0)
  bos_id = opened.tokenizer.control_id("<|im_start|>")
  assert bare.tokenizer.bos_id is None
  assert opened.encode_prompt(problem) == [bos_id, *bare.encode_prompt(problem)]
  assert opened.prompt_size == bare.prompt_size + 1
