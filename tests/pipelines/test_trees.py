"""A searched tree as it is drawn."""

import math
import pathlib

import numpy as np
import pytest

from reasoning_rl.pipelines import config_file, search, trees
from reasoning_rl.pipelines import experiment as experiment_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


def searched(experiment, method, limits=()):
  params = experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )
  problems = experiment.problems("train", 5, 3)
  searcher = search.Searcher(experiment, search.plan(experiment, method, 16))
  found = searcher.search(params, experiment.rng(2), problems, limits)[0]
  views = trees.views(experiment, problems, found, method, "min", 3)
  return found, views


@pytest.fixture(name="tree_search", scope="module")
def fixture_tree_search(experiment):
  return searched(experiment, "mcts", (8.0 * experiment.completion_size,))


def test_every_thought_is_drawn_with_its_own_numbers(tree_search):
  found, views = tree_search
  for row, view in enumerate(views):
    nodes = np.flatnonzero(found.tree.valid_mask[row])
    assert len(view.nodes) == len(nodes)
    for node, drawn in zip(nodes[1:], view.nodes[1:], strict=True):
      assert nodes[drawn.parent] == found.tree.parents[row, node]
      assert drawn.visits == found.tree.node_visits[row, node]
      assert drawn.thought_reward == found.tree.thought_rewards[row, node]
    below_root = [node.prior for node in view.nodes if node.parent == 0]
    assert math.isnan(view.nodes[0].prior)
    assert sum(below_root) == pytest.approx(1, abs=1e-5)


def test_a_value_is_shown_once_there_is_one(tree_search):
  seen = set()
  for view in tree_search[1]:
    assert view.nodes[0].visits > 1 and 0 < view.nodes[0].value < 1
    for node in view.nodes[1:]:
      kind = bool(node.visits), node.terminal
      seen.add(kind)
      assert math.isnan(node.value) != (node.visits > 0)
      if kind == (True, True):  # What was paid, not the 0 that follows.
        assert node.value == pytest.approx(node.thought_reward)
  assert seen == {(a, b) for a in (True, False) for b in (True, False)}


def test_a_frontier_search_shows_no_visits_and_no_values(experiment):
  for view in searched(experiment, "beam")[1]:
    assert all(n.visits == 0 and math.isnan(n.value) for n in view.nodes)
