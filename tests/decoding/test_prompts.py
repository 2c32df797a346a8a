"""What all prompts begin with, read once, against every row read whole."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.data import boundaries
from reasoning_rl.decoding import (
  expand,
  prompts,
  rollouts,
  sampling,
  scoring,
  thinking,
)
from reasoning_rl.models import network as network_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, G, L, SHARED = 4, 2, 6, 5
LENGTH = np.array([9, 7, 6, 8], np.int32)
IDS = jnp.array([4, 0, 7, 2])
PLAIN = sampling.SamplingConfig()
TOLERANCE = dict(rtol=1e-4, atol=1e-4)
HEADS = ("language", "thought", "outcome")


@pytest.fixture(scope="module")
def prompt():
  """Returns prompts of different lengths that begin alike; junk follows."""
  tokens = np.random.default_rng(3).integers(0, 12, (B, 9)).astype(np.int32)
  tokens[:, :SHARED] = tokens[0, :SHARED]
  return tokens


@pytest.fixture(scope="module")
def completion():
  tokens = np.random.default_rng(4).integers(0, 12, (B, G, L))
  return tokens.astype(np.int32)


@pytest.fixture(scope="module", params=["learned", "sliding", "adapters"])
def model(request, make_tiny):
  """Returns a network of either kind of position, or with adapters."""
  if request.param != "adapters":
    return make_tiny(request.param, HEADS, 0)
  plain = make_tiny("rope", HEADS, 0)
  config = dataclasses.replace(plain.network.config, lora_rank=2)
  network = network_lib.Network(config)
  params = network.complete(jax.random.key(0), plain.params)
  rng = np.random.default_rng(0)
  fill = lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), jnp.float32)
  is_adapter = lambda path: "lora" in jax.tree_util.keystr(path)
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: fill(x) if is_adapter(path) else x, params
  )
  return dataclasses.replace(plain, network=network, params=params)


def joined(prompt, completion):
  """Returns each prompt and its first completion in one row."""
  rows = np.zeros((B, 9 + L), np.int32)
  for row, at in enumerate(LENGTH):
    rows[row, :at] = prompt[row, :at]
    rows[row, at : at + L] = completion[row, 0]
  return rows


def same(actual, expected, scale=1.0):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * scale),
    actual,
    expected,
  )


def test_a_prompt_in_two_pieces_is_the_prompt(model, prompt):
  read = jax.jit(prompts.read_whole, static_argnums=(0, 4))
  actual, last = read(model.network, model.params, prompt, LENGTH, SHARED)
  hidden, expected = model.network.apply(model.params, prompt)
  same(actual, expected)
  same(last, hidden[np.arange(B), LENGTH - 1])
  (own, one), _ = prompts.read(
    model.network, model.params, prompt, LENGTH, SHARED
  )
  assert own.keys_values.k[0].shape[:3] == (B, 1, 9 - SHARED)
  assert one.keys_values.k[0].shape[:3] == (1, 1, SHARED)


def measures(prompt, completion):
  """Returns what learners read, as functions of (network, params, shared)."""
  rows = joined(prompt, completion)
  end = np.array([[9, 11, 14], [8, 0, 0], [6, 9, 0], [10, 12, 13]], np.int32)
  within = (
    np.array([[0, 3, 5], [2, 4, 0]], np.int32) + 0 * LENGTH[:, None, None]
  )
  length = np.array([6, 3], np.int32) + 0 * LENGTH[:, None]
  # What the shared tokens are given is nobody's business.
  own = (np.arange(rows.shape[1]) >= SHARED)[None]
  of_group = prompt, LENGTH, completion
  return {
    "policy": lambda n, p, s: scoring.completion_logprobs(
      n, p, *of_group, sampling.SamplingConfig(0.7), s
    ),
    "imitation": lambda n, p, s: (
      scoring.supervised_logprobs(n, p, rows, s) * own
    ),
    "PRM": lambda n, p, s: (
      scoring.thought_logits(n, p, rows, LENGTH, end, s) * (end > 0)
    ),
    "ORM": lambda n, p, s: scoring.outcome_logits(
      n, p, rows, LENGTH, LENGTH + L, s
    ),
    "PRM of groups": lambda n, p, s: scoring.completion_thought_logits(
      n, p, *of_group, within, s
    ),
    "ORM of groups": lambda n, p, s: scoring.completion_outcome_logits(
      n, p, *of_group, length, s
    ),
  }


KINDS = tuple(
  measures(np.zeros((B, 9), np.int32), np.zeros((B, G, L), np.int32))
)


def compare(measure, network, params):
  """Compares values and gradients with and without sharing."""

  @functools.partial(jax.jit, static_argnums=1)
  def both(params, shared):
    def total(params):
      found = measure(network, params, shared)
      # Every number counts, and each another way.
      weighted = jax.tree.map(
        lambda x: jnp.sum(x * jnp.sin(jnp.arange(x.size)).reshape(x.shape)),
        found,
      )
      return sum(jax.tree.leaves(weighted)), found

    gradient, found = jax.grad(total, has_aux=True)(params)
    return found, gradient

  actual, gradient = both(params, SHARED)
  expected, expected_gradient = both(params, 0)
  same(actual, expected)
  scale = max(np.abs(x).max() for x in jax.tree.leaves(expected_gradient))
  assert scale > 0.01
  same(gradient, expected_gradient, scale)


@pytest.mark.parametrize("kind", KINDS)
def test_learners_get_the_numbers_and_gradients_of_whole_rows(
  model, prompt, completion, kind
):
  compare(measures(prompt, completion)[kind], model.network, model.params)


def test_an_implicit_prm_gets_the_numbers_of_whole_rows(
  make_tiny, prompt, completion
):
  tiny = make_tiny("learned", ("language", "implicit"), 1)
  for kind in ("PRM", "PRM of groups"):
    compare(measures(prompt, completion)[kind], tiny.network, tiny.params)


CONFIG = rollouts.RolloutConfig(
  num_rollouts=3,
  max_tokens=7,
  max_thought_tokens=5,
  boundary=boundaries.single(3),
  end_ids=(1,),
  sampling=sampling.SamplingConfig(temperature=1.3),
)
THINKING = thinking.ThinkingConfig(
  end_ids=(2, 5), wait_ids=(), min_tokens=0, max_tokens=3, max_waits=0
)


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _from_prompts(network, config, params, prompt, shared):
  rng = jax.random.key(0)
  rows = prompt, LENGTH, IDS
  return rollouts.from_prompts(network, params, rng, *rows, config, shared)


@pytest.mark.parametrize("thinks", [None, THINKING])
def test_the_same_solutions_are_sampled(model, prompt, thinks):
  config = dataclasses.replace(CONFIG, thinking=thinks)
  params = model.network.for_sampling(model.params)
  actual, expected = (
    _from_prompts(model.network, config, params, prompt, shared)
    for shared in (SHARED, 0)
  )
  np.testing.assert_array_equal(actual.tokens, expected.tokens)
  np.testing.assert_array_equal(actual.length, expected.length)
  real = np.arange(7)[None] < np.asarray(actual.length)[:, None]
  for name in ("policy_logprobs", "behavior_logprobs"):
    x, y = (np.asarray(getattr(o, name)) for o in (actual, expected))
    np.testing.assert_allclose(x[real], y[real], **TOLERANCE)
  assert len({tuple(t) for t in np.asarray(actual.tokens)}) > 8


def test_the_same_completions_of_prefixes_are_sampled(
  model, prompt, completion
):
  end = np.array([[9, 11, 13], [8, 0, 0], [7, 9, 0], [10, 12, 0]], np.int32)
  rows = joined(prompt, completion), end, end > 0, IDS
  call = jax.jit(rollouts.from_thoughts, static_argnums=(0, 7, 8))
  actual, expected = (
    call(model.network, model.params, jax.random.key(1), *rows, CONFIG, shared)
    for shared in (SHARED, 0)
  )
  np.testing.assert_array_equal(actual.tokens, expected.tokens)
  np.testing.assert_allclose(
    actual.policy_logprobs, expected.policy_logprobs, **TOLERANCE
  )
  assert np.asarray(actual.length).sum() > 30


@pytest.mark.parametrize("heads", [("thought",), ("language", "implicit")])
def test_a_search_starts_from_the_same_root(model, make_tiny, prompt, heads):
  prm = make_tiny("learned", heads, 1)
  params = expand.SearchParams(model.params, prm.params)
  root = jax.jit(expand.make_root, static_argnums=(0, 1, 6))
  actual, expected = (
    root(model.network, prm.network, params, prompt, LENGTH, IDS, shared)
    for shared in (SHARED, 0)
  )
  same(actual, expected)
