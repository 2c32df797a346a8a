"""Beam search and best-of-N against a NumPy reference and exhaustion."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from reasoning_rl.search import frontier
from tests.search import reference
from tests.search import table as table_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")
BRANCHING, DEPTH, ROWS = 8, 4, 16
NO_NODE = tree_lib.Tree.NO_NODE
RNG = jax.random.key(3)
BEAM = frontier.FrontierConfig(width=4, num_candidates=2)
SAMPLES = frontier.FrontierConfig(width=4, allocate="independent")
REFILLED = frontier.FrontierConfig(4, 2, refill=True)
TRACES = []


@functools.cache
def _expand_fn(num_candidates, branching=BRANCHING):
  return table_lib.make_expand_fn(num_candidates, branching)


@functools.partial(jax.jit, static_argnames=("config", "expand_fn"))
def _jitted(params, rng, state, config, num_passes, expand_fn):
  TRACES.append(config)
  return frontier.run(params, rng, state, expand_fn, config, num_passes)


def _start(table, config, problem_id=None):
  tree = table_lib.plant(table, config.capacity(DEPTH), problem_id)
  return frontier.start(tree, config)


def _search(table, config, passes=DEPTH, state=None, expand_fn=None):
  state = _start(table, config) if state is None else state
  expand_fn = expand_fn or _expand_fn(config.num_candidates)
  passes = jnp.asarray(passes, jnp.int32)
  return jax.device_get(_jitted(table, RNG, state, config, passes, expand_fn))


@pytest.fixture(scope="module")
def table():
  return table_lib.make_table(0, ROWS, BRANCHING, DEPTH)


def _paths(state, row):
  """Returns the states from the root to each frontier node, None for none."""
  parents, states = state.tree.parents[row], state.tree.hidden[row, :, 0]
  paths = []
  for node in state.nodes[row]:
    path = []
    while node != NO_NODE:
      path.insert(0, int(states[node]))
      node = parents[node]
    paths.append(tuple(path) or None)
  return paths


def _problem(table, row, branching=BRANCHING):
  return reference.Problem(table, row, branching)


@pytest.mark.parametrize("refill", [False, True])
@pytest.mark.parametrize("aggregation", ["last", "min", "product"])
def test_beam_equals_the_reference_after_every_pass(aggregation, refill):
  table = table_lib.make_table(0, ROWS, BRANCHING, DEPTH, repeated=0.4)
  config = frontier.FrontierConfig(4, 2, "best", aggregation, refill)
  for passes in range(DEPTH + 1):
    state = _search(table, config, passes)
    for row in range(ROWS):
      expected = reference.beam(
        _problem(table, row), 4, 2, aggregation, passes, refill
      )
      padding = [None] * (4 - len(expected))
      assert _paths(state, row) == expected + padding


def test_a_beam_by_likelihood_is_one_by_scores_that_hold_it():
  # A product of scores takes the likelihood in factor by factor.
  table = table_lib.make_table(2, ROWS, BRANCHING, DEPTH)
  share = 0.3
  mixed = table.thought_rewards ** (1 - share)
  mixed = mixed * np.exp(share * table.prior_logits)
  by_score = frontier.FrontierConfig(4, 2, "best", "product")
  by_both = dataclasses.replace(by_score, likelihood=share)
  found = _search(table, by_both)
  expected = _search(table.replace(thought_rewards=mixed), by_score)
  without = _search(table, by_score)
  paths = lambda state: [_paths(state, row) for row in range(ROWS)]
  assert paths(found) == paths(expected)
  assert paths(found) != paths(without)


def test_a_beam_by_likelihood_tells_paths_of_no_float32_probability_apart():
  # All candidates of a pass are equally deep, so what each thought is less
  # likely by changes nothing.
  table = table_lib.make_table(3, ROWS, BRANCHING, DEPTH, 0.0, 0.0)
  config = frontier.FrontierConfig(4, 2, "best", likelihood=0.5)
  unlikely = table.replace(prior_logits=table.prior_logits - 512)
  found, expected = _search(unlikely, config), _search(table, config)
  for row in range(ROWS):
    assert _paths(found, row) == _paths(expected, row)


def test_a_beam_that_holds_everything_finds_every_solution_best_first():
  config = frontier.FrontierConfig(8, 2, "best", "product")
  table = table_lib.make_table(1, ROWS, 2, 3)
  tree = table_lib.plant(table, config.capacity(3))
  state = frontier.start(tree, config)
  state = _search(table, config, 3, state, _expand_fn(2, 2))
  for row in range(ROWS):
    problem = _problem(table, row, 2)
    expected = reference.solutions(problem)
    score = lambda x, p=problem: -reference.path_score(p, x, "product")
    found = [path for path in _paths(state, row) if path is not None]
    assert found == sorted(expected, key=score)


@pytest.mark.parametrize("allocate", ["best", "independent"])
def test_width_one_with_one_candidate_follows_the_first_child(table, allocate):
  config = frontier.FrontierConfig(1, 1, allocate)
  state = _search(table, config)
  for row in range(ROWS):
    path, problem = (0,), _problem(table, row)
    while problem.is_open[path[-1]]:
      path = (*path, path[-1] * BRANCHING + 1)
    expected = path if problem.is_terminal[path[-1]] else None
    assert _paths(state, row) == [expected]


def test_width_one_takes_the_best_scored_child_at_every_depth(table):
  config = frontier.FrontierConfig(1, BRANCHING)
  state = _search(table, config)
  for row in range(ROWS):
    path, problem = (0,), _problem(table, row)
    while path and problem.is_open[path[-1]]:
      alive = problem.is_open | problem.is_terminal
      found = [x for x in problem.children(path[-1]) if alive[x]]
      best = max(found, key=lambda x, p=problem: p.scores[x], default=None)
      path = (*path, best) if found else None
    assert _paths(state, row) == [path]


def test_independent_samples_equal_the_reference_after_every_pass(table):
  for passes in range(DEPTH + 1):
    state = _search(table, SAMPLES, passes)
    for row in range(ROWS):
      expected = reference.best_of_n(_problem(table, row), 4, passes)
      assert _paths(state, row) == expected


def test_independent_samples_stay_in_their_slots(table):
  before, lost, finished = _search(table, SAMPLES, 1), 0, 0
  for _ in range(DEPTH - 1):
    after = _search(table, SAMPLES, 1, before)
    for row in range(ROWS):
      complete = before.tree.terminal_mask[row]
      for slot, (old, new) in enumerate(
        zip(_paths(before, row), _paths(after, row), strict=True)
      ):
        if old is None:
          assert new is None
          lost += 1
        elif complete[before.nodes[row, slot]]:
          assert new == old
          finished += 1
        elif new is not None:
          assert new[:-1] == old
    before = after
  assert lost and finished


def test_a_finished_solution_stays_in_the_beam_without_being_expanded():
  # The first child of the root is complete and the best; the others go on.
  table = table_lib.make_table(2, ROWS, BRANCHING, DEPTH, 0.0, 0.0, 0.0)
  table.terminal_mask[:, 1], table.open_mask[:, 1] = True, False
  table.thought_rewards[:] *= 0.5
  table.thought_rewards[:, 1] = 0.9
  for passes in range(1, DEPTH + 1):
    state = _search(table, BEAM, passes)
    np.testing.assert_array_equal(state.nodes[:, 0], 1)
    assert np.all(state.tree.children_start[:, 1] == NO_NODE)
  # A better one takes its place, for the beam keeps the best of all.
  table.thought_rewards[:, BRANCHING + 1 :] += 1
  state = _search(table, BEAM, 2)
  assert not np.any(state.nodes == 1)


def test_all_scores_equal_keep_the_earlier_candidates():
  table = table_lib.make_table(3, ROWS, BRANCHING, DEPTH, 0.1, 0.1, 0.1)
  table = table.replace(thought_rewards=np.full_like(table.values, 0.25))
  state = _search(table, BEAM)
  for row in range(ROWS):
    expected = reference.beam(_problem(table, row), 4, 2, "last", DEPTH)
    padding = [None] * (4 - len(expected))
    assert _paths(state, row) == expected + padding


def test_thoughts_that_lead_nowhere_empty_the_frontier_and_end_the_search():
  table = table_lib.make_table(4, ROWS, BRANCHING, DEPTH, 0.0, 1.0)
  for config in (BEAM, SAMPLES):
    state = _search(table, config)
    assert np.all(state.nodes == NO_NODE)
    assert state.tree.next_node[0] == config.capacity(1)


def test_the_search_ends_when_every_solution_is_complete():
  table = table_lib.make_table(5, ROWS, BRANCHING, DEPTH, 1.0, 0.0)
  state = _search(table, BEAM)
  assert state.tree.next_node[0] == BEAM.capacity(1)
  terminal = np.take_along_axis(state.tree.terminal_mask, state.nodes, 1)
  assert np.all(terminal[state.nodes != NO_NODE])


def test_no_passes_leave_the_root_in_every_slot(table):
  start, state = _start(table, BEAM), _search(table, BEAM, 0)
  jax.tree.map(np.testing.assert_array_equal, state, jax.device_get(start))
  np.testing.assert_array_equal(state.nodes, np.zeros((ROWS, 4)))


def test_continuing_a_search_equals_one_longer_search(table):
  table = table.replace(noise=np.full(ROWS, 0.5, np.float32))
  for config in (BEAM, SAMPLES):
    once = _search(table, config, 3)
    twice = _search(table, config, 2, _search(table, config, 1))
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    last = np.ravel(once.tree.thought_rewards)
    assert len(np.unique(last)) > 1


def test_a_row_does_not_depend_on_the_other_problems(table):
  noise = np.full(ROWS, 0.5, np.float32)
  table = table.replace(noise=noise)
  order = np.random.default_rng(0).permutation(ROWS)
  mixed = jax.tree.map(lambda x: x[order], table)
  strangers = table_lib.make_table(6, ROWS, BRANCHING, DEPTH)
  strangers = strangers.replace(noise=noise)
  even = lambda x: np.arange(ROWS).reshape(-1, *[1] * (x.ndim - 1)) % 2 == 0
  half = jax.tree.map(lambda x, y: np.where(even(x), x, y), table, strangers)
  for config in (BEAM, SAMPLES):
    state = _search(table, config)
    permuted = _search(mixed, config, state=_start(mixed, config, order))
    other = _search(half, config)
    np.testing.assert_array_equal(permuted.nodes, state.nodes[order])
    np.testing.assert_array_equal(other.nodes[::2], state.nodes[::2])
    for name in ("valid_mask", "parents", "tokens", "lengths", "hidden"):
      one, two = getattr(permuted.tree, name), getattr(state.tree, name)
      valid = state.tree.valid_mask
      np.testing.assert_array_equal(one[valid[order]], two[order][valid[order]])
      one = getattr(other.tree, name)
      np.testing.assert_array_equal(one[::2][valid[::2]], two[::2][valid[::2]])
    for name in ("policy_tokens", "prm_tokens", "pool_used"):
      one, two = getattr(permuted.tree, name), getattr(state.tree, name)
      np.testing.assert_array_equal(one, two[order])
      np.testing.assert_array_equal(getattr(other.tree, name)[::2], two[::2])


def test_a_score_of_nan_ranks_last_and_stays_in_its_row(table):
  broken = table.replace(thought_rewards=table.thought_rewards.copy())
  broken.thought_rewards[::2] = np.nan
  broken.thought_rewards[0, 1::2] = 0.01
  state, healthy = _search(broken, BEAM), _search(table, BEAM)
  np.testing.assert_array_equal(state.nodes[1::2], healthy.nodes[1::2])
  # Among the root's children in row 0 the odd states alone have a score.
  first = [path[-1] for path in _paths(_search(broken, BEAM, 1), 0) if path]
  usable = table.valid_mask & (table.open_mask | table.terminal_mask)
  scored = [x for x in range(1, BRANCHING + 1, 2) if usable[0, x]]
  assert first[: len(scored)] == scored[:4]


def test_a_search_is_one_dispatch_without_callbacks(table):
  run = lambda x: frontier.run(table, RNG, x, _expand_fn(2), BEAM, 3)
  program = jax.make_jaxpr(run)(_start(table, BEAM))
  assert not program.effects
  assert "while" in str(program) and "callback" not in str(program)


def test_another_batch_of_the_same_shape_does_not_compile_again(table):
  _search(table, BEAM)
  before = len(TRACES)
  other = table_lib.make_table(7, ROWS, BRANCHING, DEPTH)
  _search(other, BEAM, 2)
  assert len(TRACES) == before


def test_a_full_pool_ends_the_search_of_its_problem_alone():
  def with_pool(params, rng, tree, leaf):
    children = _expand_fn(2)(params, rng, tree, leaf)
    return children.replace(keys_values=(children.hidden[..., None, None],))

  # The first half repeats every thought but first children: one slot each.
  dense = table_lib.make_table(8, ROWS // 2, BRANCHING, DEPTH, 0, 0, 1.0)
  wide = table_lib.make_table(9, ROWS // 2, BRANCHING, DEPTH, 0, 0, 0.0)
  both = table_lib.concatenate([dense, wide])
  state = _start(both, BEAM)
  pool = jnp.zeros((ROWS, 17, 1, 1))
  state = state.replace(tree=state.tree.replace(pools=(pool,)))
  state = _search(both, BEAM, DEPTH, state, with_pool)
  # Narrow rows reach the end: 1 thought a pass. Wide ones hold 8 after the
  # first pass and 16 after the second; the 17th slot is not enough for more.
  np.testing.assert_array_equal(
    state.tree.pool_used, np.repeat([DEPTH, 16], ROWS // 2)
  )
  depth = state.tree.depth.max(axis=1)
  np.testing.assert_array_equal(depth, np.repeat([DEPTH, 2], ROWS // 2))
  # What could not be expanded any more stays in the frontier, still open.
  still_open = np.take_along_axis(state.tree.open_mask, state.nodes, axis=1)
  assert np.all(still_open[ROWS // 2 :])
  for row in range(ROWS):
    nodes = np.flatnonzero(state.tree.valid_mask[row])[1:]
    held = state.tree.pools[0][row, state.tree.slots[row, nodes, 0], 0, 0]
    np.testing.assert_array_equal(held, state.tree.hidden[row, nodes, 0])


@pytest.mark.parametrize(
  "aggregation, expected",
  [("last", [0.5, 0.75, 0.25]), ("min", [0.5, 0.5, 0.25])]
  + [("product", [0.5, 0.375, 0.09375])],
)
def test_path_scores_of_a_hand_worked_chain(aggregation, expected):
  # 0 ─ 1 (0.5) ─ 2 (0.75) ─ 3 (0.25); the root's 0.1 never counts.
  table = table_lib.make_table(0, 1, 1, 3)
  tree = table_lib.plant(table, 4).replace(
    parents=jnp.array([[-1, 0, 1, 2]]),
    thought_rewards=jnp.array([[0.1, 0.5, 0.75, 0.25]]),
  )
  scores = frontier.path_scores(tree, jnp.array([[1, 2, 3]]), aggregation)
  np.testing.assert_allclose(scores, [expected], rtol=1e-6)


def test_path_logprobs_are_sums_over_all_tokens_below_the_root():
  table = table_lib.make_table(0, 1, 1, 3)
  logprobs = jnp.array([[[-9.0, -9], [-1, -2], [-3, 0], [-4, -5]]])
  tree = table_lib.plant(table, 4).replace(
    parents=jnp.array([[-1, 0, 1, 2]]), policy_logprobs=logprobs
  )
  found = frontier.path_logprobs(tree, jnp.array([[0, 1, 3, 2]]))
  np.testing.assert_allclose(found, [[0, -3, -15, -6]], rtol=1e-6)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"likelihood": 1.0}, "share from 0 to below 1"),
    ({"allocate": "independent", "likelihood": 0.5}, "draws samples"),
    ({"allocate": "bets"}, "use one of .'best', 'breadth"),
    ({"aggregation": "mean"}, "use 'last', 'min' or 'product'"),
    ({"allocate": "independent", "num_candidates": 2}, "num_candidates = 1"),
  ],
)
def test_a_rule_that_does_not_exist_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    frontier.FrontierConfig(width=4, **changes)


def _with_pool(num_candidates):
  """Keeps each thought's state as its keys, to find it again."""

  def with_pool(params, rng, tree, leaf):
    children = _expand_fn(num_candidates)(params, rng, tree, leaf)
    return children.replace(keys_values=(children.hidden[..., None, None],))

  return with_pool


