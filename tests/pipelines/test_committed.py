"""What a search commits itself to, and what values it believes."""

import dataclasses
import pathlib

import numpy as np
import pytest

from reasoning_rl.pipelines import committed, config_file, measure, search
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines.errors import ConfigError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
BUDGET = 8


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


def _most_visited(tree, row):
  """Walks to the most visited child that leads to a solution, in Python."""
  parents, complete = tree.parents[row], np.zeros(tree.capacity, bool)
  for node in np.flatnonzero(tree.terminal_mask[row] & tree.valid_mask[row]):
    while node >= 0:
      complete[node] = True
      node = parents[node]
  node, path = 0, []
  while True:
    below = [x for x in np.flatnonzero(parents == node) if complete[x]]
    if not below:
      return path
    visits = [int(tree.node_visits[row, x]) for x in below]
    node = below[visits.index(max(visits))]
    path.append(int(node))


def test_the_most_visited_solution_answers(experiment, monkeypatch):
  problems = experiment.problems("validation", 0, 3)
  params = experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )
  # What stands for a verdict tells which solution was judged.
  tell = lambda found: float(sum(found[0].tokens)) if found else -1.0
  judge = lambda experiment, problem, found, *rest: tell(found)
  monkeypatch.setattr(measure, "judge", judge)
  rng = experiment.rng(2)
  curves, per_problem = committed.curves(
    experiment, problems, params, rng, (2, BUDGET), (0.0, 1.0)
  )
  assert [curve["method"] for curve in curves] == [
    "mcts, value error 0",
    "gumbel, value error 0",
    "mcts, value error 1",
    "gumbel, value error 1",
  ]
  wrong = experiment.with_search(value_error=1.0, skip_exhausted=False)
  plan = search.plan(wrong, "gumbel", BUDGET)
  passes = plan.rules.rule.num_simulations + 1
  plan = dataclasses.replace(plan, passes=passes)
  (pieces,) = search.search_pieces(
    search.Searcher(wrong, plan), params, rng, problems, 256
  )
  tree = pieces[0].tree
  np.testing.assert_array_equal(tree.node_visits[:, 0], passes)
  expected = []
  for row in range(3):
    path = tuple(_most_visited(tree, row))
    mine = [s for s in pieces[0].solutions[row] if s.nodes == path]
    expected.append(tell(mine))
  found = per_problem[f"committed gumbel, value error 1@{BUDGET}"]
  np.testing.assert_array_equal(found, expected)


def test_a_wrong_value_turns_what_a_search_believes_and_not_the_scores(
  experiment,
):
  problems = experiment.problems("validation", 0, 3)
  params = experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )
  wrong = experiment.with_search(value_error=0.75)
  plan = search.plan(wrong, "mcts", 8)
  found = search.Searcher(wrong, plan).search(
    params, experiment.rng(2), problems
  )[0]
  tree, score = found.tree, found.tree.thought_rewards
  believed = tree.rewards + tree.discounts * tree.raw_values
  lives = tree.valid_mask & (tree.open_mask | tree.terminal_mask)
  lives[:, 0] = False
  assert lives.sum() > 6
  expected = 0.25 * score + 0.75 * (1 - score)
  np.testing.assert_allclose(believed[lives], expected[lives], rtol=1e-5)


def test_a_setting_that_no_search_has_is_refused(experiment):
  with pytest.raises(ConfigError, match="search has no key 'pb_c'"):
    experiment.with_search(pb_c=1.0)
