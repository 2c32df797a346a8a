"""Trees grown at random against nodes kept one by one in NumPy."""

from __future__ import annotations

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from reasoning_rl import tree as tree_lib
from tests.random_trees import A, B, C, S, children, per_head, plant

PASSES = 5
N = 1 + PASSES * S * A
POOL = PASSES * S * A * C
NO_NODE = tree_lib.Tree.NO_NODE
ADD = jax.jit(tree_lib.add_children)
ANCESTORS = jax.jit(tree_lib.ancestors, static_argnums=2)
PER_NODE = ("open_mask", "terminal_mask", "prior_logits", "rewards")
PER_NODE += ("discounts", "thought_rewards", "tokens", "policy_logprobs")
PER_NODE += ("behavior_logprobs", "hidden")


def _leaves(rng, nodes):
  """Picks up to `S` distinct open nodes without children per problem."""
  leaf = np.full((B, S), NO_NODE, np.int32)
  for row in range(B):
    ready = [
      index
      for index, node in nodes[row].items()
      if node["open_mask"] and node["children_start"] == NO_NODE
    ]
    count = min(len(ready), int(rng.integers(0, S + 1)))
    leaf[row, :count] = rng.choice(ready, count, replace=False)
  return leaf


def _record(nodes, first, leaf, new):
  """Adds an expansion to dictionaries of nodes, one candidate at a time."""
  for row, s, a in np.argwhere(new.valid_mask):
    parent, length = leaf[row, s], new.lengths[row, s, a]
    take = lambda x, at=(row, s, a): x[at]
    nodes[row][parent]["children_start"] = first + s * A
    node = {name: take(getattr(new, name)) for name in PER_NODE}
    keys = jax.tree.map(
      lambda x, t=take, n=length: t(x)[:, :n], new.keys_values
    )
    node |= {"parents": parent, "depth": nodes[row][parent]["depth"] + 1}
    node |= {"raw_values": take(new.values), "node_values": take(new.values)}
    node |= {"lengths": length, "children_start": NO_NODE, "node_visits": 0}
    node |= {"carry": take(new.prm_carry["sum"])}
    nodes[row][first + s * A + a] = node | {"keys": keys}


def _grow(seed, invalid=0.3):
  """Grows trees by `PASSES` random expansions and keeps a record."""
  rng = np.random.default_rng(seed)
  tree = plant(rng, N, POOL)
  root = {"open_mask": True, "depth": 0, "parents": NO_NODE, "lengths": 0}
  root |= {"children_start": NO_NODE}
  nodes = [{0: root | {"carry": row + 0.5}} for row in range(B)]
  tokens = np.zeros((2, B), int)
  for step in range(PASSES):
    leaf = _leaves(rng, nodes)
    new = children(rng, leaf, invalid)
    _record(nodes, 1 + step * S * A, leaf, new)
    tree = ADD(tree, leaf, new)
    tokens += [new.policy_tokens, new.prm_tokens]
  return jax.device_get(tree), nodes, tokens


SEEDS = hypothesis.settings(
  max_examples=15,
  deadline=None,
  derandomize=True,
  database=None,
  phases=[hypothesis.Phase.generate],
)


@SEEDS
@hypothesis.given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.8]))
def test_every_node_holds_what_was_written(seed, invalid):
  tree, nodes, tokens = _grow(seed, invalid)
  assert (tree.next_node == N).all()
  np.testing.assert_array_equal(tree.policy_tokens, tokens[0])
  np.testing.assert_array_equal(tree.prm_tokens, tokens[1])
  for row in range(B):
    valid = np.flatnonzero(tree.valid_mask[row])
    np.testing.assert_array_equal(valid, sorted(nodes[row]))
    for index, node in nodes[row].items():
      for name in node.keys() - {"keys", "carry"}:
        held = getattr(tree, name)[row, index]
        np.testing.assert_array_equal(held, node[name], err_msg=name)
      assert tree.prm_carry["sum"][row, index] == np.float32(node["carry"])
  unused = ~tree.valid_mask
  assert not np.any((tree.open_mask | tree.terminal_mask)[unused])
  for field in (tree.parents, tree.children_start):
    np.testing.assert_array_equal(field[unused], NO_NODE)
  np.testing.assert_array_equal(tree.lengths[unused], 0)


