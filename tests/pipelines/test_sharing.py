"""Tests of `reasoning_rl.pipelines.sharing`, and of who uses it."""

import dataclasses

import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.pipelines import batches, sampler, search, sharing
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import word_problems
from tests.pipelines import tiny_model

pytestmark = pytest.mark.usefixtures("quick_compilation")

_TEXT = {0: "", 1: "\n", 2: "a", 3: "b", 4: "c\n", 5: "d"}


def text(ids):
  return "".join(_TEXT[index] for index in ids)


@pytest.fixture(scope="module", name="make")
def fixture_make(tmp_path_factory):
  """Returns a function from values of keys to an experiment."""
  root = tmp_path_factory.mktemp("sharing")
  model = tiny_model.write(root / "tiny")

  def make(**changes):
    changes = dict(task__word_problems__shots=2) | changes
    config = tiny_model.config(model, data__max_prompt_tokens=240, **changes)
    return experiment_lib.build(config, root)

  return make


@pytest.mark.parametrize(
  "prompts, expected",
  [
    # All begin with 2 3 4, and 5 begins two lines by chance.
    ([[2, 3, 4, 5, 2], [2, 3, 4, 5, 3], [2, 3, 4, 2]], [2, 3, 4]),
    # The line that goes on alike is no whole line.
    ([[2, 3, 4, 5, 2], [2, 3, 4, 5, 3]], [2, 3, 4]),
    # A control token ends what comes before.
    ([[2, 3, 0, 5, 2], [2, 3, 0, 5, 3]], [2, 3, 0]),
    # Of a prompt that is a beginning of another a token is left to go on from.
    ([[2, 3, 1, 4], [2, 3, 1, 4, 5]], [2, 3, 1]),
    ([[2, 3, 4], [2, 3, 4]], []),
    # Too little.
    ([[2, 4, 3, 5], [2, 4, 5, 5]], []),
    ([[2, 3, 4, 5], [3, 3, 4, 5]], []),
    ([], []),
  ],
)
def test_whole_lines_are_shared_that_all_prompts_begin_with(prompts, expected):
  found = sharing.common(prompts, 3, text)
  np.testing.assert_array_equal(found, expected)


def test_a_batch_shares_everything_or_nothing():
  common = np.array([2, 3, 4], np.int32)
  rows, _ = batching.pad_rows([[2, 3, 4, 5, 1], [2, 3, 4, 1]], 6)
  length = np.array([5, 4])
  assert sharing.count(common, rows, length) == 3
  # Nothing would be left to go on from.
  assert sharing.count(common, rows, np.array([5, 3])) == 0
  assert sharing.count(common, rows[:, :3], length) == 0
  rows[1, 2] = 5
  assert sharing.count(common, rows, length) == 0
  assert sharing.count(common[:0], rows, length) == 0


def test_a_task_without_training_problems_is_compared_by_the_others(
  monkeypatch,
):
  task = word_problems.WordProblems()
  problem = word_problems.WordProblems.problem

  def without(self, split, index):
    if split == "train":
      raise task_base.TaskError("there are none")
    return problem(self, split, index)

  monkeypatch.setattr(word_problems.WordProblems, "problem", without)
  found = list(sharing.first_problems(task))
  assert found == [problem(task, "validation", index) for index in range(8)]


def test_worked_examples_are_what_the_prompts_share(make):
  experiment = make()
  common = experiment.common_prompt
  assert len(common) > 100
  problems = experiment.problems("heldout", 0, 5)
  assert problems.shared == len(common)
  assert sampler.take_problems(problems, np.array([1])).shared == len(common)
  question = problems.problems[0].question
  rest = experiment.decode(problems.prompt[0, len(common) :].tolist())
  assert rest.startswith(question)
  assert question not in experiment.decode(common.tolist())
  assert not len(make(data__share_prefix=0).common_prompt)
  assert not len(make(data__share_prefix=len(common) + 1).common_prompt)


def test_a_batch_with_another_prompt_shares_nothing(make):
  experiment = make()
  problem = experiment.task.problem("train", 0)
  other = dataclasses.replace(problem, messages=(("user", "Another."),))
  assert experiment._batch((problem, problem)).shared
  assert not experiment._batch((problem, other)).shared


def test_renamed_letters_are_never_shared(tmp_path, monkeypatch):
  config = tiny_model.config_file.load(
    tiny_model.CONFIGS / "arithmetic.py", "tiny"
  )
  config.data.share_prefix = 1
  kept = lambda prompts, least, text: np.array(list(prompts)[0][:1], np.int32)
  monkeypatch.setattr(sharing, "common", kept)
  for rename, count in ((True, 0), (False, 1)):
    config.data.rename = rename
    experiment = experiment_lib.build(config, tmp_path)
    assert len(experiment.common_prompt) == count


def test_sampled_and_searched_solutions_are_those_without_sharing(make):
  both = [make(), make(data__share_prefix=0)]
  params = both[0].policy.init(both[0].rng(0))
  rows, found = [], []
  for experiment in both:
    problems = experiment.problems("validation", 0, 4)
    rows.append(
      sampler.Sampler(experiment, 2).trajectories(
        params, experiment.rng(1), problems, rows=8
      )
    )
    plan = search.plan(experiment, "beam", 2)
    (beam,) = search.Searcher(experiment, plan).search(
      experiment.search_params(params, params), experiment.rng(2), problems
    )
    found.append(beam.tree)
  np.testing.assert_array_equal(rows[0].completion, rows[1].completion)
  np.testing.assert_allclose(
    rows[0].policy_logprobs, rows[1].policy_logprobs, atol=1e-4
  )
  np.testing.assert_array_equal(found[0].tokens, found[1].tokens)
  np.testing.assert_allclose(
    found[0].thought_rewards, found[1].thought_rewards, atol=1e-4
  )


def test_learners_share_where_all_their_rows_do(make):
  experiment = make()
  problems = [experiment.task.problem("train", i) for i in range(6)]
  rows = batching.supervised_batch(
    [experiment.encode_prompt(p) for p in problems],
    [
      experiment.encode_solution(experiment.task.demonstration(p))
      for p in problems
    ],
    experiment.prompt_size,
    experiment.completion_size,
  )
  batch = batches.batch_fn(experiment, rows, 4)(0, None)
  assert batch.shared == len(experiment.common_prompt)
  rows.tokens[3, 1] += 1
  assert batches.batch_fn(experiment, rows, 4)(0, None).shared == 0
