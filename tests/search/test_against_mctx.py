"""Tree search against mctx, the field's reference, over the same tables."""

from __future__ import annotations

import functools

import jax
import mctx
import numpy as np
import pytest

from reasoning_rl.search import mcts, selection
from tests.search import mctx_oracle
from tests.search import table as table_lib

BRANCHING, DEPTH, ROWS, PASSES = 3, 5, 32, 40
TOLERANCE = 1e-5  # float32 means of up to PASSES returns of size about 3.
RNG = jax.random.key(7)


def _table(seed, **kwargs):
  return table_lib.make_mixed_table(seed, ROWS, BRANCHING, DEPTH, **kwargs)


@pytest.fixture(scope="module")
def search():
  config = mcts.MCTSConfig(
    BRANCHING, rule=selection.PUCTConfig(value_kind="siblings")
  )
  expand_fn = table_lib.make_expand_fn(BRANCHING, BRANCHING)
  capacity = config.capacity(PASSES)
  jitted = jax.jit(
    lambda table, tree: mcts.run(table, RNG, tree, expand_fn, config, PASSES)
  )
  return lambda table: jitted(table, table_lib.plant(table, capacity))


@pytest.fixture(scope="module")
def mctx_search():
  """Runs `PASSES` − 1 simulations: mctx expands the root before the first."""
  policy = functools.partial(mctx.muzero_policy, dirichlet_fraction=0.0)
  jitted = jax.jit(
    lambda table: mctx_oracle.search(policy, table, BRANCHING, RNG, PASSES - 1)
  )

  def search(table):
    with jax.numpy_rank_promotion("allow"):
      return jax.device_get(jitted(table))

  return search


def _assert_equal_mctx(tree, other, table):
  states = table.values.shape[1]
  visits = table_lib.by_state(tree, tree.node_visits, table)
  values = table_lib.by_state(tree, tree.node_values, table)
  for row in range(ROWS):
    of_state = other.embeddings[row]
    seen = (other.node_visits[row] > 0) & (of_state < states)
    assert set(of_state[seen]) == set(np.flatnonzero(visits[row] > 0))
    np.testing.assert_array_equal(
      visits[row, of_state[seen]], other.node_visits[row, seen]
    )
    np.testing.assert_allclose(
      values[row, of_state[seen]], other.node_values[row, seen], atol=TOLERANCE
    )
    children = visits[row, 1 : BRANCHING + 1]
    summary = other.children_visits[row, 0]
    np.testing.assert_array_equal(np.nan_to_num(children), summary)


def test_visits_and_values_equal_mctx_on_random_trees(search, mctx_search):
  for seed in (50, 51):
    table = _table(seed)
    tree = search(table)
    _assert_equal_mctx(tree, mctx_search(table), table)


def test_visits_and_values_equal_mctx_on_a_bandit(search, mctx_search):
  table = _table(60, terminal=1.0, stopped=0.0, repeated=0.0)
  tree = search(table)
  _assert_equal_mctx(tree, mctx_search(table), table)
  arms = np.asarray(tree.node_visits)[:, 1 : BRANCHING + 1]
  np.testing.assert_array_equal(arms.sum(axis=1), PASSES - 1)
