"""Every allocation rule against a NumPy reference, and what holds of all."""

from __future__ import annotations

import collections
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import allocation, frontier
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


@pytest.fixture(scope="module")
def table():
  return table_lib.make_table(0, ROWS, BRANCHING, DEPTH)


@pytest.fixture(scope="module")
def problems(table):
  return [reference.Problem(table, row, BRANCHING) for row in range(ROWS)]


def path_to(state, row, node):
  path = []
  while node != NO_NODE:
    path.insert(0, int(state.tree.hidden[row, node, 0]))
    node = state.tree.parents[row, node]
  return tuple(path) or None


def paths(state, row):
  return [path_to(state, row, node) for node in state.nodes[row]]


def after_every_pass(table, name):
  """Yields the number of passes and the search after them."""
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


# Each rule against its reference, after every pass.


@pytest.mark.parametrize("name", ["subtrees", "breadth_first", "lookahead"])
def test_a_ranking_rule_equals_its_reference(table, problems, name):
  wanted = {
    "subtrees": functools.partial(
      reference_frontier.subtrees, aggregation="min"
    ),
    "breadth_first": functools.partial(
      reference_frontier.breadth_first, threshold=0.3
    ),
    "lookahead": functools.partial(
      reference_frontier.beam, aggregation="product", lookahead=2
    ),
  }[name]
  for passes, state in after_every_pass(table, name):
    for row, problem in enumerate(problems):
      assert paths(state, row) == wanted(problem, 3, 2, passes)


def test_reward_balanced_search_equals_its_reference(table, problems):
  shared = 0
  for passes, state in after_every_pass(table, "rebase"):
    for row, problem in enumerate(problems):
      found = collections.Counter(paths(state, row))
      del found[None]
      assert found == reference_frontier.rebase(problem, 6, passes, 0.3)
      shared += any(count > 1 for count in found.values())
  assert shared > ROWS


@functools.cache
def particle_noise(tokens):
  """Returns the numbers that every problem's particles are drawn by."""
  fold = lambda rng, *xs: functools.reduce(jax.random.fold_in, xs, rng)
  of_problem = lambda x: jax.random.gumbel(
    fold(RNG, 2**32 - 1, x, tokens), (6, 12)
  )
  every = jax.vmap(of_problem)(jnp.arange(ROWS))
  return np.asarray(every, float)[..., 6:]


def test_particle_filtering_equals_its_reference(table, problems):
  moved = 0
  for passes, state in after_every_pass(table, "particles"):
    for row, problem in enumerate(problems):
      noise = lambda tokens, r=row: particle_noise(tokens)[r]
      expected = reference_frontier.particles(problem, 6, passes, 1.5, noise)
      assert paths(state, row) == expected
      moved += len(set(expected)) < 6
  assert moved > ROWS


def test_depth_first_search_expands_in_the_order_of_recursion(table, problems):
  last = {}
  for passes, state in after_every_pass(table, "depth_first"):
    for row, problem in enumerate(problems):
      order = reference_frontier.depth_first(problem, 3, 0.3, DEPTH)
      expected = list(itertools.islice(order, passes))
      first = state.tree.children_start[row]
      expanded = [n for n in np.argsort(first) if first[n] != NO_NODE]
      assert [path_to(state, row, n) for n in expanded] == expected
      last[row] = [len(path) for path in expected]
  backtracked = [np.any(np.diff(depths) <= 0) for depths in last.values()]
  assert sum(backtracked) > ROWS / 2


# Worked examples of single rules.


def offer(scores, open_mask=None, usable_mask=None, ids=(0,)):
  """Returns one problem's new candidates, or the same for each of `ids`."""
  scores = jnp.asarray([scores] * len(ids), jnp.float32)
  full = jnp.ones(scores.shape, bool)
  wide = lambda x: full if x is None else full & jnp.asarray([x], bool)
  index = jnp.arange(scores.shape[1], dtype=jnp.int32)
  index = jnp.broadcast_to(index[None], scores.shape)
  rng = jax.vmap(jax.random.fold_in, (None, 0))(RNG, jnp.asarray(ids))
  return allocation.Offer(
    scores=jnp.where(jnp.isfinite(scores), scores, -jnp.inf),
    usable_mask=wide(usable_mask),
    open_mask=wide(open_mask) & wide(usable_mask),
    depth=jnp.ones_like(index),
    slot=index,
    new_mask=full,
    rng=rng,
  )


