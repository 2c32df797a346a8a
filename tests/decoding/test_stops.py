"""Thoughts of several tokens' delimiters in every loop, cut as on the host."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import table_network
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode, distinct, lanes, sampling, stops
from reasoning_rl.decoding import prompts as prompts_lib

SIZE, GROUP, END = 12, 8, 1
NETWORK = table_network.make(6, "language")
PARAMS = NETWORK.init(jax.random.key(0))
PROMPT = jnp.array([[2, 3, 3, 3], [5, 3, 0, 0], [3, 4, 2, 5]])
LENGTH = jnp.array([4, 2, 4])
BOUNDARY = boundaries.Boundary(
  ((3, 3), (3, 4), (3, 5), (2, 5), (4, 4), (5, 2, 4), (5, 5)), 3
)
PAIR = boundaries.Boundary(((3, 3), (4, 2)))
THOUGHT = stops.Stops((END, 0), BOUNDARY, one_thought=True)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(how, rule, size):
  keys_values, hidden = prompts_lib.read_whole(NETWORK, PARAMS, PROMPT, LENGTH)
  context = decode.Context(
    (decode.prompt_segment(keys_values, LENGTH),),
    jnp.repeat(hidden, GROUP, axis=0),
    jnp.repeat(LENGTH, GROUP),
  )
  mask, function = jnp.ones(len(LENGTH) * GROUP, bool), decode.decode
  if how == "lanes":
    mask = mask.reshape(len(LENGTH), GROUP)
    function = functools.partial(lanes.decode, lanes=3)
  elif how == "distinct":
    joint = jnp.array([True, False, True])
    groups = distinct.Groups(joint, GROUP // 2)
    function = functools.partial(decode.decode, groups=groups)
  rngs = decode.row_rngs(jax.random.key(1), jnp.arange(3), GROUP)
  return function(
    NETWORK,
    PARAMS,
    rngs,
    context,
    mask,
    sampling.SamplingConfig(),
    max_tokens=size,
    stops=rule,
  ).replace(keys_values=None)


def run(how, rule, size=SIZE):
  return jax.tree.map(np.asarray, _run(how, rule, size))


def end_of(row, boundary, first=0):
  """Returns where the thought from `first` on ends, by walking over it."""
  for stop in range(first + 1, len(row) + 1):
    thought = tuple(row[first:stop])
    matched = any(thought[-len(p) :] == p for p in boundary.patterns)
    if matched or len(thought) == boundary.every or row[stop - 1] in (END, 0):
      return stop, True
  return len(row), False


def kind_of(thought):
  """Returns what has ended a thought."""
  if thought[-1] in (END, 0):
    return "end"
  last = {tuple(thought[-n:]) for n in (2, 3)}
  return "pattern" if last & {*BOUNDARY.patterns} else "length"


@pytest.fixture(scope="module")
def endless():
  """Rows that nothing ends; the others' are their beginnings.

  Prompts end with what begins a pattern, and no row takes it for one.
  """
  return run("rows", stops.Stops(())).tokens.tolist()


@pytest.mark.parametrize("how", ["rows", "lanes"])
def test_a_row_of_one_thought_ends_with_its_boundary(endless, how):
  out = run(how, THOUGHT)
  kinds = set()
  for row, said in enumerate(endless):
    stop, stopped = end_of(said, BOUNDARY)
    assert out.length[row] == stop and out.stopped_mask[row] == stopped
    assert out.tokens[row, :stop].tolist() == said[:stop]
    assert not out.tokens[row, stop:].any()
    kinds.add(kind_of(said[:stop]))
  assert kinds == {"pattern", "end", "length"}


def test_distinct_thoughts_end_with_their_boundaries():
  out = run("distinct", THOUGHT)
  kinds = set()
  for row, length in enumerate(out.length):
    said = out.tokens[row, :length].tolist()
    assert end_of(said, BOUNDARY) == (length, bool(out.stopped_mask[row]))
    kinds.add(kind_of(said))
  assert {"pattern", "end"} <= kinds


@pytest.mark.parametrize("how", ["rows", "lanes"])
def test_a_thought_that_is_too_long_ends_its_row(endless, how):
  out = run(how, stops.Stops((END, 0), PAIR, max_thought_tokens=4))
  reasons = set()
  for row, said in enumerate(endless):
    first, reason = 0, "tokens"
    while first < len(said):
      stop, ended = end_of(said, PAIR, first)
      if stop - first > 4 or (stop - first == 4 and not ended):
        first, reason = first + 4, "thought"
        break
      first = stop
      if ended and said[stop - 1] in (END, 0):
        reason = "stop"
        break
    reasons.add(reason)
    assert out.length[row] == first
    assert out.stopped_mask[row] == (reason == "stop")
    assert out.tokens[row, :first].tolist() == said[:first]
  assert {"stop", "thought"} <= reasons


def test_thoughts_without_a_boundary_cannot_have_a_limit():
  with pytest.raises(ValueError, match="no boundary"):
    stops.Stops((END,), one_thought=True)
  with pytest.raises(ValueError, match="no boundary"):
    stops.Stops((END,), max_thought_tokens=3)
