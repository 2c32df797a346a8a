"""Tree search against a NumPy reference, mctx, and what must always hold."""

from __future__ import annotations

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import mcts, selection
from tests.search import reference
from tests.search import table as table_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")
BRANCHING, DEPTH, ROWS, PASSES = 3, 5, 32, 40
TOLERANCE = 1e-5  # float32 means of up to PASSES returns of size about 3.
EXPAND = table_lib.make_expand_fn(BRANCHING, BRANCHING)
RNG = jax.random.key(7)
TRACES = []


@functools.partial(jax.jit, static_argnames=("config", "expand_fn"))
def _jitted(params, rng, tree, config, num_passes, token_budget, expand_fn):
  TRACES.append(config)
  return mcts.run(
    params, rng, tree, expand_fn, config, num_passes, token_budget
  )


def _config(value_kind="score", leaves=1, skip_exhausted=False):
  rule = selection.PUCTConfig(value_kind=value_kind)
  return mcts.MCTSConfig(BRANCHING, leaves, rule, skip_exhausted=skip_exhausted)


def _plant(table, problem_id=None):
  # One capacity, so one compilation for each configuration.
  capacity = _config(leaves=2).capacity(PASSES)
  return table_lib.plant(table, capacity, problem_id)


def _search(table, passes, config=None, budget=None, tree=None, rng=RNG):
  tree = _plant(table) if tree is None else tree
  budget = np.full(ROWS, 10**6) if budget is None else np.asarray(budget)
  return _jitted(
    table,
    rng,
    tree,
    config or _config(),
    jnp.asarray(passes, jnp.int32),
    jnp.asarray(budget, jnp.int32),
    EXPAND,
  )


def _mixed_table(seed, **kwargs):
  return table_lib.make_mixed_table(seed, ROWS, BRANCHING, DEPTH, **kwargs)


def _assert_equal_reference(tree, table, config, passes, budget):
  visits = table_lib.by_state(tree, tree.node_visits, table)
  values = table_lib.by_state(tree, tree.node_values, table)
  for row in range(ROWS):
    problem = reference.Problem(table, row, BRANCHING)
    kind, leaves = config.rule.value_kind, config.leaves_per_pass
    skip = config.skip_exhausted
    search = reference.TreeSearch(problem, kind, leaves, skip)
    search.run(passes, budget[row])
    known = search.known_states()
    assert set(known) == set(np.flatnonzero(~np.isnan(visits[row])))
    expected = [search.visits[state] for state in known]
    np.testing.assert_array_equal(visits[row, known], expected)
    expected = [search.value(state) for state in known]
    np.testing.assert_allclose(values[row, known], expected, atol=TOLERANCE)
    assert tree.policy_tokens[row] == search.tokens


@pytest.mark.parametrize("value_kind", ["score", "siblings"])
@pytest.mark.parametrize("leaves", [1, 2])
@pytest.mark.parametrize("skip_exhausted", [False, True])
def test_visits_and_values_equal_the_reference_on_random_trees(
  value_kind, leaves, skip_exhausted
):
  config = _config(value_kind, leaves, skip_exhausted)
  # 8 configurations of 4 · ROWS trees: 1,024.
  for seed, passes in enumerate([2, 12, 31, PASSES]):
    table = _mixed_table(seed)
    budget = np.full(ROWS, 10**6)
    if seed == 3:
      budget = np.random.default_rng(seed).integers(0, 60, ROWS)
    tree = _search(table, passes, config, budget)
    _assert_equal_reference(tree, table, config, passes, budget)


def _reached(tree, row):
  """Returns each valid node's children, checking both directions."""
  parents, start = np.asarray(tree.parents[row]), tree.children_start[row]
  valid = np.flatnonzero(tree.valid_mask[row])
  children = {node: [] for node in valid}
  for node in valid[1:]:
    first = int(start[parents[node]])
    assert first <= node < first + BRANCHING
    children[parents[node]].append(node)
  return children