def _start_with_pool(table, config, size, reuse):
  rows = table.values.shape[0]
  root = tree_lib.Root(
    problem_id=jnp.arange(rows),
    prompt_length=jnp.full(rows, 3),
    hidden=jnp.zeros((rows, 1)),
    values=jnp.asarray(table.values[:, 0]),
    prompts=(jnp.zeros((rows, 1, 1, 1)),),
  )
  capacity = config.capacity(DEPTH)
  return frontier.start(tree_lib.plant(root, capacity, 1, size, reuse), config)


def _held_states_are_in_the_pool(state):
  for row in range(ROWS):
    held = np.flatnonzero(state.tree.held_mask[row])[1:]
    slots = state.tree.slots[row, held, 0]
    assert len(np.unique(slots)) == len(slots) == state.tree.pool_used[row]
    states = state.tree.pools[0][row, slots, 0, 0]
    np.testing.assert_array_equal(states, state.tree.hidden[row, held, 0])


NO_REUSE = ("held_mask", "slots", "free_slots", "pool_used", "pool_peak")


@pytest.mark.parametrize("config", [BEAM, SAMPLES, REFILLED], ids=str)
def test_a_search_that_gives_slots_back_finds_what_one_that_does_not(
  table, config
):
  ample, expand_fn = config.capacity(DEPTH), _with_pool(config.num_candidates)
  size = pool_lib.frontier_slots(
    config.width, config.num_candidates, DEPTH, 1, True
  )
  for passes in range(DEPTH + 1):
    run = functools.partial(_search, table, config, passes)
    kept = run(_start_with_pool(table, config, ample, False), expand_fn)
    reused = run(_start_with_pool(table, config, size, True), expand_fn)
    np.testing.assert_array_equal(reused.nodes, kept.nodes)
    same = reused.tree.replace(
      pools=kept.tree.pools, **{x: getattr(kept.tree, x) for x in NO_REUSE}
    )
    jax.tree.map(np.testing.assert_array_equal, same, kept.tree)
    _held_states_are_in_the_pool(reused)
    assert np.all(reused.tree.pool_peak <= size)
    # What is open can go on: all that it follows is held.
    for row in range(ROWS):
      for node in reused.nodes[row]:
        while node > 0 and reused.tree.open_mask[row, node]:
          assert reused.tree.held_mask[row, node]
          node = reused.tree.parents[row, node]
  # All that was open has been expanded: nothing is held any more.
  if config is BEAM:
    assert np.all(reused.tree.pool_used == 0)
    assert np.all(kept.tree.pool_used > size / 2)


