"""One problem searched in many ways."""

import math
import pathlib

import pytest

from reasoning_rl.evaluation import report_tree, tree_view
from reasoning_rl.pipelines import config_file, explore
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines.errors import ConfigError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="explorer", scope="module")
def fixture_explorer(tmp_path_factory):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  experiment = experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))
  params = experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )
  problems = experiment.problems("validation", 4, 1)
  tokens = float(experiment.completion_size)
  return explore.Explorer(experiment, params, problems, tokens)


def test_a_continued_search_keeps_its_tree(explorer):
  grown = explorer.search("mcts", 16, stops=(3, 16))
  assert len(grown) == 2
  assert len(grown[0].nodes) < len(grown[1].nodes)
  for node, later in zip(grown[0].nodes, grown[1].nodes, strict=False):
    assert (node.parent, node.thought) == (later.parent, later.thought)
    assert node.visits <= later.visits
  # As though it had not been looked at in between.
  whole = explorer.search("mcts", 16)[-1]
  thoughts = lambda view: [(n.parent, n.thought, n.visits) for n in view.nodes]
  assert thoughts(whole) == thoughts(grown[1])


def test_changes_are_those_of_one_search(explorer):
  before = explorer.experiment.config.search.pb_c_init
  # Stopped early: in the end either would have seen all there is.
  wide = explorer.search("mcts", 16, (10,), pb_c_init=50.0)[-1]
  usual = explorer.search("mcts", 16, (10,), pb_c_init=0.0)[-1]
  assert explorer.experiment.config.search.pb_c_init == before
  assert wide.method == "mcts at 10, pb_c_init 50.0"
  assert [n.visits for n in wide.nodes] != [n.visits for n in usual.nodes]
  # The same random numbers: the first candidates are the same.
  first = lambda view: [n.thought for n in view.nodes if n.parent == 0]
  assert first(wide) == first(usual)


def test_an_unknown_setting_or_budget_is_refused(explorer):
  with pytest.raises(ConfigError, match="no key 'exploration'; it has aggreg"):
    explorer.search("mcts", 4, exploration=1.0)
  with pytest.raises(ConfigError, match="budget is 0: give at least 1"):
    explorer.search("mcts", 0)


def test_searches_are_compared_by_cost_and_answer():
  node = tree_view.NodeView
  right = tree_view.TreeView(
    "p", "1", "beam",
    (node(-1, "", chosen=True),
     node(0, "a", terminal=True, correct=True, chosen=True),
     node(0, "b", terminal=True, correct=False)),
  )  # fmt: skip
  nothing = tree_view.TreeView("p", "1", "mcts", (node(-1, ""), node(0, "a")))
  assert explore.comparison([right, nothing]).splitlines() == [
    "search  tokens  PRM tokens  thoughts  complete  answer",
    "beam         0           0         2         2  right",
    "mcts         0           0         1         0  none",
  ]


def test_a_frame_shows_every_tree_and_lets_nothing_out():
  thought = '"></iframe><script>alert(1)</script>'
  node = tree_view.NodeView
  view = tree_view.TreeView(
    "p", "1", "beam", (node(-1, ""), node(0, thought, math.nan))
  )
  frame = report_tree.render_frame([view, view])
  assert frame.count("<iframe") == frame.count("</iframe") == 1
  assert "<script" not in frame and frame.count('"') == 8
  assert frame.count("id=&quot;tree0-1&quot;") == 1
  assert frame.count("id=&quot;tree1-1&quot;") == 1
