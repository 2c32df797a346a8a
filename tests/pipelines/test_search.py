"""Which search costs what; `test_search_methods` is on what each one finds."""

import pathlib

import numpy as np
import pytest

from reasoning_rl.pipelines import config_file, methods, sampler, search
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines.errors import ConfigError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory, quick_compilation):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


@pytest.fixture(name="params", scope="module")
def fixture_params(experiment):
  return experiment.search_params(
    experiment.policy.init(experiment.rng(0)),
    experiment.prm.init(experiment.rng(1)),
  )


def test_beams_decode_as_many_thoughts_per_depth_as_their_budget(experiment):
  for budget in (1, 2, 4, 8, 16):
    plan = search.plan(experiment, "beam", budget)
    assert plan.width * plan.candidates == budget
    assert plan.candidates == min(budget, 8)


def test_beams_are_stretched_by_whole_nodes(experiment):
  config = experiment.config.search
  config.beam_candidates, config.beam_stretch = 2, 1.25
  try:
    widths = [search.plan(experiment, "beam", b).width for b in (2, 4, 8, 16)]
  finally:
    config.beam_candidates, config.beam_stretch = 8, 1.0
  assert widths == [1, 2, 5, 10]


def test_beams_alone_are_ranked_by_likelihood_too(experiment):
  changed = experiment.with_search(likelihood=0.25)
  shares = {
    method: search.plan(changed, method, 8).rules.likelihood
    for method in search.methods.FRONTIER
  }
  beams = ("beam", "dvts", "lookahead")
  assert shares == {m: 0.25 if m in beams else 0.0 for m in shares}
  config = experiment.with_search(likelihood=1.0).config
  with pytest.raises(ValueError, match="search.likelihood is 1.0: give at"):
    search.methods.check(config)


def test_a_tree_search_can_complete_two_solutions_in_its_budget(experiment):
  runs = search.runs(experiment, "mcts", (1, 2, 4, 8, 16), 30.0, 3.0)
  # Of a single candidate there would be nothing to search.
  assert [budgets for budgets, _ in runs] == [(4,), (8,), (16,)]
  thought = 30.0 / experiment.max_thoughts
  limits = [limit for _, at in runs for limit in at]
  expected = [120 - thought, 240 - 2 * thought, 480 - 4 * thought]
  np.testing.assert_allclose(limits, expected)


def test_a_tree_is_wide_enough_for_its_budget(experiment):
  assert experiment.max_thoughts == 3  # M² nodes before the last thought.
  config = experiment.config.search
  made = lambda: [
    search.plan(experiment, "mcts", b).candidates for b in (2, 4, 8, 16, 64)
  ]
  # No more than half the budget, and no fewer than 8.
  assert made() == [2, 2, 4, 8, 8]
  config.mcts_candidates = 3
  try:
    assert made() == [2, 2, 3, 4, 8]  # 3² is above 8; 4² is 16 and 8² is 64.
  finally:
    config.mcts_candidates = 8


def test_a_tree_of_few_thoughts_a_pass_still_spends_its_budget(
  experiment, params
):
  config = experiment.config.search
  problems = experiment.problems("validation", 0, 3)
  # A tree exhausts a sure policy; this one is sure of nothing, and its nucleus
  # leaves few of the wide expansion's thoughts.
  config.top_p, tokens = 0.6, 16 * experiment.completion_size // 2
  try:
    plan = search.plan(experiment, "mcts", 16)
    searcher = search.Searcher(experiment, plan)
    found = searcher.search(params, experiment.rng(2), problems, (tokens,))[0]
  finally:
    config.top_p = 1.0
  exhausted = found.tree.exhausted_mask[:, 0]
  assert (exhausted | (found.policy_tokens >= tokens)).all()
  assert not exhausted.all()


def test_a_nucleus_is_that_of_the_search(experiment):
  config = experiment.config.search
  made = lambda: experiment.expand_config(4, "distinct").sampling.top_p
  sampled = lambda: experiment.expand_config(1, "independent").sampling.top_p
  before = made()
  config.top_p = 0.9
  try:
    assert (before, made()) == (1, 0.9)
    assert experiment.sampling.top_p == sampled() == 1  # Of whole solutions.
  finally:
    config.top_p = 1.0


def test_a_beam_is_compiled_per_budget_and_not_for_a_single_sample(experiment):
  runs = search.runs(experiment, "beam", (1, 2, 4, 8), 30.0, 3.0)
  assert runs == [((2,), ()), ((4,), ()), ((8,), ())]


def test_an_unknown_method_is_refused(experiment):
  with pytest.raises(ValueError, match="method is 'dfs'"):
    search.plan(experiment, "dfs", 4)


@pytest.mark.parametrize(
  "method, budgets",
  [pytest.param("beam", (), marks=pytest.mark.slow), ("mcts", (25.0, 60.0))],
)
def test_what_a_problem_finds_does_not_depend_on_the_pieces(
  experiment, params, method, budgets
):
  problems = experiment.problems("validation", 0, 3)
  plan = search.plan(experiment, method, 8)
  searcher = search.Searcher(experiment, plan)
  rng = experiment.rng(2)
  together, alone = (
    search.search_pieces(searcher, params, rng, problems, rows, budgets)[-1]
    for rows in (64, plan.width * plan.candidates)
  )
  assert [len(together), len(alone)] == [1, 3]
  for row, piece in enumerate(alone):
    said = [solution.tokens for solution in piece.solutions[0]]
    expected = [solution.tokens for solution in together[0].solutions[row]]
    assert said == expected


# A beam goes on while solutions end early, as this policy's do; it spends what
# samples of a policy that ends none early would.
@pytest.mark.parametrize(
  "method",
  (
    *(
      pytest.param(m, marks=pytest.mark.slow)
      for m in ("independent", "tot_dfs")
    ),
    "lookahead",
    *methods.TREE,
  ),
)
def test_a_search_spends_its_budget_and_no_more(experiment, params, method):
  problems, budget = experiment.problems("validation", 0, 32), 8
  found = sampler.Sampler(experiment, 16).trajectories(
    params.policy, experiment.rng(7), problems, 512
  )
  each = float(np.mean(found.completion_length))
  ((served, limits),) = search.runs(
    experiment, method, (budget,), each, float(np.mean(found.thought_count))
  )
  plan = search.plan(experiment, method, *served)
  spent = search.Searcher(experiment, plan).search(
    params, experiment.rng(2), problems, limits
  )[0]
  share = spent.policy_tokens.mean() / (budget * each)
  # Of what is complete nothing is rolled out, and a stack may run empty.
  assert 0.4 < share < 1.05, share


def test_a_search_that_does_not_fit_says_so_with_its_size(experiment):
  searcher = search.Searcher(experiment, search.plan(experiment, "mcts", 16))
  config = experiment.config.search
  before, config.pool_mebibytes = config.pool_mebibytes, 0
  # Two layers of four heads of 8 numbers, keys and values, in two networks.
  slots = searcher.plan.slots + experiment.prompt_size
  words = f"{slots:,} tokens x {2 * 2 * 2 * 4 * 8 * 4:,} bytes"
  try:
    with pytest.raises(ConfigError, match=words):
      searcher.max_problems()
  finally:
    config.pool_mebibytes = before
