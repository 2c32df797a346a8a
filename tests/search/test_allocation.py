"""Every allocation rule against a NumPy reference, and what holds of all."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.search import allocation
from tests.search import cases, reference, reference_frontier
from tests.search import table as table_lib

# Each rule against its reference, after every pass.


RANKING = ["independent", "best", "subtrees", "breadth_first", "lookahead"]


@pytest.mark.parametrize("name", RANKING)
def test_a_ranking_rule_equals_its_reference(name):
  for passes, state in cases.after_every_pass(name):
    for row, problem in enumerate(cases.problems()):
      assert cases.holds(state, row, cases.wanted(name, problem, passes))


def test_reward_balanced_search_equals_its_reference():
  shared = 0
  for passes, state in cases.after_every_pass("rebase"):
    for row, problem in enumerate(cases.problems()):
      expected = cases.wanted("rebase", problem, passes)
      assert cases.holds(state, row, expected)
      shared += any(count > 1 for count in expected.values())
  assert shared > cases.ROWS


@pytest.mark.parametrize("name", [*RANKING, "rebase"])
def test_all_scores_equal_keep_the_earlier_candidates(name):
  table = table_lib.make_table(3, cases.ROWS, cases.BRANCHING, cases.DEPTH)
  table = table.replace(thought_rewards=np.full_like(table.values, 0.5))
  for passes, state in cases.after_every_pass(name, table):
    for row in range(32):
      problem = reference.Problem(table, row, cases.BRANCHING)
      assert cases.holds(state, row, cases.wanted(name, problem, passes))


@functools.cache
def particle_noise(tokens):
  """Returns the numbers that every problem's particles are drawn by."""
  fold = lambda rng, *xs: functools.reduce(jax.random.fold_in, xs, rng)
  of_problem = lambda x: jax.random.gumbel(
    fold(cases.RNG, 2**32 - 1, x, tokens), (6, 12)
  )
  every = jax.vmap(of_problem)(jnp.arange(cases.ROWS))
  return np.asarray(every, float)[..., 6:]


def test_particle_filtering_equals_its_reference():
  moved = 0
  for passes, state in cases.after_every_pass("particles"):
    for row, problem in enumerate(cases.problems()):
      noise = lambda tokens, r=row: particle_noise(tokens)[r]
      expected = cases.wanted("particles", problem, passes, noise)
      assert cases.holds(state, row, expected)
      moved += len(set(expected)) < 6
  assert moved > cases.ROWS


def test_depth_first_search_expands_in_the_order_of_recursion():
  last = {}
  for passes, state in cases.after_every_pass("depth_first"):
    for row, problem in enumerate(cases.problems()):
      order = reference_frontier.depth_first(problem, 3, 0.3, cases.DEPTH)
      expected = list(itertools.islice(order, passes))
      first = state.tree.children_start[row]
      expanded = [n for n in np.argsort(first) if first[n] != cases.NO_NODE]
      assert [cases.path_to(state, row, n) for n in expanded] == expected
      last[row] = [len(path) for path in expected]
  backtracked = [np.any(np.diff(depths) <= 0) for depths in last.values()]
  assert sum(backtracked) > cases.ROWS / 2


# Worked examples of single rules.


def offer(scores, open_mask=None, usable_mask=None, ids=(0,)):
  """Returns one problem's new candidates, or the same for each of `ids`."""
  scores = jnp.asarray([scores] * len(ids), jnp.float32)
  full = jnp.ones(scores.shape, bool)
  wide = lambda x: full if x is None else full & jnp.asarray([x], bool)
  index = jnp.arange(scores.shape[1], dtype=jnp.int32)
  index = jnp.broadcast_to(index[None], scores.shape)
  rng = jax.vmap(jax.random.fold_in, (None, 0))(cases.RNG, jnp.asarray(ids))
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
  config = cases.Config(budget + finished, 1, "rebase", temperature=temperature)
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
    config = cases.Config(12, 1, "rebase", temperature=temperature)
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


# The odds of four scores: 1/4, 1, 4 and 3/2.
PARTICLES = [0.2, 0.5, 0.8, 0.6]


@pytest.mark.parametrize(
  "temperature, odds",
  [(1.0, [0.25, 1, 4, 1.5]), (2.0, [0.5, 1, 2, 1.5**0.5])]
  + [(1e-6, [0, 0, 1, 0]), (math.inf, [1, 1, 1, 1])],
)
def test_particles_are_drawn_in_proportion_to_their_odds(temperature, odds):
  config = cases.Config(4, 1, "particles", temperature=temperature)
  chosen = np.asarray(
    allocation.particles(offer(PARTICLES, ids=range(5000)), config)
  )
  chances = np.asarray(odds) / np.sum(odds)
  counts = np.bincount(chosen.ravel(), minlength=4)
  expected = chances * chosen.size
  assert np.all(counts[expected == 0] == 0)
  drawn = expected > 0
  # The 0.999 quantile of chi-square with 3 degrees of freedom.
  assert np.sum((counts - expected)[drawn] ** 2 / expected[drawn]) < 16.3
  # Slots are drawn independently: two agree with the chance of coincidence.
  for one, two in itertools.combinations(range(4), 2):
    same, chance = np.mean(chosen[:, one] == chosen[:, two]), chances @ chances
    assert abs(same - chance) <= 4 * math.sqrt(chance * (1 - chance) / 5000)


def test_a_finished_particle_stays_and_is_not_drawn():
  one = offer(PARTICLES, [True, False, True, False], ids=range(500))
  config = cases.Config(4, 1, "particles")
  chosen = np.asarray(allocation.particles(one, config))
  np.testing.assert_array_equal(chosen[:, 1], 1)
  np.testing.assert_array_equal(chosen[:, 3], 3)
  assert set(chosen[:, [0, 2]].ravel()) == {0, 2}
  # Dead ones are not drawn; where all are, the slots are empty.
  usable = [True, True, False, False]
  is_open = [True, False, True, True]
  one = offer(PARTICLES, is_open, usable, ids=range(500))
  assert np.all(np.asarray(allocation.particles(one, config)) == [0, 1, 0, 0])
  one = offer(PARTICLES, [False] * 4, usable)
  np.testing.assert_array_equal(
    allocation.particles(one, config), [[0, 1, -1, -1]]
  )


def test_particles_without_a_score_are_not_drawn_and_certain_ones_are():
  config = cases.Config(4, 1, "particles")
  ids = range(500)
  one = offer([math.nan, 0.3, math.inf, -math.inf], ids=ids)
  assert np.all(np.asarray(allocation.particles(one, config)) == 1)
  one = offer([0.0, 1.0, 0.0, 1.0], ids=ids)
  chosen = np.asarray(allocation.particles(one, config))
  assert set(chosen.ravel()) == {1, 3}
  one = offer([math.nan] * 4, ids=ids)
  assert set(np.asarray(allocation.particles(one, config)).ravel()) == {
    *range(4)
  }
