"""What ends a frontier search, and what holds of every rule."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from reasoning_rl.search import frontier
from tests.search import (
  cases,
  reference,
  reference_frontier,
  test_allocation,
)
from tests.search import table as table_lib
from tests.search.cases import every_rule

ROWS, NO_NODE = cases.ROWS, cases.NO_NODE


def make_table(seed, *shares):
  return table_lib.make_table(seed, ROWS, cases.BRANCHING, cases.DEPTH, *shares)


def with_noise(table):
  return table.replace(noise=np.full(ROWS, 0.2, np.float32))


def states(table, name):
  """Returns the search after no pass, one pass, and so on."""
  begin = cases.start(table, cases.CONFIGS[name], cases.PASSES[name])
  every = [after for _, after in cases.after_every_pass(name, table)]
  return [jax.device_get(begin), *every]


def assert_ended(state, every, has_ended):
  """Asserts that each row stands where it did once it had ended, if it had."""
  ends = [
    next((p for p, x in enumerate(every) if has_ended(x, row)), len(every) - 1)
    for row in range(ROWS)
  ]
  for passes in set(ends):
    rows = np.flatnonzero(np.asarray(ends) == passes)
    cases.assert_same(state, every[passes], rows, rows)
  return ends


@every_rule
def test_a_problem_rests_once_its_tokens_are_spent(name):
  table, random = cases.random_table(), np.random.default_rng(1)
  every = states(table, name)
  budget = random.integers(0, every[-1].tree.policy_tokens.max(), ROWS)
  budget = budget.astype(np.int32)
  budget[:8] = 0
  state = cases.search(table, name, budget=budget)
  ends = assert_ended(
    state, every, lambda x, row: x.tree.policy_tokens[row] >= budget[row]
  )
  assert len(set(ends)) > 2 and ends[:8] == [0] * 8


@every_rule
def test_no_budget_and_no_passes_leave_the_search_as_it_began(name):
  table = cases.random_table()
  begin = states(table, name)[0]
  for state in (
    cases.search(table, name, budget=np.zeros(ROWS, np.int32)),
    cases.search(table, name, passes=0),
  ):
    jax.tree.map(np.testing.assert_array_equal, state, begin)


@pytest.mark.parametrize("name", ["best", "particles", "depth_first"])
def test_a_problem_rests_once_a_solution_scores_enough(name):
  table = cases.random_table()
  every = states(table, name)
  config = dataclasses.replace(cases.CONFIGS[name], stop_score=0.8)
  state = cases.search(table, name, config=config)
  solved = lambda x, row: np.any(
    x.tree.terminal_mask[row] & (x.tree.thought_rewards[row] >= 0.8)
  )
  ends = assert_ended(state, every, solved)
  assert len(set(ends)) > 2


@every_rule
def test_the_best_score_is_that_of_the_solutions_found(name):
  table, config = cases.random_table(), cases.CONFIGS[name]
  state = cases.search(table, name)
  every = np.arange(state.tree.parents.shape[1], dtype=np.int32)
  every = np.tile(every, (ROWS, 1))
  tree = jax.device_put(state.tree)
  scores = np.asarray(frontier.path_scores(tree, every, config.aggregation))
  found = state.tree.terminal_mask & state.tree.valid_mask
  found &= scores >= config.prune_score
  best = np.where(found, scores, -np.inf).max(axis=1)
  np.testing.assert_array_equal(state.best_score, best)
  assert np.any(best > -np.inf)


@pytest.mark.parametrize(
  "name", ["best", "subtrees", "rebase", "particles", "breadth_first"]
)
def test_a_depth_limit_is_a_limit_of_passes(name):
  table = cases.random_table()
  config = dataclasses.replace(cases.CONFIGS[name], max_depth=2)
  state = cases.search(table, name, config=config)
  cases.assert_same(state, states(table, name)[2])


def test_depth_first_search_turns_back_at_its_depth_limit():
  table = cases.random_table()
  # No more slots than the stack needs: what is at the limit takes none.
  config = dataclasses.replace(
    cases.CONFIGS["depth_first"], max_depth=2, width=5
  )
  state = cases.start(table, config, cases.PASSES["depth_first"])
  state = cases.search(table, "depth_first", state=state, config=config)
  for row, problem in enumerate(cases.problems()):
    order = [*reference_frontier.depth_first(problem, 3, 0.3, 2)]
    first = state.tree.children_start[row]
    expanded = [n for n in np.argsort(first) if first[n] != NO_NODE]
    assert [cases.path_to(state, row, n) for n in expanded] == order


@every_rule
def test_a_search_goes_on_from_where_its_budget_ended_it(name):
  table, limit = cases.random_table(), np.arange(ROWS, dtype=np.int32) % 20
  config, passes = cases.CONFIGS[name], cases.PASSES[name]
  once = cases.search(table, name)
  state = cases.start(table, config, 2 * passes)
  state = cases.search(table, name, state=state, budget=limit)
  twice = cases.search(table, name, state=state)
  spent = once.tree.policy_tokens
  if name == "depth_first":  # More passes than the one search was given.
    assert np.all(twice.tree.policy_tokens >= spent)
    return
  np.testing.assert_array_equal(twice.tree.policy_tokens, spent)
  for row in range(ROWS):
    assert cases.paths(twice, row) == cases.paths(once, row)


@every_rule
def test_a_row_does_not_depend_on_the_other_problems(name):
  table = with_noise(cases.random_table())
  order = np.random.default_rng(0).permutation(ROWS)
  state = cases.search(table, name)
  mixed = jax.tree.map(lambda x: x[order], table)
  begin = cases.start(mixed, cases.CONFIGS[name], cases.PASSES[name], order)
  cases.assert_same(
    cases.search(mixed, name, state=begin), state, slice(None), order
  )
  # The others' searches are over after a pass.
  strangers = with_noise(make_table(6, 0.9, 0.1))
  even = lambda x: np.arange(ROWS).reshape(-1, *[1] * (x.ndim - 1)) % 2 == 0
  half = jax.tree.map(lambda x, y: np.where(even(x), x, y), table, strangers)
  rows = slice(None, None, 2)
  cases.assert_same(cases.search(half, name), state, rows, rows)


@every_rule
def test_scores_that_are_not_finite_are_alike_and_stay_in_their_row(name):
  table = cases.random_table()
  healthy = cases.search(table, name)
  bad = np.random.default_rng(0).random(table.values.shape) < 0.4
  bad[1::2] = False
  found = []
  for value in (np.nan, np.inf, -np.inf):
    scores = np.where(bad, np.float32(value), table.thought_rewards)
    found.append(cases.search(table.replace(thought_rewards=scores), name))
    rows = slice(1, None, 2)
    cases.assert_same(found[-1], healthy, rows, rows)
    np.testing.assert_array_equal(found[-1].nodes, found[0].nodes)
    assert not np.any(np.isnan(found[-1].best_score))
    assert np.all(found[-1].best_score <= 1)


@pytest.mark.parametrize(
  "name", ["best", "subtrees", "breadth_first", "depth_first"]
)
def test_a_score_that_is_not_finite_ranks_below_every_other(name):
  table = cases.random_table()
  bad = np.random.default_rng(0).random(table.values.shape) < 0.4
  with_bad = lambda value: table.replace(
    thought_rewards=np.where(bad, np.float32(value), table.thought_rewards)
  )
  found = cases.search(with_bad(np.inf), name)
  lowest = cases.search(with_bad(-1.0), name)
  np.testing.assert_array_equal(found.nodes, lowest.nodes)


@every_rule
def test_a_policy_that_never_ends_a_thought_ends_the_search(name):
  config = cases.CONFIGS[name]
  state = cases.search(make_table(4, 0.0, 1.0), name)
  assert np.all(state.nodes == NO_NODE)
  assert np.all(state.best_score == -np.inf)
  added = config.leaves * config.num_candidates
  assert state.tree.next_node[0] == 1 + added
  np.testing.assert_array_equal(state.tree.policy_tokens, added)


@every_rule
def test_a_search_ends_when_all_candidates_are_complete(name):
  config = cases.CONFIGS[name]
  table = make_table(5, 1.0, 0.0, 0.0)
  state = cases.search(table, name)
  assert state.tree.next_node[0] == 1 + config.leaves * config.num_candidates
  terminal = np.take_along_axis(state.tree.terminal_mask, state.nodes, 1)
  assert np.all(terminal[state.nodes != NO_NODE])
  if config.prune_score == -np.inf:
    assert np.all(np.any(terminal & (state.nodes != NO_NODE), axis=1))


@pytest.mark.parametrize("name", ["best", "depth_first", "lookahead"])
def test_a_search_makes_the_passes_that_its_tree_has_room_for(name):
  table, config = cases.random_table(), cases.CONFIGS[name]
  every = states(table, name)
  for missing, passes in ((0, 2), (1, 1)):
    tree = table_lib.plant(table, config.capacity(2) - missing)
    state = cases.search(table, name, state=frontier.start(tree, config))
    np.testing.assert_array_equal(state.nodes, every[passes].nodes)


@every_rule
def test_a_search_is_one_dispatch_without_callbacks(name):
  table, config = cases.random_table(), cases.CONFIGS[name]
  expand_fn = cases.expand_fn(config.num_candidates)
  run = lambda x: frontier.run(
    table, cases.RNG, x, expand_fn, config, 3, None, cases.expand_fn(1)
  )
  program = jax.make_jaxpr(run)(cases.start(table, config))
  assert not program.effects
  assert "while" in str(program) and "callback" not in str(program)


@every_rule
def test_another_batch_and_budget_do_not_compile_again(name):
  cases.search(cases.random_table(), name)
  before = len(cases.TRACES)
  budget = np.full(ROWS, 7, np.int32)
  cases.search(make_table(7), name, 2, budget=budget)
  assert len(cases.TRACES) == before


# What the rules reduce to.


def reduced(table, *config):
  config = frontier.FrontierConfig(*config)
  state = cases.start(table, config)
  return cases.search(table, "best", cases.DEPTH, state, config=config)


def test_one_subtree_is_a_beam_of_width_one():
  table = with_noise(cases.random_table())
  one, two = (reduced(table, 1, 3, rule) for rule in ("subtrees", "best"))
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_subtrees_of_one_candidate_are_independent_samples():
  table = with_noise(cases.random_table())
  one, two = (
    reduced(table, 4, 1, rule) for rule in ("subtrees", "independent")
  )
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_one_particle_and_one_balanced_sample_are_one_sample():
  table = with_noise(cases.random_table())
  one = reduced(table, 1, 1, "independent")
  for rule in ("particles", "rebase"):
    jax.tree.map(np.testing.assert_array_equal, one, reduced(table, 1, 1, rule))


def test_one_candidate_of_one_node_is_one_sample_by_any_rule():
  table = with_noise(cases.random_table())
  one = reduced(table, 1, 1, "independent")
  for rule in ("best", "subtrees", "breadth_first"):
    jax.tree.map(np.testing.assert_array_equal, one, reduced(table, 1, 1, rule))
  deep = reduced(table, 1, 1, "depth_first", "last", False, 1)
  jax.tree.map(np.testing.assert_array_equal, one, deep)


@pytest.mark.parametrize("name", ["particles", "depth_first"])
def test_equal_scores_are_drawn_or_taken_as_their_reference_says(name):
  table = make_table(3)
  table = table.replace(thought_rewards=np.full_like(table.values, 0.5))
  state = cases.search(table, name)
  for row in range(32):
    problem = reference.Problem(table, row, cases.BRANCHING)
    if name == "depth_first":
      order = reference_frontier.depth_first(problem, 3, 0.3, cases.DEPTH)
      first = state.tree.children_start[row]
      expanded = [n for n in np.argsort(first) if first[n] != NO_NODE]
      found = [cases.path_to(state, row, n) for n in expanded]
      assert found == list(itertools.islice(order, len(found)))
    else:
      noise = lambda tokens, r=row: test_allocation.particle_noise(tokens)[r]
      expected = cases.wanted(name, problem, cases.DEPTH, noise)
      assert cases.holds(state, row, expected)


def test_a_beam_samples_n_and_keeps_n_over_m_of_them():
  # N = 16 and M = 4 (arXiv:2408.03314, section 5.2); nothing ends early.
  table = table_lib.make_table(0, 8, 16, 3, 0.0, 0.0, 0.0)
  config = frontier.FrontierConfig(width=4, num_candidates=4)
  expand_fn = table_lib.make_expand_fn(4, 16)
  state = frontier.start(table_lib.plant(table, config.capacity(2)), config)
  run = jax.jit(
    lambda x: frontier.run(table, cases.RNG, x, expand_fn, config, 1)
  )
  for passes in (1, 2):
    before, state = state, jax.device_get(run(state))
    np.testing.assert_array_equal(state.tree.policy_tokens, 16 * passes)
    for row in range(8):
      assert len(set(state.nodes[row].tolist())) == 4
      new = state.tree.parents[row, -16:] if passes == 2 else None
      if new is not None:
        parents, counts = np.unique(new, return_counts=True)
        assert set(parents) == set(before.nodes[row].tolist())
        np.testing.assert_array_equal(counts, 4)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"allocate": "rebase", "num_candidates": 2}, "num_candidates = 1"),
    ({"allocate": "particles", "num_candidates": 2}, "num_candidates = 1"),
    ({"allocate": "subtrees", "refill": True}, "no refill"),
    ({"allocate": "depth_first"}, "set leaves_per_pass"),
    ({"allocate": "subtrees", "leaves_per_pass": 1}, "no leaves_per_pass"),
    ({"leaves_per_pass": 5}, "leaves_per_pass <= width"),
    ({"leaves_per_pass": 0}, "leaves_per_pass <= width"),
    ({"num_candidates": 0}, "A >= 1"),
    ({"lookahead": -1}, "lookahead >= 0"),
    ({"lookahead": 1, "leaves_per_pass": 2}, "no lookahead"),
    ({"temperature": 0.0}, "temperature >= 1e-6"),
    ({"temperature": float("nan")}, "temperature >= 1e-6"),
  ],
)
def test_what_does_not_go_together_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    frontier.FrontierConfig(width=4, **changes)
