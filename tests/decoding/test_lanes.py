"""Rows that take turns in lanes against the loop that runs them all at once."""

from __future__ import annotations

import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import table_network
from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode, expand, lanes, sampling, stops
from reasoning_rl.decoding import prompts as prompts_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.search import frontier

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, M, C, END, THOUGHT_END = 4, 9, 8, 1, 3
IDS = np.array([4, 0, 7, 2])
BOUNDARY = boundaries.single(THOUGHT_END)
BOTH = dict(stops=stops.Stops((END,), BOUNDARY, one_thought=True))
LIMITED = dict(stops=stops.Stops((END,), BOUNDARY, max_thought_tokens=4))
ENDLESS = dict(stops=stops.Stops(()))
SAMPLED = sampling.SamplingConfig(temperature=1.2, top_k=9)
TOLERANCE = dict(rtol=1e-4, atol=1e-4)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(network, count, queues, limits, params, prompts, ids, leaves, mask):
  tokens, lengths = prompts
  each = mask.shape[1]
  keys_values, hidden = prompts_lib.read_whole(network, params, tokens, lengths)
  of_keys = jnp.repeat(lengths, len(leaves[1]) // len(lengths))[:, None]
  before = attention_lib.Segment(
    leaves[0], leaves[1][:, None, None], of_keys + jnp.arange(M)[None]
  )
  position = jnp.repeat(leaves[1].sum(axis=1), mask.size // len(leaves[1]))
  context = decode.Context(
    (decode.prompt_segment(keys_values, lengths), before),
    jnp.repeat(hidden, each, axis=0),
    jnp.repeat(lengths, each) + position,
  )
  rngs = decode.row_rngs(jax.random.key(0), ids, each)
  limits = {"max_tokens": C} | dict(limits)
  if not count:
    mask, function = mask.reshape(-1), decode.decode
  else:
    mask = mask.reshape(queues, -1)
    function = functools.partial(lanes.decode, lanes=count)
  return function(network, params, rngs, context, mask, SAMPLED, **limits)


def make_leaves(network, count, seed=0):
  """Returns made-up ancestors of `count` leaves, of different lengths."""
  config, rng = network.config, np.random.default_rng(seed)
  shape = (count, config.num_kv_heads, M, config.head_size)
  layers = range(config.num_layers)
  # Integers, which the table network sums.
  number = lambda: rng.integers(-2, 3, shape).astype(np.float32)
  part = lambda: tuple(number() for _ in layers)
  sizes = rng.integers(0, M + 1, count)
  keys_values = attention_lib.KeysValues(part(), part())
  return keys_values, np.arange(M)[None] < sizes[:, None]


def run(
  tiny, prompts, each, count=0, queues=B, limits=BOTH, leaves=4, mask=None
):
  """Decodes `each` rows per problem; plainly with a `count` of 0 lanes."""
  if mask is None:
    mask = np.ones((len(prompts[1]), each), bool)
  if isinstance(leaves, int):
    leaves = make_leaves(tiny.network, len(prompts[1]) * leaves)
  limits = tuple(limits.items())
  ids = IDS[: len(prompts[1])]
  out = _run(
    tiny.network,
    count,
    queues,
    limits,
    tiny.params,
    prompts,
    ids,
    leaves,
    mask,
  )
  return jax.tree.map(np.asarray, out)


def check_equal(out, expected, rows=slice(None)):
  for name in ("tokens", "length", "spent", "stopped_mask"):
    np.testing.assert_array_equal(
      getattr(out, name)[rows], getattr(expected, name)[rows]
    )
  said = expected.length[rows, None] > np.arange(out.tokens.shape[1])[None]
  real = lambda x: np.where(said[:, None, :, None], x[rows], 0.0)
  close = functools.partial(np.testing.assert_allclose, **TOLERANCE)
  for name in ("policy_logprobs", "behavior_logprobs", "hidden"):
    close(getattr(out, name)[rows], getattr(expected, name)[rows])
  jax.tree.map(
    lambda x, y: close(real(x), real(y)), out.keys_values, expected.keys_values
  )


def simulated_steps(lengths, count):
  """Returns when the last of some rows ends, each in the lane free first."""
  free_at = [0] * count
  for length in lengths:
    heapq.heappush(free_at, heapq.heappop(free_at) + int(length))
  return max(free_at)


def simulated_rows(lengths, count):
  """Returns how many rows are computed; each row of `lengths` is a queue."""
  steps = max(simulated_steps(queue, count) for queue in lengths)
  return steps * count * len(lengths)


def test_the_simulation_on_lengths_worked_by_hand():
  # Lane 1: 5; lane 2: 1, 2, then 4 from step 3 to 7.
  assert simulated_steps([5, 1, 2, 4], 2) == 7
  # The other queue needs 2 steps and idles for 5: 2 queues · 2 lanes · 7.
  assert simulated_rows([[5, 1, 2, 4], [1, 1, 1, 1]], 2) == 28


@pytest.mark.parametrize(
  "kind, leaves, candidates, count, queues, limits",
  [
    ("learned", 4, 4, 3, B, BOTH),
    ("rope", 4, 4, 7, 1, BOTH),
    ("learned", 2, 3, 1, B, LIMITED),
    ("rope", 1, 4, 2, B, BOTH),
    ("sliding", 2, 3, 5, 1, BOTH),
    pytest.param("learned", 1, 4, 9, 1, LIMITED, marks=pytest.mark.slow),
    pytest.param("learned", 3, 1, 2, 2, BOTH, marks=pytest.mark.slow),
    pytest.param("rope", 2, 2, 4, B, BOTH, marks=pytest.mark.slow),
    pytest.param("learned", 4, 1, 1, 1, BOTH, marks=pytest.mark.slow),
    pytest.param("sliding", 4, 4, 3, B, BOTH, marks=pytest.mark.slow),
  ],
)
def test_lanes_change_nothing(
  make_tiny, prompts, kind, leaves, candidates, count, queues, limits
):
  tiny = make_tiny(kind, ("language", "thought", "outcome"), 0)
  each = leaves * candidates
  absent = np.random.default_rng(3).random((B, leaves)) < 0.2
  absent[1] = leaves > 1
  mask = ~np.repeat(absent, candidates, axis=1)
  case = dict(leaves=leaves, limits=limits, mask=mask)
  expected = run(tiny, prompts, each, **case)
  out = run(tiny, prompts, each, count, queues, **case)
  check_equal(out, expected)
  assert not out.length[~mask.reshape(-1)].any()
  assert len(set(out.length)) > 2
  lengths = [
    [n for n in queue if n] for queue in out.length.reshape(queues, -1)
  ]
  assert out.decoded_rows.sum() == simulated_rows(lengths, count)


class Table:
  """A table network and its parameters, as a `Tiny` has them."""

  network = table_network.make(12, "language")
  params = network.init(jax.random.key(5))


@pytest.mark.parametrize("queues", [1, B])
def test_occupancy_is_that_of_the_simulated_queue(prompts, queues):
  each = 24
  plain = run(Table, prompts, each)
  out = run(Table, prompts, each, 2 * B // queues, queues)
  # Integers: equal to the last bit.
  np.testing.assert_array_equal(out.tokens, plain.tokens)
  np.testing.assert_array_equal(out.policy_logprobs, plain.policy_logprobs)
  assert plain.length.std() / plain.length.mean() >= 0.5
  lengths = plain.length.reshape(queues, -1)
  computed = simulated_rows(lengths, 2 * B // queues)
  assert out.decoded_rows.sum() == computed
  assert plain.decoded_rows.sum() == plain.length.max() * each * B
  occupancy = lambda x: x.spent.sum() / x.decoded_rows.sum()
  assert occupancy(out) > 1.3 * occupancy(plain)
  # What idle lanes cost is spread over all problems.
  by_queue = out.decoded_rows.reshape(queues, -1).sum(axis=1)
  np.testing.assert_array_equal(by_queue, computed // queues)


@pytest.mark.parametrize("queues", [1, B])
def test_rows_that_nothing_ends_fill_the_lanes(tiny, prompts, queues):
  expected = run(tiny, prompts, 7, limits=ENDLESS, leaves=1)
  out = run(tiny, prompts, 7, 3, queues, ENDLESS, leaves=1)
  check_equal(out, expected)
  np.testing.assert_array_equal(out.length, C)
  rounds = -(-7 * B // queues // 3)
  assert out.decoded_rows.sum() == rounds * C * 3 * queues


def test_rows_of_one_token(tiny, prompts):
  limits = BOTH | dict(max_tokens=1)
  expected = run(tiny, prompts, 8, limits=limits)
  out = run(tiny, prompts, 8, 3, limits=limits)
  check_equal(out, expected)
  np.testing.assert_array_equal(out.length, 1)
  assert out.decoded_rows.sum() == 3 * 3 * B
  assert len(set(out.tokens[:, 0])) > 3


@pytest.mark.parametrize("queues", [1, B])
def test_without_any_leaf_nothing_is_decoded(tiny, prompts, queues):
  mask = np.zeros((B, 16), bool)
  out = run(tiny, prompts, 16, 3, queues, mask=mask)
  expected = run(tiny, prompts, 16, mask=mask)
  check_equal(out, expected)
  assert not out.decoded_rows.any() and not out.tokens.any()


@pytest.mark.parametrize("queues", [1, B])
def test_rows_do_not_depend_on_their_neighbours(tiny, prompts, queues):
  leaves = make_leaves(tiny.network, 4 * B)
  expected = run(tiny, prompts, 16, 3, queues, leaves=leaves)
  tokens, lengths = prompts
  others = np.arange(B) != 2
  changed = (
    np.where(others[:, None], (tokens + 1) % 12, tokens),
    np.where(others, 4, lengths).astype(np.int32),
  )
  mask = np.arange(16 * B).reshape(B, 16) % 3 != 1
  mask[2] = True
  # A leaf of another problem, and one of its own: no lane may remember them.
  broken = leaves[1].copy()
  broken[[1, 8]] = True
  spoil = lambda x: np.where(np.isin(np.arange(16), [1, 8]), np.nan, x.T).T
  leaves = jax.tree.map(spoil, leaves[0]), broken
  out = run(tiny, changed, 16, 3, queues, leaves=leaves, mask=mask)
  check_equal(out, expected, slice(36, 48))
  assert np.isnan(out.policy_logprobs[32:36]).any()
  assert (out.tokens[:32] != expected.tokens[:32]).any()


def search(tiny, prompts, count):
  config = expand.ExpandConfig(
    2, 3, 6, BOUNDARY, (END,), draw="merged", lanes=count
  )
  rule = frontier.FrontierConfig(width=3, num_candidates=2)

  @jax.jit
  def grow(params, tokens, lengths):
    root = expand.make_root(
      tiny.network, None, params, tokens, lengths, jnp.asarray(IDS)
    )
    nodes = rule.capacity(3)
    tree = tree_lib.plant(root, nodes, 6, nodes * 6)
    expand_fn = expand.make_expand_fn(tiny.network, None, config)
    state, rng = frontier.start(tree, rule), jax.random.key(1)
    return frontier.run(params, rng, state, expand_fn, rule, 3).tree

  tree = grow(expand.SearchParams(tiny.params), *prompts)
  return jax.tree.map(np.asarray, tree)


@pytest.mark.parametrize("short", [0, 96])
def test_a_search_grows_the_same_tree(tiny, prompts, monkeypatch, short):
  monkeypatch.setattr(expand, "_SHORT_PROMPT", short)
  expected, out = search(tiny, prompts, 0), search(tiny, prompts, 2)
  assert (expected.depth == 3).any()

  def check(x, y):
    if np.issubdtype(x.dtype, np.floating):
      np.testing.assert_allclose(x, y, **TOLERANCE)
    else:
      np.testing.assert_array_equal(x, y)

  jax.tree.map(check, out, expected)


def test_a_negative_number_of_lanes_is_refused():
  with pytest.raises(ValueError, match="lanes is -1; use 0"):
    expand.ExpandConfig(2, 3, 6, BOUNDARY, (END,), lanes=-1)


@pytest.mark.parametrize("queues", [1, B])
def test_the_loop_copies_neither_caches_nor_log(tiny, prompts, queues):
  """A token is written in place: copying would cost O(length) at each one."""
  config, count, each = tiny.network.config, 12 // queues, 16
  leaves = make_leaves(tiny.network, 4 * B)
  mask = np.ones((B, each), bool)
  text = (
    _run.lower(
      tiny.network,
      count,
      queues,
      tuple(BOTH.items()),
      tiny.params,
      prompts,
      IDS,
      leaves,
      mask,
    )
    .compile()
    .as_text()
  )
  heads, size = config.num_kv_heads, config.head_size
  # With one queue the prompt stands in a lane's cache as well.
  before = M + (prompts[0].shape[1] if queues == 1 else 0)
  steps = (B * each // queues - 1) * C // count + C
  shapes = f"f32[12,{heads},{before + C},{size}]", f"f32[{steps},12,{heads}"
  loops = [x for x in text.split("\n\n") if not x.startswith("ENTRY")]
  for shape in shapes:
    lines = [x for loop in loops for x in loop.splitlines() if shape in x]
    assert any(" dynamic-update-slice(" in x for x in lines)
    assert not [x for x in lines if " copy(" in x]