@SEEDS
@hypothesis.given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.8]))
def test_pools_hold_each_live_nodes_tokens_and_nothing_twice(seed, invalid):
  tree, nodes, _ = _grow(seed, invalid)
  for row in range(B):
    owner = np.full(POOL, NO_NODE)
    for index in sorted(nodes[row])[1:]:
      length = tree.lengths[row, index]
      slots = tree.slots[row, index, :length]
      assert np.all(owner[slots] == NO_NODE)
      owner[slots] = index
      assert np.all(tree.slots[row, index, length:] == POOL)
      held = jax.tree.map(
        lambda x, r=row, at=slots: x[r, at].swapaxes(0, 1), tree.pools
      )
      jax.tree.map(
        np.testing.assert_array_equal, held, nodes[row][index]["keys"]
      )
    used = tree.pool_used[row]
    assert tree.pool_peak[row] == used
    assert np.all(owner[:used] != NO_NODE) and np.all(owner[used:] == NO_NODE)
    for pool in jax.tree.leaves(tree.pools):
      assert not np.any(pool[row, used:])


@SEEDS
@hypothesis.given(st.integers(0, 10**6))
def test_ancestors_are_the_thoughts_from_below_the_root(seed):
  tree, nodes, _ = _grow(seed)
  every = np.broadcast_to(np.arange(N, dtype=np.int32), (B, N))
  every = np.where(tree.valid_mask, every, NO_NODE)
  path = ANCESTORS(tree, every, PASSES)
  for row in range(B):
    for index in range(N):
      expected, above = [], index if index in nodes[row] else 0
      while above != 0:
        expected.insert(0, above)
        above = nodes[row][above]["parents"]
      padding = [NO_NODE] * (PASSES - len(expected))
      np.testing.assert_array_equal(path[row, index], expected + padding)


def test_a_planted_tree_is_its_root():
  tree = jax.device_get(plant(np.random.default_rng(0), N, POOL))
  assert (tree.capacity, tree.pool_size, tree.next_node[0]) == (N, POOL, 1)
  np.testing.assert_array_equal(
    tree.valid_mask, [[True] + [False] * (N - 1)] * B
  )
  np.testing.assert_array_equal(tree.open_mask, tree.valid_mask)
  np.testing.assert_array_equal(tree.node_values[:, 0], [0.25, 0.5, 0.75])
  np.testing.assert_array_equal(tree.raw_values, tree.node_values)
  np.testing.assert_array_equal(tree.problem_id, [10, 11, 12])
  np.testing.assert_array_equal(tree.held_mask, tree.valid_mask)
  np.testing.assert_array_equal(tree.root, tree_lib.Tree.ROOT_INDEX)
  assert tree.free_slots == ()
  shapes = per_head(lambda heads: np.zeros((B, POOL, *heads), np.float32))
  jax.tree.map(np.testing.assert_array_equal, tree.pools, shapes)


def test_trees_without_pools_grow_alike():
  rng = np.random.default_rng(1)
  leaf = np.array([[0, -1], [-1, 0], [-1, -1]], np.int32)
  new = children(rng, leaf)
  bare = plant(np.random.default_rng(0), N, 0)
  assert bare.pool_size == 0
  bare = ADD(bare, leaf, new.replace(keys_values=()))
  full = ADD(plant(np.random.default_rng(0), N, POOL), leaf, new)
  for name in (*PER_NODE, "parents", "valid_mask", "lengths", "pool_used"):
    np.testing.assert_array_equal(getattr(bare, name), getattr(full, name))


def test_at_nodes_reads_row_by_row_and_the_root_for_no_node():
  field = jnp.arange(6).reshape(2, 3) * 10
  node = jnp.array([[2, NO_NODE], [0, 1]])
  np.testing.assert_array_equal(
    tree_lib.at_nodes(field, node), [[20, 0], [30, 40]]
  )
  # A field with axes of its own is read whole.
  deep = jnp.stack([field, -field], axis=-1)
  np.testing.assert_array_equal(
    tree_lib.at_nodes(deep, node)[1], [[30, -30], [40, -40]]
  )


def test_copies_of_one_leaf_each_keep_their_children():
  leaf = np.zeros((B, S), np.int32)
  tree = ADD(
    plant(np.random.default_rng(0), N, POOL),
    leaf,
    children(np.random.default_rng(1), leaf, invalid=0.0),
  )
  np.testing.assert_array_equal(tree.parents[:, 1 : 1 + S * A], 0)
  np.testing.assert_array_equal(tree.depth[:, 1 : 1 + S * A], 1)
  assert np.all(np.isin(tree.children_start[:, 0], [1, 1 + A]))


def test_a_leaf_without_valid_candidates_stays_unexpanded():
  leaf = np.array([[0, -1]] * B, np.int32)
  new = children(np.random.default_rng(1), leaf, invalid=0.0)
  new.valid_mask[1] = False
  tree = ADD(plant(np.random.default_rng(0), N, POOL), leaf, new)
  np.testing.assert_array_equal(tree.children_start[:, 0], [1, NO_NODE, 1])
  assert tree.pool_used[1] == 0 and tree.next_node[0] == 1 + S * A
