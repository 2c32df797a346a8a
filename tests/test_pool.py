"""The pool against a model of it in plain Python, and what is given back."""

from __future__ import annotations

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from tests.random_trees import A, B, C, S, children, plant

NO_NODE = tree_lib.Tree.NO_NODE
PASSES = 14
N = 1 + PASSES * S * A
# Room for little more than two passes: without reuse a fifth of what is asked.
POOL = 2 * S * A * C + 5
DEPTH = 6
ADD = jax.jit(tree_lib.add_children)
RELEASE = jax.jit(pool_lib.release)
REROOT = jax.jit(pool_lib.reroot)
DEAD = jax.jit(pool_lib.dead_nodes)
ANCESTORS = jax.jit(tree_lib.ancestors, static_argnums=2)
SLOTS = jax.jit(pool_lib.path_slots, static_argnums=2)
SEEDS = hypothesis.settings(
  max_examples=12,
  deadline=None,
  derandomize=True,
  database=None,
  phases=[hypothesis.Phase.generate],
)


class Model:
  """One problem's nodes in Python: parents, and the keys that each owns.

  Attributes:
    parents: Parent of every node ever made.
    keys: Keys and values [C, ...] of each node's tokens; missing once released.
    root: Where the search begins.
  """

  def __init__(self):
    """Begins with a root that owns nothing."""
    self.parents, self.keys, self.root = {0: NO_NODE}, {0: None}, 0

  def path(self, node):
    """Returns the nodes from below node 0 to `node`."""
    found = []
    while node != 0:
      found.insert(0, node)
      node = self.parents[node]
    return found

  def used(self):
    """Returns the tokens that are held."""
    return sum(_count(keys) for keys in self.keys.values() if keys)

  def growable(self):
    """Returns what could be expanded: held from the root of all on."""
    held = lambda node: all(x in self.keys for x in self.path(node))
    below = lambda node: self.root in (0, *self.path(node))
    return [
      x for x in self.keys if held(x) and below(x) and len(self.path(x)) < DEPTH
    ]

  def expand(self, new, row, leaf, first):
    """Adds the valid children of the leaves."""
    for s, a in np.argwhere(new.valid_mask[row]):
      node, length = first + s * A + a, new.lengths[row, s, a]
      keys = jax.tree.map(lambda x, at=(row, s, a): x[at], new.keys_values)
      self.parents[node] = leaf[row, s]
      self.keys[node] = jax.tree.map(lambda x, n=length: x[:, :n], keys)

  def release(self, nodes):
    """Forgets the keys of nodes."""
    for node in nodes:
      self.keys.pop(node, None)


def _count(keys) -> int:
  return jax.tree.leaves(keys)[0].shape[1]


def _random_leaves(rng, models):
  """Picks leaves in problems that have room for a whole pass."""
  leaf = np.full((B, S), NO_NODE, np.int32)
  for row, model in enumerate(models):
    ready = model.growable()
    count = min(len(ready), int(rng.integers(0, S + 1)))
    if model.used() + S * A * C <= POOL and count:
      leaf[row, :count] = rng.choice(ready, count, replace=False)
  return leaf


def _random_release(rng, models, share):
  """Releases some of the nodes, whatever lies below them, and unused ones."""
  mask = rng.random((B, N)) < share
  mask[:, 0] = False
  for row, model in enumerate(models):
    model.release(np.flatnonzero(mask[row]))
  return mask


def _check_against_model(tree, models, written):
  """Compares all that can be read of the tree with the models."""
  tree = jax.device_get(tree)
  every = np.broadcast_to(np.arange(N, dtype=np.int32), (B, N))
  path = ANCESTORS(tree, every, DEPTH)
  slots, mask = jax.device_get(SLOTS(tree, path, DEPTH * C))
  for row, model in enumerate(models):
    held = np.flatnonzero(tree.held_mask[row])
    np.testing.assert_array_equal(held, sorted(model.keys))
    np.testing.assert_array_equal(
      np.flatnonzero(tree.valid_mask[row]), sorted(model.parents)
    )
    own = tree.slots[row, held]
    taken = own[np.arange(C) < tree.lengths[row, held][:, None]]
    free = tree.free_slots[row, tree.pool_used[row] :]
    # Every slot is either free or one live node's, and none is lost.
    np.testing.assert_array_equal(
      np.sort(np.concatenate([taken, free])), np.arange(POOL)
    )
    assert len(taken) == tree.pool_used[row] == model.used()
    for node in model.growable():
      expected = [model.keys[x] for x in model.path(node)]
      count = sum(_count(x) for x in expected)
      np.testing.assert_array_equal(
        mask[row, node], np.arange(DEPTH * C) < count
      )
      if not expected:
        continue
      read = jax.tree.map(
        lambda x, r=row, at=slots[row, node, :count]: x[r, at], tree.pools
      )
      whole = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *expected)
      jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x.swapaxes(0, 1), y),
        read,
        whole,
      )
    # What is released stays to be looked at.
    for node, tokens in written[row].items():
      np.testing.assert_array_equal(tree.tokens[row, node], tokens)