@hypothesis.settings(
  max_examples=12,
  deadline=None,
  derandomize=True,
  database=None,
  phases=[hypothesis.Phase.generate],
)
@hypothesis.given(
  seed=st.integers(0, 10**6),
  passes=st.integers(0, PASSES),
  terminal=st.floats(0, 1),
  repeated=st.floats(0, 1),
  budget=st.integers(0, 200),
  leaves=st.sampled_from([1, 2]),
)
def test_visits_are_conserved(seed, passes, terminal, repeated, budget, leaves):
  table = _mixed_table(seed, terminal=terminal, repeated=repeated)
  budget = np.full(ROWS, budget)
  tree = jax.device_get(_search(table, passes, _config(leaves=leaves), budget))
  assert np.all(tree.node_visits[~tree.valid_mask] == 0)
  assert np.all(tree.children_start[~tree.open_mask] == tree_lib.Tree.NO_NODE)
  for row in range(ROWS):
    visits = tree.node_visits[row]
    for node, below in _reached(tree, row).items():
      if tree.children_start[row, node] >= 0:
        assert visits[node] == visits[below].sum() + 1
      elif tree.open_mask[row, node]:
        assert visits[node] == 0
  # A row takes part while its budget lasts and then ends with one expansion.
  lasting = tree.policy_tokens < budget
  visits = tree.node_visits[:, 0]
  assert np.all(visits <= passes * leaves)
  assert np.all(visits[lasting] >= passes)
  over = tree.policy_tokens - budget
  assert np.all((over < leaves * BRANCHING) | (tree.policy_tokens == 0))


def _rows_equal(tree, other, rows, other_rows):
  """Asserts bit-equality of all that is valid in some rows of two batches."""
  valid = np.asarray(tree.valid_mask)[rows]
  np.testing.assert_array_equal(valid, np.asarray(other.valid_mask)[other_rows])
  for name in {field.name for field in dataclasses.fields(tree)}:
    if name in ("pools", "prompts", "prm_carry", "next_node", "free_slots"):
      continue
    one = np.asarray(getattr(tree, name))[rows]
    two = np.asarray(getattr(other, name))[other_rows]
    if one.ndim > 1:
      one, two = one[valid], two[valid]
    np.testing.assert_array_equal(one, two, err_msg=name)


def test_a_row_does_not_depend_on_the_other_problems():
  table = _mixed_table(70).replace(noise=np.full(ROWS, 0.3, np.float32))
  budget = np.random.default_rng(0).integers(0, 150, ROWS)
  tree = _search(table, 30, budget=budget)
  order = np.random.default_rng(1).permutation(ROWS)
  mixed = jax.tree.map(lambda x: x[order], table)
  permuted = _search(mixed, 30, budget=budget[order], tree=_plant(mixed, order))
  _rows_equal(permuted, tree, np.arange(ROWS), order)
  kept = np.arange(0, ROWS, 3)
  strangers = jax.tree.map(lambda x: np.array(x), _mixed_table(99))
  for one, two in zip(
    jax.tree.leaves(strangers), jax.tree.leaves(table), strict=True
  ):
    one[kept] = two[kept]
  other_budget = np.full(ROWS, 10**6)
  other_budget[kept] = budget[kept]
  other = _search(strangers, 30, budget=other_budget)
  _rows_equal(other, tree, kept, kept)
  # The noise is the rng's: another one gives other values.
  third = _search(table, 30, budget=budget, rng=jax.random.key(8))
  assert np.any(np.asarray(third.node_values) != np.asarray(tree.node_values))


