"""Sampling against a NumPy definition, and frequencies against both."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import sampling

SamplingConfig = sampling.SamplingConfig
CONFIGS = [
  SamplingConfig(),
  SamplingConfig(temperature=2.0, top_k=3),
  SamplingConfig(top_p=0.7),
  SamplingConfig(temperature=0.8, top_k=4, top_p=0.6),
  SamplingConfig(temperature=3.0, top_k=99, top_p=0.95),
  sampling.GREEDY,
]
behavior_logits = jax.jit(sampling.behavior_logits, static_argnums=1)
sample = jax.jit(sampling.sample, static_argnums=2)
LOGITS = np.random.default_rng(0).normal(0, 2, (5, 8)).astype(np.float32)


def log_softmax(x):
  return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def reference(logits: np.ndarray, config: SamplingConfig) -> np.ndarray:
  """Returns the probabilities of one row, token by token from the likeliest."""
  order = np.argsort(-logits, kind="stable")
  if config.temperature == 0:
    order, logits = order[:1], np.zeros_like(logits)
  else:
    logits = logits.astype(np.float64) / config.temperature
  if config.top_k:
    order = order[: config.top_k]
  weights = np.exp(logits[order])
  weights /= weights.sum()
  kept, mass = [], 0.0
  for token, weight in zip(order, weights, strict=True):
    if mass < config.top_p:
      kept.append(token)
      mass += weight
  probabilities = np.zeros(len(logits))
  probabilities[kept] = np.exp(logits[kept])
  return probabilities / probabilities.sum()


@pytest.mark.parametrize("config", CONFIGS)
def test_the_behavior_distribution_is_as_defined(config):
  logits = behavior_logits(LOGITS, config)
  expected = [reference(row, config) for row in LOGITS]
  np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-6)
  kept = np.array(expected) > 0
  np.testing.assert_array_equal(logits > sampling.EXCLUDED_LOGIT, kept)


@pytest.mark.parametrize("flat_rows", [0, 1, 3])
def test_the_nucleus_of_a_large_vocabulary_is_as_defined(flat_rows):
  # Of peaked rows a few tokens reach p; of flat ones most of 3,000 have to.
  scale = np.where(np.arange(4) < flat_rows, 0.5, 4.0)[:, None]
  rng = np.random.default_rng(1)
  logits = (scale * rng.normal(size=(4, 3000))).astype(np.float32)
  for config in (
    SamplingConfig(top_p=0.9),
    SamplingConfig(temperature=0.7, top_k=900, top_p=0.95),
  ):
    expected = np.array([reference(row, config) for row in logits])
    size = (expected > 0).sum(axis=1)
    assert (size[:flat_rows] > 700).all() and (size[flat_rows:] < 250).all()
    found = behavior_logits(logits, config)
    np.testing.assert_allclose(jax.nn.softmax(found), expected, atol=1e-6)
    np.testing.assert_array_equal(found > sampling.EXCLUDED_LOGIT, expected > 0)
    # A flat neighbour changes nothing.
    alone = behavior_logits(logits[flat_rows:], config)
    np.testing.assert_array_equal(found[flat_rows:], alone)


def test_the_nucleus_is_as_worked_by_hand():
  # 0.45 alone is short of 0.6; with 0.3 it is reached, in whatever order the
  # tokens stand. A p below the likeliest keeps that one.
  logits = jnp.log(jnp.array([[0.1, 0.45, 0.15, 0.3]]))
  keep = lambda p: behavior_logits(logits, SamplingConfig(top_p=p)) > -1e29
  np.testing.assert_array_equal(keep(0.6), [[False, True, False, True]])
  np.testing.assert_array_equal(keep(0.8), [[False, True, True, True]])
  np.testing.assert_array_equal(keep(0.1), [[False, True, False, False]])


@pytest.mark.parametrize("config", CONFIGS)
def test_tokens_fall_as_often_as_their_log_probabilities_say(config):
  count = 4000
  rngs = jax.random.split(jax.random.key(0), count)
  logits = np.repeat(LOGITS[:1], count, axis=0)
  token, behavior, policy = map(np.asarray, sample(rngs, logits, config))
  expected = reference(LOGITS[0], config)
  np.testing.assert_allclose(np.exp(behavior), expected[token], rtol=1e-4)
  np.testing.assert_allclose(
    policy, log_softmax(LOGITS[0])[token], rtol=1e-4, atol=1e-5
  )
  frequency = np.bincount(token, minlength=8) / count
  error = np.sqrt(expected * (1 - expected) / count)
  assert (np.abs(frequency - expected) <= 4 * error).all()
  assert not frequency[expected == 0].any()
  # One of each token seen: the log-probabilities are those of a distribution.
  _, first = np.unique(token, return_index=True)
  np.testing.assert_allclose(np.exp(behavior[first]).sum(), 1.0, atol=5e-3)


def test_greedy_takes_the_likeliest_whatever_the_key():
  for seed in range(3):
    rngs = jax.random.split(jax.random.key(seed), 5)
    token, behavior, _ = sample(rngs, LOGITS, sampling.GREEDY)
    np.testing.assert_array_equal(token, LOGITS.argmax(axis=-1))
    np.testing.assert_array_equal(behavior, np.zeros(5))


def test_a_row_depends_on_its_own_key_and_logits_alone():
  rngs = jax.random.split(jax.random.key(0), 5)
  one = sample(rngs, LOGITS, SamplingConfig())
  other_rngs = jax.random.split(jax.random.key(1), 5).at[2].set(rngs[2])
  other_logits = np.where(np.arange(5)[:, None] == 2, LOGITS, -LOGITS)
  other = sample(other_rngs, other_logits, SamplingConfig())
  for a, b in zip(one, other, strict=True):
    assert a[2] == b[2]


def test_no_excluded_token_falls_at_the_rounding_of_long_sums():
  # Over 1000 tokens XLA's cumulative sum is not monotone, and rises at
  # tokens of probability 0: draws are put just below each of these.
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 2, 1000).astype(np.float32)
  config = SamplingConfig(top_k=300)
  probabilities = jax.nn.softmax(behavior_logits(logits[None], config))
  cumulative = np.asarray(jax.jit(jnp.cumsum)(probabilities[0]))
  excluded = np.flatnonzero(np.asarray(probabilities[0]) == 0)
  draws = np.nextafter(cumulative[excluded], 0, dtype=np.float32)
  draws = np.append(draws, np.float32([0, np.nextafter(1, 0, dtype="f")]))
  rows = np.repeat(probabilities, len(draws), axis=0)
  token = jax.jit(sampling._invert_cdf)(rows, draws)
  assert (np.asarray(probabilities[0])[token] > 0).all()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(temperature=-0.1), "temperature is -0.1"),
    (dict(top_k=-1), "top_k is -1"),
    (dict(top_p=0.0), "top_p is 0.0"),
    (dict(top_p=1.1), "top_p is 1.1"),
  ],
)
def test_values_that_cannot_work_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    SamplingConfig(**changes)
