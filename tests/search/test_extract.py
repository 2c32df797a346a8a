"""What is taken from a searched tree, against plain Python and by hand."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import extract, frontier, mcts
from tests.search import reference_extract
from tests.search import table as table_lib

BRANCHING, DEPTH, ROWS, PASSES = 3, 4, 8, 24
RNG = jax.random.key(5)
MCTS = mcts.MCTSConfig(BRANCHING, skip_exhausted=True)
BEAM = frontier.FrontierConfig(width=2, num_candidates=BRANCHING)
EXPAND = table_lib.make_expand_fn(BRANCHING, BRANCHING)
SIZES = dict(completion_size=DEPTH, thought_size=DEPTH)
TRACES = []

_run = jax.jit(
  lambda table, tree: mcts.run(table, RNG, tree, EXPAND, MCTS, PASSES)
)


@functools.partial(jax.jit, static_argnames=("num_candidates",))
def _targets(tree, num_candidates, temperature):
  TRACES.append(num_candidates)
  return extract.targets(tree, num_candidates, temperature)


_best = jax.jit(extract.best_solution, static_argnums=(1, 2))


def _searched(seed=0, **kwargs):
  table = table_lib.make_mixed_table(seed, ROWS, BRANCHING, DEPTH, **kwargs)
  return _run(table, table_lib.plant(table, MCTS.capacity(PASSES)))


@pytest.fixture(scope="module")
def searched():
  return _searched()


@pytest.fixture(scope="module")
def beam():
  table = table_lib.make_table(3, ROWS, BRANCHING, DEPTH)
  tree = table_lib.plant(table, BEAM.capacity(DEPTH))
  state = frontier.start(tree, BEAM)
  return frontier.run(table, RNG, state, EXPAND, BEAM, DEPTH).tree


def _by_hand(**changes):
  """A tree of seven nodes, whose answers can be worked out in the head.

  0 root, 6 visits
  ├── 1  4 visits, value 0.5, PRM 0.9
  │   ├── 3  complete, 1 visit, paid 0.3, PRM 0.3
  │   └── 4  open, 2 visits, value 0.6, PRM 0.8
  └── 2  2 visits, value 0.7, PRM 0.4
      ├── 5  complete, 2 visits, paid 0.7, PRM 0.7
      └── 6  repeats a sibling: not valid, whatever stands there
  """
  root = tree_lib.Root(
    problem_id=jnp.array([9]),
    prompt_length=jnp.array([2]),
    hidden=jnp.zeros((1, 1)),
    values=jnp.array([0.5]),
    prompts=(),
  )
  row = lambda *x: jnp.array([x])
  fields = dict(
    parents=row(-1, 0, 0, 1, 1, 2, -1, -1, -1),
    depth=row(0, 1, 1, 2, 2, 2, 0, 0, 0),
    children_start=row(1, 3, 5, -1, -1, -1, -1, -1, -1),
    valid_mask=row(*[True] * 6, *[False] * 3),
    terminal_mask=row(*[False] * 3, True, False, True, False, False, False),
    open_mask=row(*[True] * 3, False, True, *[False] * 4),
    qvalues=row(0.6, 0.5, 0.7, 0.3, 0.6, 0.7, 0.99, 0, 0),
    rewards=row(0.0, 0, 0, 0.3, 0, 0.7, 0.99, 0, 0),
    discounts=row(1.0, 1, 1, 0, 1, 0, 0, 0, 0),
    thought_rewards=row(0.0, 0.9, 0.4, 0.3, 0.8, 0.7, 0.99, 0, 0),
    node_values=row(0.6, 0.5, 0.7, 0, 0.6, 0, 0, 0, 0),
    node_visits=row(6, 4, 2, 1, 2, 2, 3, 0, 0),
    tokens=jnp.arange(18).reshape(1, 9, 2),
    lengths=row(0, 2, 1, 1, 2, 2, 0, 0, 0),
    policy_logprobs=-jnp.arange(18.0).reshape(1, 9, 2),
    behavior_logprobs=-jnp.arange(18.0).reshape(1, 9, 2) / 2,
  )
  tree = tree_lib.plant(root, 9, 2, 0)
  return tree.replace(**(fields | changes))


def test_a_tree_by_hand_gives_the_visit_distributions():
  found = extract.targets(_by_hand(), 2)
  np.testing.assert_allclose(
    found.policy[0, :4], [[4 / 6, 2 / 6], [1 / 3, 2 / 3], [1, 0], [0, 0]]
  )
  np.testing.assert_array_equal(
    found.children[0, :4], [[1, 2], [3, 4], [5, -1], [-1, -1]]
  )
  np.testing.assert_array_equal(found.policy_mask[0], [True] * 3 + [False] * 6)
  # At τ = ½ weights are squares: 16 to 4, and 1 to 4.
  sharp = extract.targets(_by_hand(), 2, 0.5)
  np.testing.assert_allclose(sharp.policy[0, :2], [[0.8, 0.2], [0.2, 0.8]])
  greedy = extract.targets(_by_hand(), 2, 0.0)
  np.testing.assert_allclose(greedy.policy[0, :3], [[1, 0], [0, 1], [1, 0]])


def test_a_tree_by_hand_gives_the_values():
  found = extract.targets(_by_hand(), 2)
  np.testing.assert_allclose(found.values[0, :6], [0.6, 0.5, 0.7, 0, 0.6, 0])
  # A complete solution's value is what it was paid.
  paid = [0.6, 0.5, 0.7, 0.3, 0.6, 0.7]
  np.testing.assert_allclose(found.qvalues[0, :6], paid)
  np.testing.assert_array_equal(found.value_mask[0], [True] * 6 + [False] * 3)


def test_a_tree_by_hand_gives_the_best_solutions():
  tree = _by_hand()
  # 0.7 against 0.3; the least of (0.9, 0.3) and (0.4, 0.7); .27 against .28.
  for aggregation in ("last", "min", "product"):
    assert _best(tree, "score", aggregation) == 5
  # Node 1 has most visits, and node 3 alone is complete below it.
  assert _best(tree, "visits", "last") == 3
  assert _best(tree, "value", "last") == 5


def test_targets_equal_the_reference_on_random_trees(searched):
  for temperature in (1.0, 0.5, 2.0, 0.0):
    found = _targets(searched, BRANCHING, jnp.float32(temperature))
    for row in range(ROWS):
      reader = reference_extract.Reader(searched, row)
      policy = np.zeros(searched.capacity), np.asarray(found.policy[row])
      for node in reader.nodes:
        expected = reader.policy(node, temperature)
        assert bool(found.policy_mask[row, node]) == bool(expected)
        for place, child in enumerate(found.children[row, node].tolist()):
          weight = expected.get(child, 0.0)
          assert policy[1][node, place] == pytest.approx(weight, abs=1e-6)
        visited = reader.at("node_visits", node) > 0
        assert bool(found.value_mask[row, node]) == visited
        if visited:
          expected = reader.qvalue(node)
          assert found.qvalues[row, node] == pytest.approx(expected, abs=1e-6)


def test_visit_distributions_sum_to_one_and_stay_on_the_children(searched):
  found = _targets(searched, BRANCHING, jnp.float32(1.0))
  total = np.asarray(found.policy).sum(axis=-1)
  np.testing.assert_allclose(total, found.policy_mask, atol=1e-6)
  assert not np.asarray(found.policy)[np.asarray(found.children) < 0].any()
  assert 1 < found.policy_mask.sum() / ROWS < PASSES
  # A visit of a node that is not its expansion goes on to a child.
  root = np.asarray(searched.node_visits)[:, 0]
  first = np.asarray(found.children)[:, 0]
  rows = np.arange(ROWS)[:, None]
  visits = np.where(first >= 0, searched.node_visits[rows, first], 0)
  np.testing.assert_array_equal(visits.sum(axis=1), root - 1)


def test_a_frontier_search_has_no_policy_targets(beam):
  found = extract.targets(beam, BRANCHING)
  assert not np.asarray(found.policy_mask).any()
  assert not np.asarray(found.value_mask).any()
  assert not np.asarray(found.policy).any()


@pytest.mark.parametrize("seed", range(3))
def test_best_solutions_equal_the_reference(seed):
  tree = _searched(seed)
  for row in range(ROWS):
    reader = reference_extract.Reader(tree, row)
    for how in ("last", "min", "product"):
      expected = reader.best_by_score(how)
      assert _best(tree, "score", how)[row] == expected
    visits = functools.partial(reader.at, "node_visits")
    expected = reader.best_by_walking(visits)
    assert _best(tree, "visits", "last")[row] == expected
    expected = reader.best_by_walking(reader.qvalue)
    assert _best(tree, "value", "last")[row] == expected


def test_beams_best_solution_is_that_of_all_complete_ones(beam):
  best = np.asarray(_best(beam, "score", "min"))
  host = extract.to_host(beam)
  assert (best >= 0).any()
  for row in range(ROWS):
    every = extract.solutions(host, row)
    if not every:
      assert best[row] == -1
      continue
    scores = [min(s.thought_rewards) for s in every]
    assert every[int(np.argmax(scores))].nodes[-1] == best[row]


@pytest.mark.parametrize("by", extract.RULES)
def test_nothing_complete_is_no_solution(by):
  tree = _by_hand(terminal_mask=jnp.zeros((1, 9), bool))
  np.testing.assert_array_equal(_best(tree, by, "last"), [-1])
  table = table_lib.make_table(0, 2, BRANCHING, DEPTH)
  unsearched = table_lib.plant(table, 5)
  np.testing.assert_array_equal(_best(unsearched, by, "last"), [-1, -1])


@pytest.mark.parametrize("by", extract.RULES)
def test_equal_solutions_are_taken_in_order(by):
  equal = jnp.full((1, 9), 0.5)
  tree = _by_hand(
    thought_rewards=equal, rewards=equal, node_values=equal, qvalues=equal,
    discounts=jnp.zeros((1, 9)), node_visits=jnp.full((1, 9), 3),
  )  # fmt: skip
  np.testing.assert_array_equal(_best(tree, by, "last"), [3])


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_not_a_number_comes_last(bad):
  at = lambda name, node: getattr(_by_hand(), name).at[0, node].set(bad)
  tree = _by_hand(thought_rewards=at("thought_rewards", 5))
  assert _best(tree, "score", "last") == 3
  tree = _by_hand(qvalues=at("qvalues", 2))
  assert _best(tree, "value", "last") == 3
  found = extract.targets(tree, 2)
  assert not found.value_mask[0, 2] and found.value_mask[0, 1]
  assert np.isfinite(found.values).all() and np.isfinite(found.qvalues).all()
  # The only solution there is, however bad.
  only = jnp.arange(9)[None] == 5
  tree = tree.replace(
    terminal_mask=only, thought_rewards=at("thought_rewards", 5)
  )
  for by in extract.RULES:
    assert _best(tree, by, "last") == 5


def test_an_unknown_rule_is_refused():
  with pytest.raises(ValueError, match="by is 'depth'; use one of"):
    extract.best_solution(_by_hand(), "depth")


def test_a_problem_is_read_alone_as_among_others(searched):
  alone = jax.tree.map(lambda x: x[3:4], searched)
  found = extract.targets(alone, BRANCHING)
  together = extract.targets(searched, BRANCHING)
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[0], y[3]), found, together
  )
  for by in extract.RULES:
    assert _best(alone, by, "last")[0] == _best(searched, by, "last")[3]


def test_targets_compile_once_and_call_nothing_back(searched):
  TRACES.clear()
  for temperature in (0.3, 0.7):
    _targets(searched, BRANCHING, jnp.float32(temperature))
  assert len(TRACES) <= 1
  for by in extract.RULES:
    jaxpr = jax.make_jaxpr(functools.partial(extract.best_solution, by=by))(
      searched
    )
    assert "callback" not in str(jaxpr)
  jaxpr = jax.make_jaxpr(lambda x: extract.targets(x, BRANCHING))(searched)
  assert "callback" not in str(jaxpr)


def test_targets_of_host_trees_are_those_of_the_device(searched):
  host = extract.targets(extract.to_host(searched), BRANCHING)
  device = extract.targets(searched, BRANCHING)
  jax.tree.map(np.testing.assert_array_equal, host, device)


PROMPT = np.array([[7, 8, 0]], np.int32)


def test_a_tree_by_hand_gives_its_trajectories():
  tree = extract.to_host(_by_hand())
  asked = []

  def verify(row, solution):
    asked.append((row, solution.tokens))
    return float(solution.nodes[-1] == 5)

  rows = extract.trajectories(tree, PROMPT, verify, 5, 3)
  # Node 1 says (2, 3) and node 3 says (6,); node 2 says (4,), node 5 (10, 11).
  assert asked == [(0, (2, 3, 6)), (0, (4, 10, 11))]
  expected = dict(
    problem_id=[9, 9],
    prompt=[[7, 8, 0], [7, 8, 0]],
    prompt_length=[2, 2],
    completion=[[2, 3, 6, 0, 0], [4, 10, 11, 0, 0]],
    completion_length=[3, 3],
    thought_end=[[1, 2, 0], [0, 2, 0]],
    thought_count=[2, 2],
    policy_logprobs=[[-2, -3, -6, 0, 0], [-4, -10, -11, 0, 0]],
    behavior_logprobs=[[-1, -1.5, -3, 0, 0], [-2, -5, -5.5, 0, 0]],
    forced_mask=[[False] * 5] * 2,
    outcome_reward=[0, 1],
    labels=[[0, 0, 0], [0, 0, 0]],
    label_mask=[[False] * 3] * 2,
    thought_rewards=[[0.9, 0.3, 0], [0.4, 0.7, 0]],
    thought_visits=[[4, 1, 0], [2, 2, 0]],
    thought_values=[[0.5, 0.3, 0], [0.7, 0.7, 0]],
  )
  assert {f.name for f in dataclasses.fields(rows)} == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(getattr(rows, name), value, err_msg=name)


def test_every_solution_of_every_problem_is_a_trajectory(searched):
  host = extract.to_host(searched)
  prompt = np.arange(ROWS, dtype=np.int32)[:, None]
  verify = lambda row, solution: float(solution.tokens[0] == row % BRANCHING)
  rows = extract.trajectories(host, prompt, verify, **SIZES)
  count = [len(extract.solutions(host, row)) for row in range(ROWS)]
  assert min(count) < max(count) and sum(count) > 20
  np.testing.assert_array_equal(
    rows.problem_id, np.repeat(np.arange(ROWS), count)
  )
  np.testing.assert_array_equal(rows.prompt[:, 0], rows.problem_id)
  right = rows.completion[:, 0] == rows.problem_id % BRANCHING
  np.testing.assert_array_equal(rows.outcome_reward, right)


def test_a_search_that_completed_nothing_has_no_rows():
  tree = _by_hand(terminal_mask=jnp.zeros((1, 9), bool))
  rows = extract.trajectories(
    extract.to_host(tree), PROMPT, lambda row, solution: 1.0, **SIZES
  )
  for leaf in jax.tree.leaves(rows):
    assert len(leaf) == 0
  assert rows.completion.shape == (0, DEPTH)


def test_a_solution_that_does_not_fit_is_refused():
  tree = extract.to_host(_by_hand())
  pay = lambda row, solution: 1.0
  with pytest.raises(ValueError, match="has 3 tokens and only 2 fit"):
    extract.trajectories(tree, PROMPT, pay, 2, 2)
  with pytest.raises(ValueError, match="has 2 thoughts and only 1 fit"):
    extract.trajectories(tree, PROMPT, pay, 3, 1)