@SEEDS
@hypothesis.given(st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 0.9]))
def test_a_pool_that_is_given_back_holds_what_a_model_of_it_holds(seed, share):
  rng = np.random.default_rng(seed)
  tree = plant(rng, N, POOL, reuse=True)
  models, written = [Model() for _ in range(B)], [{} for _ in range(B)]
  peak = np.zeros(B, int)
  for index in range(PASSES):
    leaf = _random_leaves(rng, models)
    new, first = children(rng, leaf), 1 + index * S * A
    tree = ADD(tree, leaf, new)
    for row, model in enumerate(models):
      model.expand(new, row, leaf, first)
      peak[row] = max(peak[row], model.used())
      tokens = new.tokens[row].reshape(S * A, C)
      written[row] |= {n: tokens[n - first] for n in model.keys if n >= first}
    if rng.random() < 0.7:
      tree = RELEASE(tree, _random_release(rng, models, share))
    _check_against_model(tree, models, written)
  np.testing.assert_array_equal(tree.pool_peak, peak)


def test_released_slots_are_taken_again_and_a_pool_lasts_for_ever():
  rng = np.random.default_rng(0)
  tree = plant(rng, N, S * A * C, reuse=True)
  taken = []
  for index in range(PASSES):
    leaf = np.zeros((B, S), np.int32)
    new = children(rng, leaf, invalid=0.0)
    new.lengths[:] = C  # One pass fills the pool to the last slot.
    tree = ADD(tree, leaf, new)
    np.testing.assert_array_equal(tree.pool_used, S * A * C)
    first = 1 + index * S * A
    slots = np.asarray(tree.slots)[:, first : first + S * A].reshape(B, -1)
    np.testing.assert_array_equal(
      np.sort(slots), np.tile(np.arange(S * A * C), (B, 1))
    )
    taken.append(slots)
    tree = RELEASE(tree, np.tile(np.arange(N) > 0, (B, 1)))
    np.testing.assert_array_equal(tree.pool_used, 0)
  assert len(taken) == PASSES


def test_releasing_twice_gives_slots_back_once():
  rng, leaf = np.random.default_rng(0), np.zeros((B, S), np.int32)
  new = children(rng, leaf, invalid=0.0)
  new.lengths[:] = 2
  tree = ADD(plant(rng, N, POOL, reuse=True), leaf, new)
  mask = np.arange(N)[None] == np.array([[1], [2], [3]])
  once = RELEASE(tree, mask)
  np.testing.assert_array_equal(once.pool_used, 2 * (S * A - 1))
  jax.tree.map(np.testing.assert_array_equal, once, RELEASE(once, mask))
  for row in range(B):
    assert not once.held_mask[row, row + 1]


def test_releasing_nothing_and_unused_nodes_changes_nothing():
  rng, leaf = np.random.default_rng(0), np.zeros((B, S), np.int32)
  tree = ADD(plant(rng, N, POOL, reuse=True), leaf, children(rng, leaf))
  mask = ~np.asarray(tree.valid_mask)
  for nothing in (np.zeros((B, N), bool), mask):
    same = RELEASE(tree, nothing)
    jax.tree.map(np.testing.assert_array_equal, same, tree)


