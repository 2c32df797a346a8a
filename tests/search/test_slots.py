"""No slot of the pool belongs to two live nodes, whatever a search gives back.

Every rule searches random tables whose thoughts are one to three tokens long,
in pools of just the slots that a search of its shape needs.
"""

from __future__ import annotations

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from reasoning_rl.search import frontier
from tests.search import cases
from tests.search import table as table_lib

ROWS, C = 16, 3
NO_LIMIT = np.full(ROWS, 10**6, np.int32)
pytestmark = pytest.mark.usefixtures("quick_compilation")


@functools.cache
def expand_fn(num_candidates):
  """Returns the table's expansion, its thoughts of different lengths."""
  plain = cases.expand_fn(num_candidates)

  def longer(params, rng, tree, leaf):
    children = plain(params, rng, tree, leaf)
    state = children.hidden[..., 0]
    lengths = 1 + state.astype(jnp.int32) % C
    keys = 10 * state[..., None] + jnp.arange(C)[None, None, None]
    repeat = lambda x: jnp.repeat(x, C, axis=-1)
    return children.replace(
      tokens=repeat(children.tokens),
      policy_logprobs=repeat(children.policy_logprobs),
      behavior_logprobs=repeat(children.behavior_logprobs),
      lengths=jnp.where(children.lengths > 0, lengths, 0),
      keys_values=(keys[..., None, :, None],),  # [B, S, A, J, C, K]
    )

  return longer


def pool_size(config):
  size = pool_lib.frontier_slots(
    config.width, config.num_candidates, cases.DEPTH, C, reuse=True
  )
  return size + config.lookahead * config.leaves * config.num_candidates * C


@functools.partial(jax.jit, static_argnums=0)
def plant(config, values):
  root = tree_lib.Root(
    problem_id=jnp.arange(ROWS, dtype=jnp.int32),
    prompt_length=jnp.full(ROWS, 3, jnp.int32),
    hidden=jnp.zeros((ROWS, 1), jnp.float32),
    values=values,
    prompts=(jnp.zeros((ROWS, 1, 1, 1), jnp.float32),),
  )
  capacity = config.capacity(2 * cases.DEPTH)
  tree = tree_lib.plant(root, capacity, C, pool_size(config), reuse=True)
  return frontier.start(tree, config)


@functools.partial(jax.jit, static_argnums=0)
def one_pass(config, table, state, budget):
  fns = expand_fn(config.num_candidates), expand_fn(1)
  return frontier.run(
    table, cases.RNG, state, fns[0], config, 1, budget, fns[1]
  )


def assert_every_slot_has_one_owner(tree):
  """Asserts who owns each slot, and that it holds its owner's token."""
  size = tree.pools[0].shape[1]
  for row in range(ROWS):
    live = np.flatnonzero(tree.held_mask[row])[1:]
    real = np.arange(C)[None] < tree.lengths[row, live][:, None]
    owned = tree.slots[row, live][real]
    assert len(np.unique(owned)) == len(owned) == tree.pool_used[row] <= size
    # The others are on the stack, each of them once.
    free = tree.free_slots[row, tree.pool_used[row] :]
    np.testing.assert_array_equal(
      np.sort(np.concatenate([owned, free])), np.arange(size)
    )
    expected = 10 * tree.hidden[row, live] + np.arange(C)[None]
    held = tree.pools[0][row, owned, 0, 0]
    np.testing.assert_array_equal(held, expected[real])


@pytest.mark.parametrize("name", cases.CONFIGS)
@hypothesis.settings(
  max_examples=6,
  deadline=None,
  derandomize=True,
  database=None,
  phases=[hypothesis.Phase.generate],
)
@hypothesis.given(
  seed=st.integers(0, 10**6),
  terminal=st.floats(0, 0.6),
  stopped=st.floats(0, 0.4),
  repeated=st.floats(0, 1),
  broken=st.floats(0, 0.5),
  budget=st.integers(1, 60),
)
def test_a_slot_belongs_to_one_live_node_after_every_pass(
  name, seed, terminal, stopped, repeated, broken, budget
):
  config = cases.CONFIGS[name]
  table = table_lib.make_table(
    seed, ROWS, cases.BRANCHING, cases.DEPTH, terminal, stopped, repeated
  )
  bad = np.random.default_rng(seed).random(table.values.shape) < broken
  scores = np.where(bad, np.float32(np.nan), table.thought_rewards)
  table = table.replace(thought_rewards=scores)
  limits = np.where(np.arange(ROWS) % 2, budget, NO_LIMIT).astype(np.int32)
  state = plant(config, table.values[:, 0])
  for _ in range(2 * cases.DEPTH):
    state = one_pass(config, table, state, limits)
    host = jax.device_get(state)
    assert_every_slot_has_one_owner(host.tree)
    # What is in the frontier and open can go on: all it follows is held.
    path = host.nodes.copy()
    rows = np.arange(ROWS)[:, None]
    is_open = (path >= 0) & host.tree.open_mask[rows, np.maximum(path, 0)]
    path = np.where(is_open, path, 0)
    while np.any(path > 0):
      assert np.all(host.tree.held_mask[rows, path])
      path = np.maximum(host.tree.parents[rows, path], 0)
    # What is complete is never gone on from.
    expanded = host.tree.children_start >= 0
    assert not np.any(expanded & host.tree.terminal_mask)
    assert not np.any(expanded & ~host.tree.valid_mask)


def test_slots_come_back_to_those_that_follow():
  config = cases.CONFIGS["best"]
  table = table_lib.make_table(1, ROWS, cases.BRANCHING, cases.DEPTH, 0, 0, 0)
  state = plant(config, table.values[:, 0])
  for _ in range(cases.DEPTH):
    state = one_pass(config, table, state, NO_LIMIT)
  tree = jax.device_get(state.tree)
  stored = np.where(tree.valid_mask, tree.lengths, 0).sum(axis=1)
  assert np.all(stored > tree.pool_peak)
