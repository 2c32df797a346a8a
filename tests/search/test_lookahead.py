"""Lookahead: what it changes, what it costs, and that nothing of it stays."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import frontier, lookahead
from tests.search import table as table_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")
BRANCHING, DEPTH, ROWS = 8, 4, 64
NO_NODE = tree_lib.Tree.NO_NODE
RNG = jax.random.key(2)
EXPAND = table_lib.make_expand_fn(2, BRANCHING)
GREEDY = table_lib.make_expand_fn(1, BRANCHING)


def with_pool(expand_fn):
  """Returns an expansion that keeps each thought's state in a pool."""

  def with_keys(params, rng, tree, leaf):
    children = expand_fn(params, rng, tree, leaf)
    return children.replace(keys_values=(children.hidden[..., None, None],))

  return with_keys


@functools.partial(jax.jit, static_argnums=0)
def _jitted(config, table, state):
  expand_fn, rollout_fn = EXPAND, GREEDY
  if state.tree.pool_size:
    expand_fn, rollout_fn = with_pool(EXPAND), with_pool(GREEDY)
  return frontier.run(
    table, RNG, state, expand_fn, config, DEPTH, None, rollout_fn
  )


def search(table, k, pool_size=0, capacity=None):
  config = frontier.FrontierConfig(4, 2, lookahead=k)
  tree = table_lib.plant(table, capacity or config.capacity(DEPTH))
  if pool_size:
    tree = tree.replace(pools=(jnp.zeros((ROWS, pool_size, 1, 1)),))
  return jax.device_get(_jitted(config, table, frontier.start(tree, config)))


def flat(table):
  """Returns the table where a thought scores as its greedy continuation."""
  scores = table.thought_rewards.copy()
  for state in range(table_lib.count_states(BRANCHING, DEPTH - 1)):
    likeliest = state * BRANCHING + 1
    scores[:, likeliest] = scores[:, state]
  return table.replace(thought_rewards=scores)


def assert_same_tree(one, two):
  np.testing.assert_array_equal(one.nodes, two.nodes)
  np.testing.assert_array_equal(one.best_score, two.best_score)
  used = slice(0, int(one.tree.next_node[0]))
  for name in ("tokens", "hidden", "policy_logprobs", "behavior_logprobs"):
    x, y = getattr(one.tree, name)[:, used], getattr(two.tree, name)[:, used]
    np.testing.assert_array_equal(x, y)
  for name in ("parents", "depth", "children_start", "valid_mask", "open_mask"):
    size = min(one.tree.capacity, two.tree.capacity)
    x, y = getattr(one.tree, name), getattr(two.tree, name)
    np.testing.assert_array_equal(x[:, :size], y[:, :size])
    unused = False if x.dtype == bool else 0 if name == "depth" else NO_NODE
    assert np.all(x[:, size:] == unused) and np.all(y[:, size:] == unused)
  for name in ("terminal_mask", "lengths", "held_mask", "thought_rewards"):
    x, y = getattr(one.tree, name)[:, used], getattr(two.tree, name)[:, used]
    np.testing.assert_array_equal(x, y)
    assert not np.any(getattr(two.tree, name)[:, used.stop :])
  np.testing.assert_array_equal(one.tree.next_node, two.tree.next_node)
  np.testing.assert_array_equal(one.tree.pool_used, two.tree.pool_used)


@pytest.fixture(scope="module")
def table():
  return table_lib.make_table(0, ROWS, BRANCHING, DEPTH)


@pytest.mark.parametrize("k", [1, 3])
def test_nothing_rolled_out_stays_in_the_tree(table, k):
  # Where the rolled score is the thought's own the search is the beam's.
  table = flat(table)
  ahead, beam = search(table, k), search(table, 0)
  assert_same_tree(beam, ahead)
  assert np.all(ahead.tree.policy_tokens > beam.tree.policy_tokens)


def test_the_score_after_the_rollout_decides(table):
  # The rollout of a thought goes through likeliest children alone, which
  # promise what the thought itself does not.
  table = table_lib.make_table(1, ROWS, BRANCHING, DEPTH, 0.0, 0.0, 0.0)
  state, beam = search(table, 1), search(table, 0)
  changed = np.any(state.nodes != beam.nodes, axis=1)
  assert changed.mean() > 0.9
  # By hand, after one pass: the four of the first eight children whose own
  # first children score best.
  config = frontier.FrontierConfig(4, 2, lookahead=1)
  tree = table_lib.plant(table, config.capacity(DEPTH))
  run = jax.jit(
    lambda x: frontier.run(table, RNG, x, EXPAND, config, 1, None, GREEDY)
  )
  first = jax.device_get(run(frontier.start(tree, config)))
  after = table.thought_rewards[:, np.arange(1, 9) * BRANCHING + 1]
  best = np.argsort(-after, axis=1, kind="stable")[:, :4] + 1
  np.testing.assert_array_equal(first.nodes, best)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_pass_costs_n_times_k_plus_one(k):
  # Nothing ends: of two passes of depth four, all rollouts have full length.
  table = table_lib.make_table(2, ROWS, BRANCHING, DEPTH, 0.0, 0.0, 0.0)
  config = frontier.FrontierConfig(4, 2, lookahead=k)
  tree = table_lib.plant(table, config.capacity(2))
  run = lambda x: frontier.run(table, RNG, x, EXPAND, config, 2, None, GREEDY)
  state = jax.jit(run)(frontier.start(tree, config))
  np.testing.assert_array_equal(state.tree.policy_tokens, 2 * 8 * (k + 1))
  np.testing.assert_array_equal(state.tree.next_node, 1 + 2 * 8)


