"""One configuration of every frontier rule, and searches of tables by it."""

from __future__ import annotations

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import frontier
from tests.search import reference, reference_frontier
from tests.search import table as table_lib

BRANCHING, DEPTH, ROWS = 6, 4, 256
NO_NODE = tree_lib.Tree.NO_NODE
NO_LIMIT = np.full(ROWS, np.iinfo(np.int32).max, np.int32)
RNG = jax.random.key(5)
Config = frontier.FrontierConfig
CONFIGS = {
  "independent": Config(6, 1, "independent"),
  "best": Config(3, 2, refill=True),
  "subtrees": Config(3, 2, "subtrees", "min"),
  "rebase": Config(6, 1, "rebase", temperature=0.3),
  "particles": Config(6, 1, "particles", temperature=1.5),
  "breadth_first": Config(3, 2, "breadth_first", prune_score=0.3),
  "depth_first": Config(
    9, 3, "depth_first", leaves_per_pass=1, prune_score=0.3
  ),
  "lookahead": Config(3, 2, "best", "product", lookahead=2),
}
PASSES = {name: DEPTH for name in CONFIGS} | {"depth_first": 12}
every_rule = pytest.mark.parametrize("name", CONFIGS)
TRACES = []


def wanted(name, problem, passes, noise=None):
  """Returns the frontier that the reference holds after so many passes."""
  rule = reference_frontier
  return {
    "independent": lambda: reference.best_of_n(problem, 6, passes),
    "best": lambda: reference.beam(problem, 3, 2, "last", passes, refill=True),
    "subtrees": lambda: rule.subtrees(problem, 3, 2, passes, aggregation="min"),
    "rebase": lambda: rule.rebase(problem, 6, passes, temperature=0.3),
    "particles": lambda: rule.particles(problem, 6, passes, 1.5, noise),
    "breadth_first": lambda: rule.breadth_first(problem, 3, 2, passes, 0.3),
    "lookahead": lambda: rule.beam(
      problem, 3, 2, passes, aggregation="product", lookahead=2
    ),
  }[name]()


@functools.cache
def expand_fn(num_candidates):
  return table_lib.make_expand_fn(num_candidates, BRANCHING)


@functools.partial(jax.jit, static_argnames="config")
def _jitted(params, state, config, num_passes, token_budget):
  TRACES.append(config)
  return frontier.run(
    params,
    RNG,
    state,
    expand_fn(config.num_candidates),
    config,
    num_passes,
    token_budget,
    expand_fn(1),
  )


def start(table, config, passes=DEPTH, problem_id=None):
  tree = table_lib.plant(table, config.capacity(passes), problem_id)
  return frontier.start(tree, config)


def search(table, name, passes=None, state=None, budget=NO_LIMIT, config=None):
  config = config or CONFIGS[name]
  state = start(table, config, PASSES[name]) if state is None else state
  passes = PASSES[name] if passes is None else passes
  passes = jnp.asarray(passes, jnp.int32)
  return jax.device_get(_jitted(table, state, config, passes, budget))


@functools.cache
def random_table():
  return table_lib.make_table(0, ROWS, BRANCHING, DEPTH)


@functools.cache
def problems():
  return [
    reference.Problem(random_table(), row, BRANCHING) for row in range(ROWS)
  ]


def path_to(state, row, node):
  path = []
  while node != NO_NODE:
    path.insert(0, int(state.tree.hidden[row, node, 0]))
    node = state.tree.parents[row, node]
  return tuple(path) or None


def paths(state, row):
  return [path_to(state, row, node) for node in state.nodes[row]]


def holds(state, row, expected) -> bool:
  """Says whether a frontier is the reference's; the order is free in a bag."""
  found = paths(state, row)
  if isinstance(expected, collections.Counter):
    found = collections.Counter(path for path in found if path is not None)
    return found == +expected
  return found == (expected + [None] * len(found))[: len(found)]


def after_every_pass(name, table=None):
  """Yields the number of passes and the search after them."""
  table = random_table() if table is None else table
  config, state = CONFIGS[name], None
  state = start(table, config, PASSES[name])
  for passes in range(1, PASSES[name] + 1):
    state = search(table, name, 1, state)
    yield passes, state


def assert_same(one, two, rows=slice(None), other=slice(None)):
  """Asserts that rows of two searches agree in all that can be reached."""
  np.testing.assert_array_equal(one.nodes[rows], two.nodes[other])
  np.testing.assert_array_equal(one.best_score[rows], two.best_score[other])
  for name in ("valid_mask", "open_mask", "children_start", "pool_used"):
    x, y = getattr(one.tree, name)[rows], getattr(two.tree, name)[other]
    np.testing.assert_array_equal(x, y)
  valid = one.tree.valid_mask[rows]
  for name in ("parents", "tokens", "lengths", "hidden", "thought_rewards"):
    x, y = getattr(one.tree, name)[rows], getattr(two.tree, name)[other]
    np.testing.assert_array_equal(x[valid], y[valid])
  for name in ("policy_tokens", "prm_tokens"):
    x, y = getattr(one.tree, name)[rows], getattr(two.tree, name)[other]
    np.testing.assert_array_equal(x, y)