def widths(scores, budget, temperature, finished=0):
  """Returns how many slots each open candidate is given by "rebase"."""
  config = Config(budget + finished, 1, "rebase", temperature=temperature)
  is_open = [True] * len(scores) + [False] * finished
  chosen = allocation.rebase(offer(scores + [0.5] * finished, is_open), config)
  for index in range(len(scores), len(is_open)):
    assert np.sum(chosen == index) == 1
  return [int(np.sum(chosen == j)) for j in range(len(scores))]


def test_rebase_widths_of_a_worked_example():
  # exp(3), exp(2), exp(1) = 20.09, 7.39, 2.72 of 30.19: 5.32, 1.96, 0.72 of 8.
  assert widths([0.9, 0.6, 0.3], 8, 0.3) == [5, 2, 1]
  # Two finished solutions leave 6: 3.99, 1.47, 0.54.
  assert widths([0.9, 0.6, 0.3], 6, 0.3, finished=2) == [4, 1, 1]
  # Order does not matter.
  assert widths([0.3, 0.9, 0.6], 8, 0.3) == [1, 5, 2]


def test_rebase_rounds_halves_up_and_lets_the_best_keep_theirs():
  # exp(ln 2), exp(0) of 3: 2 and 1 of 3. At equal scores 1.5 and 1.5.
  assert widths([math.log(2), 0.0], 3, 1.0) == [2, 1]
  assert widths([0.4, 0.4], 3, 1.0) == [2, 1]
  # 2.6, 0.7 and 0.7 of 4 round to 3, 1 and 1: the last gives way.
  scores = [math.log(0.7), math.log(2.6), math.log(0.7)]
  assert widths(scores, 4, 1.0) == [1, 3, 0]
  # 4 / 3 each: one each, and a slot waits for the next depth.
  assert widths([0.4] * 3, 4, 1.0) == [1, 1, 1]


def test_rebase_at_extreme_temperatures():
  scores = [0.1, 0.9, 0.5, 0.2]
  assert widths(scores, 8, math.inf) == [2, 2, 2, 2]
  assert widths(scores, 8, 1e9) == [2, 2, 2, 2]
  assert widths(scores, 8, 1e-6) == [0, 8, 0, 0]
  assert widths([0.9, 0.1, 0.9], 8, 1e-6) == [4, 0, 4]


@pytest.mark.parametrize("temperature", [1e-6, 0.5, math.inf])
def test_rebase_gives_no_slot_to_what_has_no_score(temperature):
  scores = [0.1, math.nan, math.inf, -math.inf]
  assert widths(scores, 4, temperature) == [4, 0, 0, 0]
  assert widths([math.nan] * 4, 4, temperature) == [1, 1, 1, 1]
  assert widths([0.2] * 4, 4, temperature) == [1, 1, 1, 1]
  assert widths([0.2, 0.3], 0, temperature, finished=2) == [0, 0]


def test_rebase_widths_equal_the_reference_on_random_scores():
  random, rows, size = np.random.default_rng(0), 500, 8
  scores = random.random((rows, size), np.float32)
  is_open = np.arange(size)[None] < random.integers(1, 9, rows)[:, None]
  one = offer([0.0] * size, ids=range(rows))
  one = one._replace(scores=jnp.asarray(scores), open_mask=jnp.asarray(is_open))
  for temperature in (0.05, 0.2, 1.0):
    config = Config(12, 1, "rebase", temperature=temperature)
    chosen = np.asarray(allocation.rebase(one, config))
    full = 0
    for row in range(rows):
      count = int(is_open[row].sum())
      budget = 12 - (size - count)
      found = [int(np.sum(chosen[row] == j)) for j in range(size)]
      expected = reference_frontier.rebase_widths(
        scores[row, :count].tolist(), budget, temperature
      )
      assert found == expected + [1] * (size - count)
      full += sum(expected) == budget
    assert full > rows / 4