def test_an_expansion_without_room_harms_nobody_and_comes_back_whole():
  rng, leaf = np.random.default_rng(0), np.zeros((B, S), np.int32)
  size = S * A * C + 3
  tree = plant(rng, N, size, reuse=True)
  new = children(rng, leaf, invalid=0.0)
  new.lengths[:] = C
  tree = ADD(tree, leaf, new)
  before = jax.device_get(tree.pools)
  over = ADD(tree, leaf, new)  # Three slots are left for S · A · C tokens.
  np.testing.assert_array_equal(over.pool_used, size)
  slots = np.asarray(tree.slots[0, 1 : 1 + S * A]).ravel()
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[:, slots], y[:, slots]),
    before,
    jax.device_get(over.pools),
  )
  late = np.broadcast_to(np.arange(N)[None] > S * A, (B, N))
  back = RELEASE(over, late)
  np.testing.assert_array_equal(back.pool_used, S * A * C)
  np.testing.assert_array_equal(
    np.sort(back.free_slots[:, S * A * C :]), np.sort(tree.free_slots)[:, -3:]
  )


def test_a_problems_slots_do_not_depend_on_the_other_problems():
  def grow(others):
    rng, tree = np.random.default_rng(0), None
    tree = plant(rng, N, POOL, reuse=True)
    strangers = np.random.default_rng(others)
    for _ in range(6):
      leaf = np.zeros((B, S), np.int32)
      new, mask = children(rng, leaf), rng.random((B, N)) < 0.8
      new.lengths[::2] = strangers.integers(0, C + 1, new.lengths[::2].shape)
      mask[::2] = strangers.random(mask[::2].shape) < 0.95
      tree = RELEASE(ADD(tree, leaf, new), mask)
    return tree

  one, two = grow(1), grow(2)
  assert np.any(one.slots[::2] != two.slots[::2])
  for name in ("slots", "free_slots", "pool_used", "held_mask", "pools"):
    jax.tree.map(
      lambda x, y: np.testing.assert_array_equal(x[1], y[1]),
      getattr(one, name),
      getattr(two, name),
    )


def test_trees_without_reuse_keep_everything():
  rng, leaf = np.random.default_rng(0), np.zeros((B, S), np.int32)
  tree = ADD(plant(rng, N, POOL), leaf, children(rng, leaf))
  same = RELEASE(tree, np.ones((B, N), bool))
  jax.tree.map(np.testing.assert_array_equal, same, tree)


def _hand_worked(reuse=True):
  """Returns 0 ─ 1, 2, 3; 2 ─ 7, 8, 9; 3 ─ 10; 8 ─ 13 of one token each.

  The first problem has all of it, the others the root's children alone.
  """
  rng = np.random.default_rng(0)
  tree = plant(rng, N, POOL, reuse)
  for leaf, valid in [
    ([0, NO_NODE], [[1, 1, 1], [0, 0, 0]]),
    ([2, 3], [[1, 1, 1], [1, 0, 0]]),
    ([8, NO_NODE], [[1, 0, 0], [0, 0, 0]]),
  ]:
    leaf, valid = np.array(leaf, np.int32), np.array(valid, bool)
    only_first = np.arange(B)[:, None] == 0
    deeper = np.where(only_first, leaf, NO_NODE).astype(np.int32)
    leaf = np.tile(leaf, (B, 1)) if leaf[0] == 0 else deeper
    new = children(rng, leaf, invalid=0.0)
    keep = valid & (leaf >= 0)[..., None]
    ones = np.ones((B, S, A), bool)
    new = new.replace(valid_mask=keep, open_mask=ones, lengths=1 * ones)
    tree = ADD(tree, leaf, new)
  return tree


def _held(tree, row):
  return np.flatnonzero(tree.held_mask[row]).tolist()


def test_dead_is_what_no_open_node_of_the_frontier_follows():
  tree = _hand_worked()
  everything = [0, 1, 2, 3, 7, 8, 9, 10, 13]
  assert _held(tree, 0) == everything and _held(tree, 1) == [0, 1, 2, 3]
  # 10 is complete; 9 is in the frontier twice.
  tree = tree.replace(open_mask=tree.open_mask.at[0, 10].set(False))
  frontier = np.array([[13, 10, 9, 9], [1, 3, -1, -1], [-1] * 4], np.int32)
  dead = DEAD(tree, frontier)
  assert np.flatnonzero(dead[0]).tolist() == [1, 3, 7, 10]
  assert np.flatnonzero(dead[1]).tolist() == [2]
  # The root owns no slots and is never released.
  assert np.flatnonzero(dead[2]).tolist() == [1, 2, 3]
  left = RELEASE(tree, dead)
  np.testing.assert_array_equal(left.pool_used, [4, 2, 0])
  assert not np.any(DEAD(left, frontier))


