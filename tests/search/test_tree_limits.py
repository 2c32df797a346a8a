"""Bad input to every tree-search rule, and what holds of it whatever comes."""

from __future__ import annotations

import functools
import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import extract, mcts, selection
from tests.search import reference, reference_tree
from tests.search import table as table_lib

# Solutions could have one thought more than the searches may add.
BRANCHING, DEPTH, LIMIT, ROWS, PASSES = 3, 4, 3, 24, 24
TOLERANCE = 1e-5
NO_NODE = tree_lib.Tree.NO_NODE
NO_BUDGET_LIMIT = np.full(ROWS, 10**6, np.int32)
EXPAND = table_lib.make_expand_fn(BRANCHING, BRANCHING)
ROLL = table_lib.make_expand_fn(1, BRANCHING)
RNG = jax.random.key(7)
RULES = {
  "puct": mcts.puct(BRANCHING, max_depth=LIMIT, skip_exhausted=True),
  "uct": mcts.uct(BRANCHING, max_depth=LIMIT, leaves_per_pass=2),
  "gumbel": mcts.gumbel(BRANCHING, PASSES - 1, max_depth=LIMIT),
  "rstar": mcts.rstar(BRANCHING, max_depth=LIMIT, leaves_per_pass=2),
  "rest_mcts": mcts.rest_mcts(BRANCHING, max_depth=LIMIT, stop_value=math.inf),
}
pytestmark = pytest.mark.usefixtures("quick_compilation")
every_rule = pytest.mark.parametrize("name", RULES)
TRACES = []


@functools.partial(jax.jit, static_argnames="config")
def _jitted(table, tree, config, passes, budget):
  TRACES.append(config)
  return mcts.run(table, RNG, tree, EXPAND, config, passes, budget, ROLL)


def plant(table, name):
  return table_lib.plant(table, RULES[name].capacity(PASSES))


def search(table, name, passes=PASSES, budget=NO_BUDGET_LIMIT, tree=None):
  tree = plant(table, name) if tree is None else tree
  passes = jnp.asarray(passes, jnp.int32)
  tree = _jitted(table, tree, RULES[name], passes, np.asarray(budget))
  return jax.device_get(tree)


def make_table(seed, **shares):
  return table_lib.make_table(seed, ROWS, BRANCHING, DEPTH, **shares)


def with_dead_ends(table, share, seed):
  """Returns the table where some states have no valid child at all."""
  dead = np.random.default_rng(seed).random(table.values.shape) < share
  parent = (np.arange(dead.shape[1]) - 1) // BRANCHING
  valid = table.valid_mask & ~dead[:, parent]
  valid[:, 0] = True
  return table.replace(valid_mask=valid)


def referee(name, problem, row):
  """Returns the reference's search of a problem, finished."""
  if name == "puct":
    return reference.TreeSearch(problem, "score", 1, True).run(PASSES)
  if name == "uct":
    return reference_tree.UCT(problem, "score", 2, False).run(PASSES)
  if name == "rstar":
    return reference_tree.RStar(problem, True, 2).run(PASSES)
  if name == "rest_mcts":
    found = reference_tree.RestMCTS(problem)
    found.end_gate = math.inf
    return found.run(PASSES)
  rule = RULES["gumbel"].rule
  ids = jnp.arange(ROWS)
  noise = rule.gumbel(RNG, ids, 0 * ids, BRANCHING)[row]
  noise = np.asarray(noise, float)
  return reference_tree.Gumbel(problem, noise, PASSES - 1).run()


def assert_equals_the_reference(tree, table, name):
  """Compares visits; to the reference what is at the limit is closed."""
  last = table_lib.count_states(BRANCHING, LIMIT - 1)
  closed = table.open_mask & (np.arange(table.values.shape[1]) < last)
  visits = table_lib.by_state(tree, tree.node_visits, table)
  for row in range(ROWS):
    problem = reference.Problem(table.replace(open_mask=closed), row, BRANCHING)
    found = referee(name, problem, row)
    expected = [found.visits[state] for state in range(visits.shape[1])]
    np.testing.assert_array_equal(np.nan_to_num(visits[row]), expected)


@every_rule
def test_a_depth_limit_closes_what_is_at_it(name):
  table = make_table(1, terminal=0.1)
  tree = search(table, name)
  assert tree.depth[tree.valid_mask].max() == LIMIT
  at_the_limit = tree.valid_mask & (tree.depth == LIMIT)
  assert np.any(at_the_limit & tree.open_mask & (tree.node_visits > 0))
  assert np.all(tree.children_start[at_the_limit] == NO_NODE)
  assert_equals_the_reference(tree, table, name)


@every_rule
def test_scores_that_are_all_equal_are_searched_as_the_reference_does(name):
  table = make_table(2, terminal=0.0, stopped=0.0)
  half = lambda x: np.full_like(x, 0.5)
  table = table.replace(
    prior_logits=0 * table.prior_logits,
    values=half(table.values),
    thought_rewards=half(table.values),
  )
  tree = search(table, name)
  assert_equals_the_reference(tree, table, name)
  seen = tree.valid_mask & (tree.node_visits > 0)
  if name != "rstar":  # Whose only outcome is that nothing was solved.
    np.testing.assert_array_equal(tree.node_values[seen], 0.5)
  assert np.all(np.isfinite(tree.node_values[tree.valid_mask]))