@pytest.mark.parametrize("leaves", [1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_continuing_a_search_equals_one_longer_search(leaves, skip):
  table = _mixed_table(71).replace(noise=np.full(ROWS, 0.3, np.float32))
  config = _config(leaves=leaves, skip_exhausted=skip)
  once = _search(table, 12, config)
  twice = _search(table, 7, config, tree=_search(table, 5, config))
  for one, two in zip(
    jax.tree.leaves(once), jax.tree.leaves(twice), strict=True
  ):
    np.testing.assert_array_equal(one, two)


def test_a_search_is_one_dispatch_without_callbacks():
  table = _mixed_table(0)

  def leaves_the_device(params, rng, tree, leaf):
    leaf = jax.pure_callback(lambda x: x, leaf, leaf)
    return EXPAND(params, rng, tree, leaf)

  def program(expand_fn):
    run = lambda tree: mcts.run(table, RNG, tree, expand_fn, _config(), 3)
    return jax.make_jaxpr(run)(_plant(table))

  assert not program(EXPAND).effects
  assert "while" in str(program(EXPAND))
  assert "callback" not in str(program(EXPAND))
  assert "callback" in str(program(leaves_the_device))


def test_another_batch_of_the_same_shape_does_not_compile_again():
  _search(_mixed_table(1), 3)
  before = len(TRACES)
  _search(_mixed_table(2), 4, budget=np.full(ROWS, 9))
  assert len(TRACES) == before


def test_a_score_of_nan_stays_in_its_row_and_the_search_ends():
  table = _mixed_table(80)
  broken = table.replace(
    values=table.values.copy(), thought_rewards=table.thought_rewards.copy()
  )
  broken.values[::4, 2:], broken.thought_rewards[::4, 2:] = np.nan, np.nan
  healthy = np.flatnonzero(np.arange(ROWS) % 4)
  for leaves in (1, 2):
    config = _config(leaves=leaves)
    tree = _search(broken, PASSES, config)
    _rows_equal(tree, _search(table, PASSES, config), healthy, healthy)
    assert np.all(np.isfinite(np.asarray(tree.node_values)[healthy]))
    if leaves == 1:
      np.testing.assert_array_equal(tree.node_visits[:, 0], PASSES)


@pytest.mark.parametrize("passes, budget", [(0, 10**6), (PASSES, 0)])
def test_no_passes_or_no_tokens_leave_the_trees_as_planted(passes, budget):
  table = _mixed_table(81)
  tree = _search(table, passes, budget=np.full(ROWS, budget))
  for one, two in zip(
    jax.tree.leaves(tree), jax.tree.leaves(_plant(table)), strict=True
  ):
    np.testing.assert_array_equal(one, two)


def test_terminal_children_are_visited_again_but_never_expanded():
  table = _mixed_table(82, terminal=1.0, stopped=0.0)
  tree = jax.device_get(_search(table, PASSES))
  np.testing.assert_array_equal(tree.node_visits[:, 0], PASSES)
  np.testing.assert_array_equal(tree.policy_tokens, BRANCHING)
  assert np.all(tree.children_start[:, 1:] == tree_lib.Tree.NO_NODE)
  # A terminal node is worth nothing beyond the reward paid on entering it.
  assert np.all(tree.node_values[:, 1:] == 0)


def test_exhausted_subtrees_are_left_for_what_is_unknown():
  table = _mixed_table(84, terminal=0.5)
  skipping = _config(skip_exhausted=True)
  tree = jax.device_get(_search(table, PASSES, skipping))
  complete = tree.terminal_mask & tree.valid_mask
  assert tree.node_visits[complete].max() == 1
  again = jax.device_get(_search(table, PASSES))
  assert again.node_visits[complete].max() > 5
  assert np.all(tree.policy_tokens >= again.policy_tokens)
  assert tree.policy_tokens.sum() > 1.3 * again.policy_tokens.sum()


def test_a_search_ends_once_its_root_is_exhausted():
  table = _mixed_table(85, terminal=1.0, stopped=0.0)
  skipping = _config(skip_exhausted=True)
  tree = jax.device_get(_search(table, PASSES, skipping))
  assert tree.exhausted_mask[:, 0].all()
  children = tree.valid_mask[:, 1:].sum(axis=1)
  np.testing.assert_array_equal(tree.node_visits[:, 0], 1 + children)


def test_a_root_without_any_valid_candidate_keeps_its_own_value():
  table = _mixed_table(83)
  table.valid_mask[0, 1 : BRANCHING + 1] = False
  tree = jax.device_get(_search(table, 6))
  assert tree.node_visits[0, 0] == 6
  np.testing.assert_allclose(tree.node_values[0, 0], table.values[0, 0])
  assert not tree.valid_mask[0, 1:].any()
  assert not tree.node_visits[0, 1:].any()


@pytest.mark.parametrize("value_kind", ["score", "siblings"])
def test_equal_scores_share_the_visits_evenly(value_kind):
  table = _mixed_table(84, terminal=0.0, stopped=0.0, repeated=0.0)
  half = lambda x: np.full_like(x, 0.5)
  table = table.replace(
    prior_logits=half(table.prior_logits),
    rewards=0 * table.rewards,
    discounts=half(table.discounts) * 2 * table.open_mask,
    values=half(table.values),
    thought_rewards=half(table.thought_rewards),
  )
  tree = jax.device_get(_search(table, 1 + 3 * BRANCHING, _config(value_kind)))
  # The root's children in turn, three times, and likewise theirs.
  np.testing.assert_array_equal(tree.node_visits[:, 1 : BRANCHING + 1], 3)
  np.testing.assert_array_equal(tree.node_values[:, 0], 0.5)


def test_one_candidate_makes_a_chain():
  table = table_lib.make_table(85, 4, 1, 6, terminal=0.0, stopped=0.0)
  config = mcts.MCTSConfig(num_candidates=1)
  tree = _jitted(
    table,
    RNG,
    table_lib.plant(table, config.capacity(6)),
    config,
    jnp.asarray(6, jnp.int32),
    jnp.full(4, 99, jnp.int32),
    table_lib.make_expand_fn(1, 1),
  )
  np.testing.assert_array_equal(tree.parents, [[-1, 0, 1, 2, 3, 4, 5]] * 4)
  np.testing.assert_array_equal(tree.node_visits, [[6, 5, 4, 3, 2, 1, 0]] * 4)


@pytest.fixture(scope="module")
def two_leaf_passes():
  """A two-leaf search after each of 16 passes."""
  table, config = _mixed_table(90), _config(leaves=2)
  trees = [_plant(table)]
  for _ in range(16):
    trees.append(_search(table, 1, config, tree=trees[-1]))
  return jax.device_get(trees)


def test_the_leaves_of_a_pass_are_distinct(two_leaf_passes):
  pairs = 0
  for before, after in zip(two_leaf_passes, two_leaf_passes[1:], strict=False):
    visited = after.node_visits - before.node_visits
    was_leaf = before.valid_mask & (before.children_start < 0)
    assert visited[was_leaf].max() == 1
    leaves = np.where(was_leaf, visited, 0).sum(axis=1)
    np.testing.assert_array_equal(leaves, visited[:, 0])
    assert leaves.min() >= 1 and leaves.max() <= 2
    pairs += (leaves == 2).sum()
  assert pairs > 8 * ROWS


def _with_pool(expand_fn):
  """Keeps each thought's state as its keys and values, to find it again."""

  def with_pool(params, rng, tree, leaf):
    children = expand_fn(params, rng, tree, leaf)
    state = children.hidden[..., :, None, None]  # [B, S, A, J, C, K]
    return children.replace(keys_values=({"k": state, "v": -state},))

  return with_pool


def test_a_full_pool_ends_its_row_and_holds_what_was_written():
  table, config = _mixed_table(91, repeated=0.4), _config()
  size = 20
  tree = _plant(table).replace(
    pools=({"k": (x := jnp.zeros((ROWS, size, 1, 1))), "v": x},)
  )
  tree = _jitted(
    table,
    RNG,
    tree,
    config,
    jnp.asarray(PASSES, jnp.int32),
    jnp.full(ROWS, 10**6, jnp.int32),
    _with_pool(EXPAND),
  )
  tree = jax.device_get(tree)
  assert len(np.unique(tree.node_visits[:, 0])) > 1
  for row in range(ROWS):
    valid = np.flatnonzero(tree.valid_mask[row])[1:]
    slots = tree.slots[row, valid, 0]
    assert len(np.unique(slots)) == len(slots) == tree.pool_used[row] <= size
    # A row stops where one more expansion might not fit, and only there.
    if tree.node_visits[row, 0] < PASSES:
      assert tree.pool_used[row] + BRANCHING > size
    states = tree.hidden[row, valid, 0]
    np.testing.assert_array_equal(tree.pools[0]["k"][row, slots, 0, 0], states)
    np.testing.assert_array_equal(tree.pools[0]["v"][row, slots, 0, 0], -states)