def test_a_pool_of_the_slots_it_needs_is_enough_and_one_less_is_not():
  # Odd states score higher, and first children are odd: four chains that have
  # nothing in common, of which each drags one sibling a pass along.
  table = table_lib.make_table(0, ROWS, BRANCHING, DEPTH, 0, 0, 0.0)
  odd = np.arange(table.values.shape[1]) % 2 == 1
  scores = np.broadcast_to(np.where(odd, 0.75, 0.25), table.values.shape)
  table = table.replace(thought_rewards=scores.astype(np.float32))
  size, expand_fn = pool_lib.frontier_slots(4, 2, DEPTH, 1, True), _with_pool(2)
  assert size == 4 * (DEPTH - 1) + 8
  enough = _start_with_pool(table, BEAM, size, True)
  enough = _search(table, BEAM, DEPTH, enough, expand_fn)
  assert enough.tree.depth.max() == DEPTH
  np.testing.assert_array_equal(enough.tree.pool_peak, size)
  less = _start_with_pool(table, BEAM, size - 1, True)
  less = _search(table, BEAM, DEPTH, less, expand_fn)
  # Its last pass is not begun; its frontier waits, open and held.
  assert less.tree.depth.max() == DEPTH - 1
  assert less.tree.next_node[0] == BEAM.capacity(DEPTH - 1)
  np.testing.assert_array_equal(
    less.nodes, _search(table, BEAM, DEPTH - 1).nodes
  )
  rows = np.arange(ROWS)[:, None]
  assert np.all(less.tree.open_mask[rows, less.nodes])
  assert np.all(less.tree.held_mask[rows, less.nodes])
  np.testing.assert_array_equal(less.tree.pool_used, 4 * (DEPTH - 1))
  _held_states_are_in_the_pool(less)
