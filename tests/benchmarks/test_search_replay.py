"""A replayed search builds the tree that was recorded."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import search_replay, table_network
from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand
from reasoning_rl.search import mcts

PASSES, CANDIDATES, LEAVES = 6, 3, 2
RNG = jax.random.key(3)
RULE = mcts.MCTSConfig(CANDIDATES, LEAVES)


def plant(root):
  capacity = RULE.capacity(PASSES)
  return tree_lib.plant(root, capacity, 4, capacity * 4)


@pytest.fixture(scope="module", params=["merged", "distinct"])
def searched(request):
  """The planted and the recorded tree, and the recorded children."""
  policy = table_network.make(6, "language")
  prm = table_network.make(6, "thought")
  params = expand.SearchParams(
    policy.init(jax.random.key(0)), prm.init(jax.random.key(1))
  )
  config = expand.ExpandConfig(
    CANDIDATES, 4, 4, boundaries.single(1), (2,), draw=request.param
  )
  expand_fn = expand.make_expand_fn(policy, prm, config)
  prompt = jax.random.randint(jax.random.key(2), (3, 5), 0, 6)
  root = expand.make_root(
    policy, prm, params, prompt, jnp.array([5, 3, 4]), jnp.arange(3)
  )
  # As in the benchmark, a pass is given the tree's buffers.
  one_pass = jax.jit(
    lambda tree: mcts.run(params, RNG, tree, expand_fn, RULE, 1),
    donate_argnums=0,
  )
  return plant(root), *search_replay.record(
    one_pass, jax.tree.map(jnp.array, plant(root)), PASSES, LEAVES, CANDIDATES
  )


def test_replay_builds_the_recorded_tree(searched):
  start, tree, children = searched
  expand_fn = search_replay.replay_fn(LEAVES, CANDIDATES)
  replayed = mcts.run(children, RNG, start, expand_fn, RULE, PASSES)
  jax.tree.map(np.testing.assert_array_equal, replayed, tree)


def test_root_is_what_the_tree_was_planted_from(searched):
  start, *_ = searched
  again = plant(search_replay.root(start))
  jax.tree.map(np.testing.assert_array_equal, again, start)


def test_recorded_children_differ_from_pass_to_pass(searched):
  _, tree, children = searched
  assert children.tokens.shape[:4] == (3, PASSES, LEAVES, CANDIDATES)
  rows = np.asarray(children.tokens).reshape(3, PASSES, -1)
  # A problem whose solutions are all complete has no more to expand.
  assert max(len(np.unique(row, axis=0)) for row in rows) > PASSES / 2
  cache = np.asarray(children.keys_values[1].k[0])
  assert np.count_nonzero(cache) == int(tree.pool_used.sum())


def test_search_that_ends_early_is_refused(searched):
  start, *_ = searched
  with pytest.raises(ValueError, match="ended after 0 of 2 passes"):
    search_replay.record(lambda tree: tree, start, 2, LEAVES, CANDIDATES)