@every_rule
def test_no_passes_and_no_tokens_leave_the_trees_as_planted(name):
  table = make_table(3)
  for tree in (
    search(table, name, passes=0),
    search(table, name, budget=np.zeros(ROWS, np.int32)),
  ):
    jax.tree.map(np.testing.assert_array_equal, tree, plant(table, name))


@every_rule
def test_a_problem_rests_once_its_tokens_are_spent(name):
  table = make_table(4)
  whole = search(table, name)
  budget = np.random.default_rng(0).integers(0, 40, ROWS).astype(np.int32)
  tree = search(table, name, budget=budget)
  config = RULES[name]
  most = config.leaves_per_pass * BRANCHING + config.rollout_thoughts
  spent = tree.policy_tokens
  assert np.all(spent < budget + most)
  short = spent < budget
  np.testing.assert_array_equal(spent[short], whole.policy_tokens[short])
  np.testing.assert_array_equal(
    tree.node_visits[short], whole.node_visits[short]
  )
  assert np.any(spent < whole.policy_tokens)


@every_rule
def test_all_candidates_complete_are_visited_and_never_expanded(name):
  tree = search(make_table(5, terminal=1.0, stopped=0.0), name)
  np.testing.assert_array_equal(tree.policy_tokens, BRANCHING)
  assert np.all(tree.children_start[:, 1:] == NO_NODE)
  assert np.all(tree.node_visits[:, 0] > 1)
  assert_conserved(tree, name)


@every_rule
def test_a_policy_that_never_ends_a_thought_ends_in_one_expansion(name):
  # Cut off at the limit, thoughts are neither complete nor to be gone on from.
  tree = search(make_table(6, terminal=0.0, stopped=1.0), name)
  np.testing.assert_array_equal(tree.policy_tokens, BRANCHING)
  assert np.all(tree.children_start[:, 1:] == NO_NODE)
  assert not np.any(tree.terminal_mask & tree.valid_mask)
  assert np.all(extract.best_solution(tree) == NO_NODE)
  seen = (tree.node_visits > 0) & tree.valid_mask
  # Nothing more is to be had; to rStar that is the worst of outcomes.
  values = tree.node_values[:, 1:][seen[:, 1:]]
  assert np.all(values <= -1 if name == "rstar" else values == 0)
  assert_conserved(tree, name)


@every_rule
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_in_its_row_and_the_search_ends(name, bad):
  table = make_table(7)
  broken = table.replace(
    values=table.values.copy(),
    rewards=table.rewards.copy(),
    thought_rewards=table.thought_rewards.copy(),
  )
  which = np.random.default_rng(0).random(table.values.shape) < 0.5
  which[1::2], which[:, 0] = False, False
  for field in (broken.values, broken.rewards, broken.thought_rewards):
    field[which] = bad
  one, two = search(broken, name), search(table, name)
  rows = slice(1, None, 2)
  for field in ("node_visits", "node_values", "best_leaf", "policy_tokens"):
    np.testing.assert_array_equal(
      getattr(one, field)[rows], getattr(two, field)[rows]
    )
  assert_conserved(one, name)
  targets = extract.targets(one, BRANCHING)
  assert np.all(np.isfinite(targets.policy))
  assert np.all(np.isfinite(targets.values))


@every_rule
def test_one_candidate_makes_a_chain(name):
  # Three thoughts, the last one complete; then it is visited again and again.
  table = table_lib.make_table(8, 4, 1, LIMIT, terminal=0.0, stopped=0.0)
  table.terminal_mask[:, LIMIT], table.open_mask[:, LIMIT] = True, False
  table.rewards[:, LIMIT] = 1.0
  config = {
    "puct": mcts.puct(1),
    "uct": mcts.uct(1),
    "gumbel": mcts.gumbel(1, 4),
    "rstar": mcts.rstar(1),
    "rest_mcts": mcts.rest_mcts(1, stop_value=math.inf),
  }[name]
  expand_fn = table_lib.make_expand_fn(1, 1)
  run = lambda tree: mcts.run(
    table, RNG, tree, expand_fn, config, 5, None, expand_fn
  )
  tree = jax.jit(run)(table_lib.plant(table, config.capacity(5)))
  # Counted are all, or the rollouts that end in a solution, or also a visit of
  # the new child.
  visits = {"rstar": [2, 2, 2, 2], "rest_mcts": [5, 5, 4, 3]}
  expected = visits.get(name, [5, 4, 3, 2])
  np.testing.assert_array_equal(tree.node_visits[:, :4], [expected] * 4)
  np.testing.assert_array_equal(tree.parents[:, :4], [[-1, 0, 1, 2]] * 4)
  assert np.all(np.asarray(extract.best_solution(tree)) == LIMIT)


