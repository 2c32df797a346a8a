"""What a search completed, through the real trajectory store and back."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import batching, trajectory_store
from reasoning_rl.pipelines import config_file, search, search_store
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.search import extract

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


@pytest.fixture(name="searched", scope="module")
def fixture_searched(experiment):
  params = experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )
  problems = experiment.problems("train", 5, 3)
  plan = search.plan(experiment, "mcts", 16)
  searcher = search.Searcher(experiment, plan)
  budget = (8.0 * experiment.completion_size,)
  found = searcher.search(params, experiment.rng(2), problems, budget)
  return problems, found[0]


def test_a_searchs_trajectories_come_back_from_the_store(
  experiment, searched, tmp_path
):
  problems, found = searched
  rows = search_store.trajectories(experiment, problems, found)
  assert len(rows.problem_id) == sum(map(len, found.solutions)) > 5
  search_store.write(
    tmp_path / "found", experiment, rows, "mcts at 16", "random", "0/2"
  )
  stored = trajectory_store.load(
    tmp_path / "found",
    experiment.prompt_size,
    experiment.completion_size,
    experiment.max_thoughts,
  )
  for field in dataclasses.fields(rows):
    np.testing.assert_array_equal(
      getattr(stored, field.name), getattr(rows, field.name), field.name
    )
  record = trajectory_store.open_source(tmp_path / "found")[0]
  best = found.solutions[0][0]
  text = experiment.tokenizer.decode(list(best.tokens))
  assert "".join(record["thoughts"]) == text
  assert record["lineage"]["sampler"] == "mcts at 16"
  assert record["lineage"]["problem"] == "arithmetic/train"


def test_the_verifier_and_the_tree_say_what_the_rows_hold(experiment, searched):
  problems, found = searched
  rows = search_store.trajectories(experiment, problems, found)
  every = [(r, s) for r, row in enumerate(found.solutions) for s in row]
  for index, (row, solution) in enumerate(every):
    text = experiment.completion_text(list(solution.tokens))
    right = experiment.task.verify(problems.problems[row], text)
    assert rows.outcome_reward[index] == right
    assert rows.problem_id[index] == problems.problem_id[row]
    count = len(solution.nodes)
    assert rows.thought_count[index] == count
    np.testing.assert_array_equal(
      rows.thought_visits[index, :count], solution.visits
    )
    # The final thought's own value is 0; what it was paid is its score.
    assert solution.values[-1] == 0
    np.testing.assert_allclose(
      rows.thought_values[index, count - 1], solution.thought_rewards[-1]
    )
    # The thoughts before it are open: their value is their node's.
    np.testing.assert_allclose(
      rows.thought_values[index, : count - 1], solution.values[:-1]
    )


def test_right_solutions_are_paid(experiment):
  # Random networks hardly ever hit the answer, so this one is written down.
  problems = experiment.problems("train", 5, 1)
  thoughts = experiment.task.demonstration(problems.problems[0])
  tokens = experiment.encode_solution(thoughts)
  found = _written(experiment, problems, tokens)
  rows = search_store.trajectories(experiment, problems, found)
  np.testing.assert_array_equal(rows.outcome_reward, [1])
  wrong = experiment.problems("train", 6, 1)
  assert wrong.problems[0].answer != problems.problems[0].answer
  found = _written(experiment, wrong, tokens)
  rows = search_store.trajectories(experiment, wrong, found)
  np.testing.assert_array_equal(rows.outcome_reward, [0])


def _written(experiment, problems, tokens):
  """Returns a search that found one solution, all in one thought."""
  root = tree_lib.Root(
    problem_id=problems.problem_id,
    prompt_length=problems.prompt_length,
    hidden=np.zeros((1, 1), np.float32),
    values=np.zeros(1, np.float32),
    prompts=(),
  )
  tree = tree_lib.plant(root, 2, len(tokens), 0)
  set_node = lambda field, value: field.at[0, 1].set(value)
  tree = tree.replace(
    parents=set_node(tree.parents, 0),
    valid_mask=set_node(tree.valid_mask, True),
    terminal_mask=set_node(tree.terminal_mask, True),
    tokens=set_node(tree.tokens, np.array(tokens)),
    lengths=set_node(tree.lengths, len(tokens)),
  )
  host = extract.to_host(tree)
  nothing = np.zeros(1, np.int32)
  return search.Found(
    host, [extract.solutions(host, 0)], nothing, nothing, np.zeros(1), 0.0
  )


def test_rows_of_other_problems_are_refused(experiment, searched):
  others = experiment.problems("train", 8, 3)
  with pytest.raises(ValueError, match="give those that were searched"):
    search_store.trajectories(experiment, others, searched[1])


def test_searches_are_joined_and_nothing_is_not_written(
  experiment, searched, tmp_path
):
  problems, found = searched
  rows = search_store.trajectories(experiment, problems, found)
  twice = batching.concatenate([rows, rows])
  write = lambda rows: search_store.write(
    tmp_path / "found", experiment, rows, "mcts", "random", "0/2"
  )
  none = jax.tree.map(lambda leaf: leaf[:0], rows)
  with pytest.raises(ValueError, match="no trajectories; collect at least one"):
    write(none)
  write(twice)
  source = trajectory_store.open_source(tmp_path / "found")
  assert len(source) == 2 * len(rows.problem_id)
