"""The peers of the engine say what the engine says, where numbers are exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import fixed_thoughts, search_peers, table_network
from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand, rollouts, sampling
from reasoning_rl.search import frontier

VOCAB, THOUGHT_END, END = 7, 1, 2
C, T, WIDTH, CANDIDATES = 4, 3, 2, 3
ROWS = WIDTH * CANDIDATES
BOUNDARY = boundaries.single(THOUGHT_END)
RNG = jax.random.key(3)
HOW = sampling.SamplingConfig(temperature=1.3)
IDS = jnp.array([5, 1, 9, 2])
LENGTHS = jnp.array([4, 8, 12, 8])


@pytest.fixture(scope="module")
def network():
  table = table_network.make(VOCAB, "language", "thought")
  return fixed_thoughts.wrap(table, C, THOUGHT_END, END)


@pytest.fixture(scope="module")
def params(network):
  return network.init(jax.random.key(0))


@pytest.fixture(scope="module")
def prompt():
  return jax.random.randint(jax.random.key(1), (len(IDS), 12), 0, VOCAB)


@pytest.fixture(scope="module")
def root(network, params, prompt):
  return expand.make_root(
    network, None, expand.SearchParams(params), prompt, LENGTHS, IDS
  )


@pytest.fixture(scope="module")
def beams(network, params, root):
  """The rows of the engine's beam search before its last selection."""
  config = expand.ExpandConfig(
    CANDIDATES, T, C, BOUNDARY, (END,), HOW, "independent"
  )
  rule = frontier.FrontierConfig(WIDTH, CANDIDATES)
  tree = tree_lib.plant(root, rule.capacity(T), C, rule.capacity(T) * C)
  state = frontier.run(
    expand.SearchParams(params),
    RNG,
    frontier.start(tree, rule),
    expand.make_expand_fn(network, None, config),
    rule,
    T,
  )
  tree = state.tree
  last = jnp.arange(1 + (T - 1) * ROWS, 1 + T * ROWS)
  last = jnp.broadcast_to(last, (len(IDS), ROWS))
  path = tree_lib.ancestors(tree, last, T)
  assert np.all(path >= 0)
  tokens = tree_lib.at_nodes(tree.tokens, path.reshape(len(IDS), -1))
  return np.asarray(tokens.reshape(-1, T * C))


def test_rows_that_never_meet_say_what_rollouts_say(
  network, params, prompt, root
):
  config = rollouts.RolloutConfig(ROWS, T * C, T * C, BOUNDARY, (END,), HOW)
  expected = rollouts.from_prompts(
    network, params, RNG, prompt, LENGTHS, IDS, config
  )
  rows = search_peers.sample_rows(network, params, RNG, root, ROWS, T * C, HOW)
  assert np.all(expected.length == T * C)
  np.testing.assert_array_equal(rows, expected.tokens)


@pytest.mark.parametrize("every_position", [True, False])
def test_beams_that_gather_caches_say_what_the_engine_says(
  network, params, root, beams, every_position
):
  rows = search_peers.search_beams(
    network, params, RNG, root, WIDTH, CANDIDATES, C, T, HOW, every_position
  )
  np.testing.assert_array_equal(rows, beams)


def test_the_beams_compared_were_really_selected(beams):
  first = beams.reshape(len(IDS), ROWS, T * C)[:, :, :C]
  kept = [len(np.unique(rows, axis=0)) for rows in first]
  assert max(kept) <= WIDTH
  # And what was kept was continued differently.
  assert len(np.unique(beams, axis=0)) > len(IDS) * WIDTH


def test_thoughts_have_one_length(beams):
  is_end = beams.reshape(-1, T, C) == THOUGHT_END
  assert np.all(is_end[..., -1]) and not np.any(is_end[..., :-1])
  assert not np.any(beams == END)
