"""UCT, rStar, ReST-MCTS* and Gumbel search against references and mctx."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest

from reasoning_rl import pool as pool_lib
from reasoning_rl.search import backup, gumbel, mcts, selection
from tests.search import mctx_oracle, reference, reference_tree
from tests.search import table as table_lib

BRANCHING, DEPTH, ROWS, PASSES = 4, 4, 250, 30
pytestmark = pytest.mark.usefixtures("quick_compilation")
TOLERANCE = 1e-5  # float32 means of up to PASSES returns of size about 3.
EXPAND = table_lib.make_expand_fn(BRANCHING, BRANCHING)
ROLL = table_lib.make_expand_fn(1, BRANCHING)
RNG = jax.random.key(7)


@functools.partial(jax.jit, static_argnames="config")
def _jitted(table, tree, config, passes):
  return mcts.run(table, RNG, tree, EXPAND, config, passes, None, ROLL)


def _search(table, config, passes=PASSES, tree=None):
  if tree is None:
    tree = table_lib.plant(table, config.capacity(PASSES))
  passes = jnp.asarray(passes, jnp.int32)
  return jax.device_get(_jitted(table, tree, config, passes))


def _paid_at_the_end(seed, rows=ROWS, **kwargs):
  return table_lib.make_table(seed, rows, BRANCHING, DEPTH, **kwargs)


def _mixed(seed):
  return table_lib.make_mixed_table(seed, ROWS, BRANCHING, DEPTH)


def _assert_equal(tree, table, searches, states_of=None):
  """Compares visits and, where there are any, values by state."""
  visits = table_lib.by_state(tree, tree.node_visits, table)
  values = table_lib.by_state(tree, tree.node_values, table)
  for row, search in enumerate(searches):
    expected = np.array(
      [search.visits[s] for s in range(visits.shape[1])], float
    )
    np.testing.assert_array_equal(np.nan_to_num(visits[row]), expected)
    seen = np.flatnonzero(expected)
    value = search.value
    of = value if callable(value) else value.__getitem__
    if states_of is not None:
      seen = [s for s in seen if states_of(search, s)]
    np.testing.assert_allclose(
      values[row, seen], [of(s) for s in seen], atol=TOLERANCE
    )


def _problems(table):
  rows = table.values.shape[0]
  return [reference.Problem(table, row, BRANCHING) for row in range(rows)]


@pytest.mark.parametrize("leaves", [1, 3])
@pytest.mark.parametrize("skip", [False, True])
def test_uct_equals_the_reference_on_random_trees(leaves, skip):
  config = mcts.uct(BRANCHING, leaves_per_pass=leaves, skip_exhausted=skip)
  table = _mixed(1 + leaves)
  searches = [
    reference_tree.UCT(p, "score", leaves, skip).run(PASSES)
    for p in _problems(table)
  ]
  _assert_equal(_search(table, config), table, searches)


@pytest.mark.parametrize("leaves", [1, 3])
@pytest.mark.parametrize("prior_value", [False, True])
def test_rstar_equals_the_reference_on_random_trees(leaves, prior_value):
  config = mcts.rstar(
    BRANCHING, prior_value=prior_value, leaves_per_pass=leaves
  )
  table = _paid_at_the_end(11 + leaves, terminal=0.1)
  table.rewards[:] = np.round(table.rewards)  # A verifier's verdicts.
  searches = [
    reference_tree.RStar(p, prior_value, leaves).run(PASSES)
    for p in _problems(table)
  ]
  tree = _search(table, config)
  _assert_equal(tree, table, searches)
  # Rollouts end in solutions: of PASSES passes some went deeper only.
  assert 0 < tree.node_visits[:, 0].mean() < 0.9 * PASSES * leaves


@pytest.mark.parametrize("gate", [0.9, math.inf])
@pytest.mark.parametrize("seed", [21, pytest.param(22, marks=pytest.mark.slow)])
def test_rest_mcts_equals_the_reference_on_random_trees(seed, gate):
  config = mcts.rest_mcts(BRANCHING, stop_value=gate)
  table = _paid_at_the_end(seed)
  searches = []
  for problem in _problems(table):
    search = reference_tree.RestMCTS(problem)
    search.end_gate = gate
    searches.append(search.run(PASSES))
  tree = _search(table, config)
  is_open = lambda search, state: search.problem.is_open[state]
  _assert_equal(tree, table, searches, is_open)
  stopped = [search.stopped for search in searches]
  np.testing.assert_array_equal(tree.stopped_mask, stopped)
  tokens = [search.tokens for search in searches]
  np.testing.assert_array_equal(tree.policy_tokens, tokens)
  assert any(stopped) == (gate < 1)


@pytest.mark.parametrize("seed", [31, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_gumbel_equals_the_reference_on_random_trees(seed, noise):
  rule = gumbel.GumbelConfig(PASSES - 1, noise=noise)
  config = mcts.MCTSConfig(BRANCHING, rule=rule)
  table = _mixed(seed)
  ids = jnp.arange(ROWS)
  drawn = np.asarray(rule.gumbel(RNG, ids, 0 * ids, BRANCHING), float)
  searches = [
    reference_tree.Gumbel(p, drawn[row], PASSES - 1).run()
    for row, p in enumerate(_problems(table))
  ]
  _assert_equal(_search(table, config), table, searches)


@pytest.mark.parametrize("simulations", [7, PASSES - 1])
def test_gumbel_equals_mctx_on_random_trees(simulations):
  rule = gumbel.GumbelConfig(simulations, noise=0.0)
  config = mcts.MCTSConfig(BRANCHING, rule=rule)
  # No ends and no repetitions: there mctx counts what can never be entered.
  table = table_lib.make_mixed_table(
    41, ROWS, BRANCHING, DEPTH, terminal=0.0, stopped=0.0, repeated=0.0
  )
  tree = _search(table, config, simulations + 1)
  policy = functools.partial(mctx.gumbel_muzero_policy, gumbel_scale=0.0)
  oracle = jax.jit(
    lambda table: mctx_oracle.search(policy, table, BRANCHING, RNG, simulations)
  )
  with jax.numpy_rank_promotion("allow"):
    other = jax.device_get(oracle(table))
  visits = table_lib.by_state(tree, tree.node_visits, table)
  for row in range(ROWS):
    of_state = other.embeddings[row]
    shallow = of_state < table_lib.count_states(BRANCHING, DEPTH - 1)
    seen = (other.node_visits[row] > 0) & shallow
    np.testing.assert_array_equal(
      visits[row, of_state[seen]], other.node_visits[row, seen]
    )
  np.testing.assert_array_equal(tree.node_visits[:, 0], simulations + 1)


def test_sequential_halving_of_eight_in_twenty_four():
  # 24 / (8 · 3) = 1 turn of 8, 24 / (4 · 3) = 2 of 4, 24 / (2 · 3) = 4 of 2.
  expected = [0] * 8 + [1] * 4 + [2] * 4 + [3, 3, 4, 4, 5, 5, 6, 6]
  assert list(gumbel.schedule(8, 24)) == expected


def test_past_its_schedule_a_gumbel_search_stays_with_what_it_kept():
  rule = gumbel.GumbelConfig(16, noise=0.0)
  table = _mixed(42)
  short = _search(table, mcts.MCTSConfig(BRANCHING, rule=rule), 17)
  longer = _search(table, mcts.MCTSConfig(BRANCHING, rule=rule), 30)
  visits = lambda tree: tree.node_visits[:, 1 : BRANCHING + 1]
  kept = visits(short) == visits(short).max(axis=1, keepdims=True)
  assert np.all(visits(longer)[~kept] == visits(short)[~kept])
  np.testing.assert_array_equal(longer.node_visits[:, 0], 30)


def test_a_schedule_of_one_candidate_counts_up():
  assert gumbel.schedule(1, 4) == (0, 1, 2, 3)
  table = gumbel.schedule_table(3, 5)
  np.testing.assert_array_equal(table[0], table[1])
  assert table.shape == (4, 5)


def test_mixed_value_of_a_hand_worked_family():
  # One visited child: π 1/2, q 0.8; raw value 0.2; N = 3:
  # (0.2 + 3 · 0.8) / 4 = 0.65 completes the others.
  family = selection.Family(
    visits=jnp.int32(4),
    value=jnp.float32(0.6),
    raw_value=jnp.float32(0.2),
    children_visits=jnp.array([3, 0, 0]),
    qvalues=jnp.array([0.8, 0.1, 0.9]),
    prior_logits=jnp.log(jnp.array([2.0, 1.0, 1.0])),
    eligible_mask=jnp.ones(3, bool),
  )
  found = gumbel.GumbelConfig(8).transformed_qvalues(family)
  # Rescaled: 0.8 is the largest, 0.65 the smallest; (50 + 3) · 0.1.
  np.testing.assert_allclose(found, [5.3, 0, 0], rtol=1e-6)


@functools.partial(jax.jit, static_argnums=1)
def _walk(tree, config, noise):
  """Follows the rules from the root, ranking from scratch."""
  rows, node = jnp.arange(ROWS), jnp.zeros(ROWS, jnp.int32)
  for depth in range(DEPTH + 1):
    family = backup.family_of(tree, node, BRANCHING)
    best = backup.best_of(config.rule.scores, family)
    if isinstance(config.rule, gumbel.GumbelConfig) and not depth:
      scores = config.rule.root_scores
      best = backup.best_of(scores, family, noise.T, family.visits - 1)
    first = tree.children_start[rows, node]
    node = jnp.where(first >= 0, first + best, node)
  return node


@pytest.mark.parametrize(
  "config",
  [
    mcts.puct(BRANCHING),
    mcts.uct(BRANCHING),
    mcts.rstar(BRANCHING, leaves_per_pass=2),
    mcts.rest_mcts(BRANCHING, stop_value=math.inf),
    mcts.gumbel(BRANCHING, PASSES),
  ],
  ids=["puct", "uct", "rstar", "rest_mcts", "gumbel"],
)
def test_the_leaf_kept_is_the_leaf_that_a_walk_ends_in(config):
  table = _paid_at_the_end(51)
  tree = _search(table, config, 17)
  noise = jnp.zeros((ROWS, BRANCHING))
  if isinstance(config.rule, gumbel.GumbelConfig):
    noise = config.rule.gumbel(RNG, tree.problem_id, tree.root, BRANCHING)
  tree = jax.tree.map(jnp.asarray, tree)
  kept = mcts.simulate(tree, config, noise)
  np.testing.assert_array_equal(kept, _walk(tree, config, noise))


@pytest.mark.parametrize("leaves", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("make", [mcts.uct, mcts.puct, mcts.rstar])
def test_continuing_equals_one_longer_search(make, leaves):
  config = make(BRANCHING, leaves_per_pass=leaves)
  table = _paid_at_the_end(61)
  table = table.replace(noise=np.full(ROWS, 0.2, np.float32))
  once = _search(table, config, 12)
  twice = _search(table, config, 7, _search(table, config, 5))
  jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_a_depth_limit_is_never_passed():
  config = mcts.uct(BRANCHING, max_depth=2)
  tree = _search(_paid_at_the_end(71, terminal=0.0), config)
  assert tree.depth[tree.valid_mask].max() == 2
  np.testing.assert_array_equal(tree.node_visits[:, 0], PASSES)


@pytest.mark.parametrize("make", [mcts.puct, mcts.uct, mcts.rstar])
def test_a_problem_rests_once_a_solution_is_good_enough(make):
  table = _paid_at_the_end(72, terminal=0.3)
  config = make(BRANCHING, stop_value=0.8, skip_exhausted=True)
  tree = _search(table, config)
  longer = _search(table, make(BRANCHING, skip_exhausted=True))
  stopped = tree.stopped_mask
  assert 0.1 < stopped.mean() < 1
  assert np.all(tree.policy_tokens[stopped] <= longer.policy_tokens[stopped])
  assert tree.policy_tokens[stopped].sum() < longer.policy_tokens[stopped].sum()
  np.testing.assert_array_equal(
    tree.node_visits[~stopped], longer.node_visits[~stopped]
  )
  good = tree.terminal_mask & tree.valid_mask & (tree.thought_rewards >= 0.8)
  assert np.all(good.any(axis=1)[stopped])


@pytest.mark.parametrize("make", [mcts.uct, mcts.rstar, mcts.rest_mcts])
def test_a_nan_stays_in_its_row_and_the_search_ends(make):
  table = _paid_at_the_end(73)
  broken = table.replace(
    values=table.values.copy(), rewards=table.rewards.copy()
  )
  broken.values[::4, 2:], broken.rewards[::4, 2:] = np.nan, np.nan
  config = make(BRANCHING)
  healthy = np.arange(ROWS) % 4 > 0
  one, two = _search(broken, config), _search(table, config)
  for name in ("node_visits", "node_values", "best_leaf"):
    np.testing.assert_array_equal(
      getattr(one, name)[healthy], getattr(two, name)[healthy]
    )


@pytest.mark.parametrize("make", [mcts.uct, mcts.rstar, mcts.rest_mcts])
def test_all_candidates_terminal_and_one_candidate_are_searches_too(make):
  table = _paid_at_the_end(74, terminal=1.0, stopped=0.0)
  tree = _search(table, make(BRANCHING))
  np.testing.assert_array_equal(tree.policy_tokens, BRANCHING)
  assert np.all(tree.children_start[:, 1:] < 0)
  one = make(1)
  narrow = jax.jit(
    lambda tree: mcts.run(table, RNG, tree, ROLL, one, 5, None, ROLL)
  )(table_lib.plant(table, one.capacity(5)))
  assert np.all(np.asarray(narrow.node_visits)[:, 0] <= 5)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"backup": "sum"}, "backup is 'sum'; use one of"),
    ({"backup": "outcome"}, "needs a UCTConfig"),
    ({"backup": "children", "leaves_per_pass": 2}, "set leaves_per_pass to 1"),
    ({"rollout_thoughts": 1}, "needs backup 'children'"),
    ({"num_candidates": 0}, "use at least 1"),
  ],
)
def test_rules_that_do_not_go_together_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    mcts.MCTSConfig(**({"num_candidates": 4} | changes))


def test_rollouts_without_a_function_are_refused():
  table, config = _paid_at_the_end(75, rows=2), mcts.rest_mcts(BRANCHING)
  tree = table_lib.plant(table, config.capacity(1))
  with pytest.raises(ValueError, match="rollout_fn"):
    mcts.run(table, RNG, tree, EXPAND, config, 1)


@pytest.mark.parametrize(
  "config",
  [
    mcts.puct(3, skip_exhausted=True),
    mcts.uct(3, skip_exhausted=True, leaves_per_pass=2),
    mcts.gumbel(3, 12, skip_exhausted=True),
    mcts.rstar(3, skip_exhausted=True),
    mcts.rest_mcts(3, skip_exhausted=True, stop_value=math.inf),
  ],
  ids=["puct", "uct", "gumbel", "rstar", "rest_mcts"],
)
def test_enough_passes_find_every_solution_there_is(config):
  table = table_lib.make_table(91, 16, 3, 3)
  run = jax.jit(
    lambda tree: mcts.run(
      table,
      RNG,
      tree,
      table_lib.make_expand_fn(3, 3),
      config,
      80,
      None,
      table_lib.make_expand_fn(1, 3),
    )
  )
  tree = jax.device_get(run(table_lib.plant(table, config.capacity(80))))
  for row in range(16):
    problem = reference.Problem(table, row, 3)
    expected = {path[-1] for path in reference.solutions(problem)}
    complete = tree.terminal_mask[row] & tree.valid_mask[row]
    found = tree.hidden[row, complete, 0].astype(int).tolist()
    assert sorted(found) == sorted(expected)
  assert tree.exhausted_mask[:, 0].all()


@pytest.mark.parametrize(
  "make", [mcts.puct, mcts.uct, mcts.rstar, mcts.rest_mcts]
)
def test_a_moved_root_keeps_its_subtree_and_is_all_that_is_searched(make):
  config = make(BRANCHING, stop_value=math.inf)
  table = _paid_at_the_end(92, terminal=0.05)
  before = _search(table, config, 12)
  first = before.node_visits[:, 1 : BRANCHING + 1]
  expanded = before.children_start[:, 1 : BRANCHING + 1] >= 0
  child = 1 + np.argmax(np.where(expanded, first, -1), axis=1)
  child = np.where(expanded.any(axis=1), child, -1).astype(np.int32)
  moved = jax.tree.map(jnp.asarray, before)
  moved = pool_lib.reroot(moved, jnp.asarray(child))
  below = np.asarray(pool_lib.subtree(moved, moved.root))
  after = _search(table, config, 8, moved)
  rows = np.flatnonzero(child >= 0)
  assert len(rows) > ROWS // 2
  # Above and beside the new root nothing changes; below it visits add up.
  kept = before.valid_mask & ~below
  for name in ("node_visits", "node_values", "children_start"):
    np.testing.assert_array_equal(
      getattr(after, name)[rows][kept[rows]],
      getattr(before, name)[rows][kept[rows]],
    )
  gained = after.node_visits[rows, child[rows]]
  gained -= before.node_visits[rows, child[rows]]
  assert gained.max() <= 8 and gained.mean() > 2
  new = after.valid_mask & ~before.valid_mask
  moved = moved.replace(parents=jnp.asarray(after.parents))
  grown = np.asarray(pool_lib.subtree(moved, moved.root))
  assert np.all(grown[rows][new[rows]])