def families(tree):
  """Returns row, node and children of every expanded node."""
  rows, nodes = np.nonzero(tree.valid_mask & (tree.children_start >= 0))
  first = tree.children_start[rows, nodes]
  return rows, nodes, first[:, None] + np.arange(BRANCHING)


def assert_conserved(tree, name):
  """Asserts that each visit of a node was passed on to one child, or ended."""
  assert np.all(tree.node_visits[~tree.valid_mask] == 0)
  rows, nodes, children = families(tree)
  valid = tree.valid_mask[rows[:, None], children]
  assert np.all(valid.any(axis=1))
  parents = tree.parents[rows[:, None], children]
  np.testing.assert_array_equal(parents[valid], np.repeat(nodes, valid.sum(1)))
  # Only what is open is ever expanded, and nothing at the limit.
  assert np.all(tree.open_mask[rows, nodes])
  assert not np.any(tree.terminal_mask[rows, nodes])
  assert np.all(tree.depth[rows, nodes] < LIMIT)
  below = tree.node_visits[rows[:, None], children].sum(axis=1)
  own = tree.node_visits[rows, nodes] - below
  if name == "rest_mcts":
    # An expansion also visits its best child, which so has one of its own.
    raised = np.zeros(tree.parents.shape, int)
    raised[rows, nodes] = own
    assert np.all((own == 0) | (own == 1))
    assert np.all(own[nodes == 0] == 0)
    assert np.all(raised[rows[:, None], children].sum(axis=1) <= 1)
    assert np.all(below >= 1)
  else:
    # A node's expansion is a visit; rStar counts those that reach an end.
    np.testing.assert_array_equal(own, 0 if name == "rstar" else 1)


@every_rule
@hypothesis.settings(
  max_examples=8,
  deadline=None,
  derandomize=True,
  database=None,
  phases=[hypothesis.Phase.generate],
)
@hypothesis.given(
  seed=st.integers(0, 10**6),
  passes=st.integers(0, PASSES),
  terminal=st.floats(0, 1),
  dead=st.floats(0, 0.5),
  budget=st.integers(0, 100),
  temperature=st.floats(0, 10),
)
def test_visits_are_conserved_and_probabilities_sum_to_one(
  name, seed, passes, terminal, dead, budget, temperature
):
  table = make_table(seed, terminal=terminal, repeated=0.3)
  table = with_dead_ends(table, dead, seed)
  limits = np.full(ROWS, budget, np.int32)
  tree = search(table, name, passes, limits)
  assert_conserved(tree, name)
  leaves = RULES[name].leaves_per_pass
  assert np.all(tree.node_visits[:, 0] <= passes * leaves)
  found = extract.targets(tree, BRANCHING, jnp.float32(temperature))
  total = np.asarray(found.policy, np.float64).sum(axis=-1)
  np.testing.assert_allclose(total, found.policy_mask, atol=1e-5)
  assert np.all(np.asarray(found.policy) >= 0)


logits = st.floats(-(2.0**99), 2.0**99, width=32) | st.just(-np.inf)


@hypothesis.settings(
  max_examples=100, deadline=None, derandomize=True, database=None
)
@hypothesis.given(st.lists(logits, min_size=4, max_size=4))
def test_priors_sum_to_one_or_there_are_none(values):
  zeros = jnp.zeros(4, jnp.float32)
  valid = np.isfinite(values)
  family = selection.Family(
    visits=jnp.int32(0),
    value=jnp.float32(0),
    raw_value=jnp.float32(0),
    children_visits=jnp.zeros(4, jnp.int32),
    qvalues=zeros,
    prior_logits=jnp.asarray(values, jnp.float32),
    eligible_mask=jnp.asarray(valid),
  )
  found = np.asarray(PRIORS(family))
  assert np.all(found >= 0) and np.all(found[~valid] == 0)
  np.testing.assert_allclose(found.sum(), float(valid.any()), atol=1e-6)


PRIORS = jax.jit(selection.priors)


@every_rule
def test_a_search_is_one_program_without_callbacks(name):
  table = make_table(9)
  search(table, name)
  before = len(TRACES)
  search(make_table(10), name, 5, np.full(ROWS, 9, np.int32))
  assert len(TRACES) == before
  arguments = (table, plant(table, name), RULES[name])
  program = _jitted.trace(*arguments, jnp.int32(3), NO_BUDGET_LIMIT).jaxpr
  assert not program.effects
  assert "while" in str(program) and "callback" not in str(program)


@every_rule
def test_a_row_does_not_depend_on_the_other_problems(name):
  table = make_table(11).replace(noise=np.full(ROWS, 0.2, np.float32))
  strangers = make_table(12, terminal=0.9)
  even = lambda x: np.arange(ROWS).reshape(-1, *[1] * (x.ndim - 1)) % 2 == 0
  half = jax.tree.map(lambda x, y: np.where(even(x), x, y), table, strangers)
  one, two = search(table, name), search(half, name)
  for field in ("node_visits", "node_values", "policy_tokens", "stopped_mask"):
    np.testing.assert_array_equal(
      getattr(one, field)[::2], getattr(two, field)[::2]
    )