def test_a_rollout_stops_at_the_end_of_its_solution(table):
  deep, deeper = search(table, DEPTH), search(table, 3 * DEPTH)
  assert_same_tree(deep, deeper)
  np.testing.assert_array_equal(
    deep.tree.policy_tokens, deeper.tree.policy_tokens
  )
  # A complete candidate is not rolled at all.
  table = table_lib.make_table(3, ROWS, BRANCHING, DEPTH, 1.0, 0.0)
  np.testing.assert_array_equal(search(table, 2).tree.policy_tokens, 8)


def test_pools_hold_the_thoughts_of_the_tree_and_room_for_the_rollouts(table):
  # Each pass needs its own thoughts and k for each of them: as many slots as
  # the tree has nodes below its root are enough, and one less ends it early.
  table = table_lib.make_table(4, ROWS, BRANCHING, DEPTH, 0.0, 0.0, 0.0)
  config = frontier.FrontierConfig(4, 2, lookahead=2)
  room = config.capacity(DEPTH) - 1
  assert room == (DEPTH + 2) * 8
  state, plain = search(table, 2, room), search(table, 2)
  assert_same_tree(plain, state)
  assert np.all(state.tree.depth.max(axis=1) == DEPTH)
  nodes = np.arange(1, int(state.tree.next_node[0]))
  for row in range(ROWS):
    held = state.tree.pools[0][row, state.tree.slots[row, nodes, 0], 0, 0]
    np.testing.assert_array_equal(held, state.tree.hidden[row, nodes, 0])
  short = search(table, 2, room - 1)
  assert np.all(short.tree.depth.max(axis=1) == DEPTH - 1)
  short = search(table, 2, capacity=room)
  assert np.all(short.tree.depth.max(axis=1) == DEPTH - 1)


def chain(valid=True):
  """Returns one problem's tree with two thoughts, one of them complete."""
  table = table_lib.make_table(0, 1, 2, 4, 0.0, 0.0, 0.0)
  table.valid_mask[0, 7] = valid
  table.terminal_mask[0, 2], table.open_mask[0, 2] = True, False
  expand_fn = table_lib.make_expand_fn(2, 2)
  tree = table_lib.plant(table, 20)
  leaf = jnp.array([[0]])
  children = expand_fn(table, RNG, tree, leaf)
  return table, tree_lib.add_children(tree, leaf, children)


@pytest.mark.parametrize(
  "k, max_depth, valid, reached",
  [(0, None, True, 1), (1, None, True, 3), (2, None, True, 7)]
  + [(9, None, True, 15), (9, 2, True, 3), (9, 1, True, 1)]
  + [(9, None, False, 3)],
)
def test_rolls_of_a_worked_example(k, max_depth, valid, reached):
  # 0 ─ 1 ─ 3 ─ 7 ─ 15 by likeliest children; 2 is complete and stays.
  table, tree = chain(valid)
  rollout_fn = table_lib.make_expand_fn(1, 2)
  nodes = jnp.array([[1, 2, NO_NODE]])
  rolled, found = lookahead.roll(
    table, RNG, tree, nodes, rollout_fn, k, max_depth
  )
  state = tree_lib.at_nodes(rolled.hidden, found)[0, :, 0]
  np.testing.assert_array_equal(state[:2], [reached, 2])
  assert found[0, 2] == NO_NODE
  back = lookahead.give_back(tree, rolled)
  spent = back.policy_tokens - tree.policy_tokens
  steps = {1: 0, 3: 1, 7: 2, 15: 3}[reached] + (not valid)
  np.testing.assert_array_equal(spent, steps)
  before = tree.replace(
    **{
      name: getattr(back, name)
      for name in ("policy_tokens", "prm_tokens", "pool_peak")
      + ("hidden", "tokens")
      + ("policy_logprobs", "behavior_logprobs")
    }
  )
  jax.tree.map(np.testing.assert_array_equal, before, back)


def test_lookahead_needs_a_rollout(table):
  config = frontier.FrontierConfig(4, 2, lookahead=1)
  state = frontier.start(table_lib.plant(table, 100), config)
  with pytest.raises(ValueError, match="needs a greedy rollout_fn"):
    frontier.run(table, RNG, state, EXPAND, config, 1)