@pytest.mark.parametrize(
  "child, kept",
  [
    (2, [0, 2, 7, 8, 9, 13]),  # Expanded, and so is one of its children.
    (8, [0, 2, 8, 13]),  # Two levels down at once: its parent is context.
    (1, [0, 1]),  # Not expanded.
    (13, [0, 2, 8, 13]),
    (NO_NODE, [0, 1, 2, 3, 7, 8, 9, 10, 13]),
  ],
)
def test_a_new_root_keeps_its_path_and_what_lies_below_it(child, kept):
  tree = _hand_worked()
  moved = REROOT(tree, np.array([child, NO_NODE, 3], np.int32))
  assert [_held(moved, row) for row in range(B)] == [
    kept,
    [0, 1, 2, 3],
    [0, 3],
  ]
  np.testing.assert_array_equal(moved.root, [max(child, 0), 0, 3])
  np.testing.assert_array_equal(moved.pool_used, [len(kept) - 1, 3, 1])
  # Nothing else changes: statistics, structure, contents of the pool.
  after = tree.replace(
    root=moved.root,
    held_mask=moved.held_mask,
    pool_used=moved.pool_used,
    free_slots=moved.free_slots,
  )
  jax.tree.map(np.testing.assert_array_equal, moved, after)
  np.testing.assert_array_equal(moved.free_slots[1], tree.free_slots[1])


def test_roots_can_move_on_and_a_complete_solution_can_be_one():
  tree = _hand_worked()
  tree = tree.replace(open_mask=tree.open_mask.at[0, 13].set(False))
  to = lambda node: np.array([node, NO_NODE, NO_NODE], np.int32)
  step_by_step = REROOT(REROOT(REROOT(tree, to(2)), to(8)), to(13))
  at_once = REROOT(tree, to(13))
  for name in ("root", "held_mask", "pool_used"):
    one, two = getattr(step_by_step, name), getattr(at_once, name)
    np.testing.assert_array_equal(one, two)
  assert _held(at_once, 0) == [0, 2, 8, 13]


def test_without_reuse_a_new_root_is_just_another_place_to_begin():
  tree = _hand_worked(reuse=False)
  moved = REROOT(tree, np.array([8, NO_NODE, 3], np.int32))
  np.testing.assert_array_equal(moved.root, [8, 0, 3])
  jax.tree.map(
    np.testing.assert_array_equal, moved, tree.replace(root=moved.root)
  )


@pytest.mark.parametrize(
  "sizes, without, with_reuse",
  [
    # Width, candidates, thoughts, tokens. 4 paths of 3 thoughts and 8 more.
    ((4, 2, 4, 1), 32, 20),
    ((3, 2, 3, 6), 108, 72),
    # Best-of-N prunes nothing but what is complete.
    ((8, 1, 5, 12), 480, 480),
    ((1, 4, 1, 2), 8, 8),
  ],
)
def test_slots_of_a_frontier_search(sizes, without, with_reuse):
  assert pool_lib.frontier_slots(*sizes, reuse=False) == without
  assert pool_lib.frontier_slots(*sizes, reuse=True) == with_reuse


@pytest.mark.parametrize("lengths", [[2, 0, 3], [0, 0, 0], [4, 4, 4]])
def test_a_thought_of_no_tokens_adds_none_to_its_path(lengths):
  # A chain 0 ─ 1 ─ 4 ─ 7, each the first child of the one before it.
  rng, tree = np.random.default_rng(2), plant(np.random.default_rng(0), N, POOL)
  for parent, length in zip([0, 1, 7], lengths, strict=True):
    leaf = np.array([[parent, -1]] * B, np.int32)
    new = children(rng, leaf, invalid=0.0)
    new.lengths[:, 0] = length, 1, 1
    tree = ADD(tree, leaf, new)
  node = jnp.full((B, 1), 13)
  path = ANCESTORS(tree, node, 4)
  np.testing.assert_array_equal(path, [[[1, 7, 13, NO_NODE]]] * B)
  slots, mask = jax.device_get(SLOTS(tree, path, 12))
  first, second, third = lengths
  # Before a thought lie those before it and two tokens per pass of siblings.
  expected = [*range(first)]
  expected += [first + 2 + i for i in range(second)]
  expected += [first + second + 4 + i for i in range(third)]
  assert np.all(mask.sum(axis=-1) == sum(lengths))
  np.testing.assert_array_equal(slots[0, 0, : sum(lengths)], expected)
