"""Tests of `reasoning_rl.pipelines.batches`."""

import pathlib

import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.pipelines import batches, config_file
from reasoning_rl.pipelines import experiment as experiment_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="make", scope="module")
def fixture_make(tmp_path_factory):
  """Returns a function from `data.rename` to an experiment and its rows."""

  def make(rename):
    config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
    config.data.rename = rename
    path = tmp_path_factory.mktemp("workdir")
    experiment = experiment_lib.build(config, path)
    problems = [experiment.task.problem("train", i) for i in range(12)]
    rows = batching.supervised_batch(
      [experiment.tokenizer.encode(p.prompt) for p in problems],
      [
        experiment.encode_solution(experiment.task.demonstration(p))
        for p in problems
      ],
      experiment.prompt_size,
      experiment.completion_size,
    )
    return experiment, rows

  return make


def test_a_resumed_learner_gets_the_batches_it_would_have_got(make):
  experiment, rows = make(True)
  whole = batches.batch_fn(experiment, rows, 5)
  expected = [whole(step, None).tokens for step in range(4)]
  resumed = batches.batch_fn(experiment, rows, 5)
  for step in (2, 3):
    np.testing.assert_array_equal(resumed(step, None).tokens, expected[step])


def test_rows_are_renamed_only_where_the_config_says_so(make):
  known = lambda rows, batch: [
    any((row == other).all() for other in batching.trim(rows).tokens)
    for row in batch.tokens
  ]
  experiment, rows = make(False)
  assert all(known(rows, batches.batch_fn(experiment, rows, 12)(0, None)))
  experiment, rows = make(True)
  batch = batches.batch_fn(experiment, rows, 12)(0, None)
  # One of the 120 permutations of five names leaves a row as it is.
  assert sum(known(rows, batch)) <= 2
  assert len(experiment.interchangeable_ids) == 5


def test_another_stream_gives_other_batches(make):
  experiment, rows = make(True)
  at = lambda *path: batches.batch_fn(experiment, rows, 12, *path)(0, None)
  np.testing.assert_array_equal(at(1, 0).tokens, at(1, 0).tokens)
  assert (at(1, 0).tokens != at(1, 1).tokens).any()


def test_another_stream_gives_other_names_to_the_same_row(make):
  experiment, rows = make(True)
  row = batching.take(rows, [0])
  at = lambda *path: batches.batch_fn(experiment, row, 1, *path)(0, None)
  assert (at(1, 0).tokens != at(1, 1).tokens).any()


def test_batches_are_as_wide_as_the_longest_row(make):
  experiment, rows = make(True)
  batch = batches.batch_fn(experiment, rows, 12)(0, None)
  assert rows.length.max() <= batch.tokens.shape[1] < rows.tokens.shape[1]
