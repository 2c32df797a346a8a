"""The plain Python loop finds what the jitted search finds."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import python_search, table_network
from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import expand
from reasoning_rl.decoding import prompts as prompts_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.search import mcts, selection

PROBLEMS, PASSES, CANDIDATES = 6, 15, 4
THOUGHT_END, END = 1, 2
RNG = jax.random.key(3)
CONFIG = mcts.MCTSConfig(CANDIDATES)
BOUNDARY = boundaries.single(THOUGHT_END)
EXPAND = expand.ExpandConfig(CANDIDATES, 4, 3, BOUNDARY, (END,), draw="merged")


@pytest.fixture(scope="module")
def networks():
  policy = table_network.make(6, "language")
  prm = table_network.make(6, "thought")
  params = expand.SearchParams(
    policy.init(jax.random.key(0)), prm.init(jax.random.key(1))
  )
  return policy, prm, params


@pytest.fixture(scope="module")
def problems():
  rng = np.random.default_rng(0)
  prompt = rng.integers(0, 6, (PROBLEMS, 7)).astype(np.int32)
  length = rng.integers(3, 8, PROBLEMS).astype(np.int32)
  return prompt, length, np.arange(10, 10 + PROBLEMS, dtype=np.int32)


@pytest.fixture(scope="module")
def trees(networks, problems):
  policy, prm, params = networks
  expand_fn = expand.make_expand_fn(policy, prm, EXPAND)

  @jax.jit
  def search(params, rng, *problems):
    root = expand.make_root(policy, prm, params, *problems)
    capacity, size = CONFIG.capacity(PASSES), EXPAND.max_thought_tokens
    tree = tree_lib.plant(root, capacity, size, capacity * size)
    return mcts.run(params, rng, tree, expand_fn, CONFIG, PASSES)

  return search(params, RNG, *problems)


@pytest.mark.parametrize("nodes_per_call", [1, CANDIDATES])
def test_python_loop_and_jitted_search_visit_the_same_nodes_equally_often(
  networks, problems, trees, nodes_per_call
):
  policy, prm, params = networks
  search = python_search.PythonSearch(
    policy, prm, EXPAND, CONFIG, nodes_per_call
  )
  roots = search.run(params, RNG, *problems, PASSES)
  found = [python_search.visits_of_nodes(root) for root in roots]
  assert found == python_search.visits_of_trees(trees)
  values = np.array([root.mean() for root in roots])
  np.testing.assert_allclose(values, trees.node_values[:, 0], atol=1e-5)


def test_the_compared_trees_hold_every_kind_of_node(trees):
  valid = np.asarray(trees.valid_mask)
  open_mask, terminal = np.asarray(trees.open_mask), trees.terminal_mask
  assert np.all(trees.node_visits[:, 0] == PASSES)
  assert terminal.any() and (valid & open_mask).any()
  assert (valid & ~open_mask & ~np.asarray(terminal)).any()
  # Some candidates were repetitions, and some paths reach the last depth.
  expanded = np.sum(np.asarray(trees.children_start) >= 0, axis=1)
  assert np.any(valid.sum(axis=1) < 1 + CANDIDATES * expanded)
  assert trees.depth.max() == EXPAND.max_thoughts


def test_a_table_network_reads_a_cache_as_it_reads_the_whole_row(networks):
  policy, _, params = networks
  tokens = jax.random.randint(jax.random.key(5), (2, 9), 0, 6)
  whole, _ = policy.apply(params.policy, tokens)
  length = jnp.array([5, 5])
  before, last = prompts_lib.read_whole(
    policy, params.policy, tokens[:, :7], length
  )
  segment = decode_lib.prompt_segment(before, length)
  after, _ = policy.apply(
    params.policy, tokens[:, 5:], length[:, None] + jnp.arange(4)[None],
    (segment,),
  )  # fmt: skip
  np.testing.assert_array_equal(last, whole[:, 4])
  np.testing.assert_array_equal(after, whole[:, 5:])
  swapped, _ = policy.apply(params.policy, tokens[:, ::-1])
  assert np.all(swapped[:, -1] != whole[:, -1])
  assert isinstance(before, attention_lib.KeysValues)


@pytest.mark.parametrize(
  "config",
  [
    mcts.MCTSConfig(CANDIDATES, leaves_per_pass=2),
    mcts.MCTSConfig(
      CANDIDATES, rule=selection.PUCTConfig(value_kind="siblings")
    ),
  ],
)
def test_rules_that_the_python_loop_lacks_are_refused(networks, config):
  policy, prm, _ = networks
  with pytest.raises(ValueError, match="leaves_per_pass = 1"):
    python_search.PythonSearch(policy, prm, EXPAND, config)


def test_thoughts_that_must_differ_are_refused(networks):
  policy, prm, _ = networks
  config = dataclasses.replace(EXPAND, draw="distinct")
  with pytest.raises(ValueError, match="merges independent samples"):
    python_search.PythonSearch(policy, prm, config, CONFIG)
