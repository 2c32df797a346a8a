"""Policy losses: gradients against exact ones, masks, normalisations."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.rl import losses

_RNG = np.random.default_rng(0)
BEHAVIOR = jnp.asarray(-_RNG.random((3, 4)), jnp.float32)
POLICY = BEHAVIOR + jnp.asarray(_RNG.normal(0, 0.3, (3, 4)), jnp.float32)
REFERENCE = jnp.asarray(-_RNG.random((3, 4)), jnp.float32)
ADVANTAGES = jnp.asarray(_RNG.normal(size=(3, 4)), jnp.float32)
MASK = jnp.arange(4)[None] < jnp.array([4, 1, 2])[:, None]
_CLIPPED = jax.jit(
  losses.clipped_policy_loss,
  static_argnames=("clip_low", "clip_high", "normalization", "constant_length"),
)
CONFIGS = [
  losses.PolicyLossConfig(kl_coefficient=0.1),
  losses.PolicyLossConfig(kl_coefficient=0.1, normalization="sequence"),
  losses.PolicyLossConfig(
    kl_coefficient=0.1,
    kl_sequential=True,
    normalization="constant",
    constant_length=4,
  ),
]


@functools.partial(jax.jit, static_argnums=0)
def _value_and_grad(config, policy, behavior, reference, advantages, mask):
  return jax.value_and_grad(
    lambda p: losses.policy_loss(
      config, p, behavior, reference, advantages, mask
    )[0]
  )(policy)


def test_the_clipped_loss_is_as_worked_by_hand():
  # Ratios 1.5, 1.5, 0.5, 0.5 and 1.1 clipped to [0.8, 1.3]; advantages
  # 1, −1, 1, −1, 2. The lesser of the two is 1.3, −1.5, 0.5, −0.8, 2.2, and the
  # clip acts on the first and on the fourth.
  ratio = jnp.array([[1.5, 1.5, 0.5, 0.5, 1.1]])
  loss, metrics = _CLIPPED(
    jnp.log(ratio) - 1.0,
    jnp.full((1, 5), -1.0),
    jnp.array([[1.0, -1.0, 1.0, -1.0, 2.0]]),
    jnp.ones((1, 5), bool),
    clip_low=0.2,
    clip_high=0.3,
  )
  np.testing.assert_allclose(loss, -1.7 / 5, rtol=1e-5)
  np.testing.assert_allclose(metrics["clip_fraction"], 2 / 5)
  np.testing.assert_allclose(metrics["ratio_mean"], 5.1 / 5, rtol=1e-6)
  entropy = 1.0 - np.mean(np.log(np.asarray(ratio)))
  np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-6)


def test_a_clipped_token_has_no_gradient():
  gradient = jax.grad(
    lambda p: _CLIPPED(
      p, jnp.zeros((1, 2)), jnp.array([[1.0, -1.0]]), jnp.ones((1, 2), bool)
    )[0]
  )(jnp.log(jnp.array([[1.5, 1.5]])))
  # −ρA/2 where the clip does not act; ρ = 1.5 with A < 0 must still come down.
  np.testing.assert_allclose(gradient, [[0.0, 0.75]], rtol=1e-6)


def test_at_ratio_one_the_gradient_is_that_of_reinforce():
  config = losses.PolicyLossConfig()
  _, gradient = _value_and_grad(
    config, POLICY, POLICY, REFERENCE, ADVANTAGES, MASK
  )
  reinforce = jax.grad(
    lambda p: -jnp.sum(jnp.where(MASK, p * ADVANTAGES, 0.0)) / 7
  )(POLICY)
  np.testing.assert_allclose(gradient, reinforce, rtol=1e-6)


@pytest.mark.parametrize(
  ("normalization", "expected"),
  [
    # Rows of four, one and two tokens, each costing 4, 1 and 2 in turn.
    ("token", (16 + 1 + 4) / 7),
    ("sequence", (4 + 1 + 2) / 3),
    ("constant", (16 + 1 + 4) / 10 / 3),
  ],
)
def test_normalizations_are_as_worked_by_hand(normalization, expected):
  cost = jnp.broadcast_to(jnp.array([4.0, 1.0, 2.0])[:, None], (3, 4))
  loss, _ = _CLIPPED(
    POLICY,
    POLICY,
    -cost,
    MASK,
    normalization=normalization,
    constant_length=10,
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.normalization)
def test_nothing_under_the_mask_reaches_value_or_gradient(config):
  clean = [POLICY, BEHAVIOR, REFERENCE, ADVANTAGES]
  value, gradient = _value_and_grad(config, *clean, MASK)
  for garbage in (jnp.nan, 1000.0):
    dirty = [jnp.where(MASK, x, garbage) for x in clean]
    dirty_value, dirty_gradient = _value_and_grad(config, *dirty, MASK)
    np.testing.assert_array_equal(dirty_value, value)
    np.testing.assert_array_equal(dirty_gradient, gradient)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.normalization)
def test_padded_rows_and_positions_change_nothing(config):
  arrays = [POLICY, BEHAVIOR, REFERENCE, ADVANTAGES, MASK]
  value, gradient = _value_and_grad(config, *arrays)
  padded = [jnp.pad(x, ((0, 1), (0, 2))) for x in arrays]
  padded_value, padded_gradient = _value_and_grad(config, *padded)
  np.testing.assert_allclose(padded_value, value, rtol=1e-6)
  np.testing.assert_allclose(padded_gradient[:3, :4], gradient, rtol=1e-6)
  grouped = [x[None] for x in arrays]
  grouped_value, _ = _value_and_grad(config, *grouped)
  np.testing.assert_allclose(grouped_value, value, rtol=1e-6)


def test_an_empty_batch_costs_nothing():
  value, gradient = _value_and_grad(
    CONFIGS[1], POLICY, BEHAVIOR, REFERENCE, ADVANTAGES, jnp.zeros_like(MASK)
  )
  assert value == 0.0
  np.testing.assert_array_equal(gradient, np.zeros((3, 4)))


def test_advantages_are_data_and_carry_no_gradient():
  gradient = jax.grad(lambda a: _CLIPPED(POLICY, BEHAVIOR, a, MASK)[0])(
    ADVANTAGES
  )
  np.testing.assert_array_equal(gradient, np.zeros((3, 4)))


_KL = jax.jit(losses.kl_to_reference)

# A tabular policy over completions of two tokens: its first token, then the
# second given the first. All completions can be listed, so means are exact.
V = 3
COMPLETIONS = jnp.array(list(itertools.product(range(V), repeat=2)))
TABLES = [
  (
    jnp.asarray(_RNG.normal(size=V), jnp.float32),
    jnp.asarray(_RNG.normal(size=(V, V)), jnp.float32),
  )
  for _ in range(3)
]


def _logprobs(table):
  """Returns [V², 2]: the log-probability of each token of each completion."""
  first, second = (jax.nn.log_softmax(logits) for logits in table)
  return jnp.stack(
    [first[COMPLETIONS[:, 0]], second[COMPLETIONS[:, 0], COMPLETIONS[:, 1]]], -1
  )


def _exact_kl(table, reference):
  """KL of whole completions, by summing over all of them."""
  policy = jnp.sum(_logprobs(table), -1)
  difference = policy - jnp.sum(_logprobs(reference), -1)
  return jnp.sum(jnp.exp(policy) * difference)


def _mean_kl(table, behavior, reference, sequential, positions):
  """The estimator's mean over samples of `behavior`."""
  weights = jnp.exp(jnp.sum(_logprobs(behavior), -1))
  mask = jnp.broadcast_to(jnp.arange(2)[None] < positions, (V * V, 2))
  estimate = losses.kl_to_reference(
    _logprobs(table),
    _logprobs(behavior),
    _logprobs(reference),
    mask,
    sequential=sequential,
  )
  return jnp.sum(jax.lax.stop_gradient(weights)[:, None] * estimate)


_MEAN_KL = jax.jit(jax.value_and_grad(_mean_kl), static_argnums=(3, 4))


def _assert_tables_close(actual, expected):
  for x, y in zip(actual, expected, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-5)


def test_sequential_kl_has_the_exact_value_and_gradient_on_policy():
  table, reference, _ = TABLES
  value, gradient = _MEAN_KL(table, table, reference, True, 2)
  exact, exact_gradient = jax.jit(jax.value_and_grad(_exact_kl))(
    table, reference
  )
  np.testing.assert_allclose(value, exact, rtol=1e-5)
  _assert_tables_close(gradient, exact_gradient)


@pytest.mark.parametrize("sequential", [True, False])
def test_kl_of_one_token_is_exact_off_policy_too(sequential):
  table, reference, behavior = TABLES

  def exact_kl(table):
    policy = jax.nn.log_softmax(table[0])
    difference = policy - jax.nn.log_softmax(reference[0])
    return jnp.sum(jnp.exp(policy) * difference)

  value, gradient = _MEAN_KL(table, behavior, reference, sequential, 1)
  exact, exact_gradient = jax.jit(jax.value_and_grad(exact_kl))(table)
  np.testing.assert_allclose(value, exact, rtol=1e-5)
  _assert_tables_close(gradient, exact_gradient)


def test_kl_per_token_is_the_gradient_with_prefixes_held_fixed():
  table, reference, _ = TABLES

  def fixed_prefix_kl(table):
    first, second = (jax.nn.log_softmax(logits) for logits in table)
    kl = jnp.exp(first) @ (first - jax.nn.log_softmax(reference[0]))
    later = jnp.sum(
      jnp.exp(second) * (second - jax.nn.log_softmax(reference[1])), -1
    )
    return kl + jax.lax.stop_gradient(jnp.exp(first)) @ later

  _, gradient = _MEAN_KL(table, table, reference, False, 2)
  _assert_tables_close(gradient, jax.jit(jax.grad(fixed_prefix_kl))(table))


def test_kl_is_never_negative_and_zero_at_the_reference():
  kl = _KL(POLICY, BEHAVIOR, REFERENCE, MASK)
  assert np.all(np.asarray(kl) >= 0)
  assert np.all(np.asarray(kl)[~np.asarray(MASK)] == 0)
  kl = _KL(POLICY, BEHAVIOR, POLICY, MASK)
  np.testing.assert_array_equal(kl, np.zeros((3, 4)))


def test_the_kl_penalty_is_added_with_its_weight():
  def loss(coefficient):
    return losses.policy_loss(
      losses.PolicyLossConfig(kl_coefficient=coefficient),
      POLICY,
      BEHAVIOR,
      REFERENCE,
      ADVANTAGES,
      MASK,
    )

  plain, metrics = loss(0.0)
  weighted, _ = loss(0.5)
  assert metrics["kl"] > 0
  np.testing.assert_allclose(weighted, plain + 0.5 * metrics["kl"], rtol=1e-5)


def test_supervised_loss_is_the_mean_over_the_masked_tokens():
  logprobs = jnp.array([[-1.0, -2.0, jnp.nan], [-6.0, jnp.nan, jnp.nan]])
  mask = jnp.array([[True, True, False], [True, False, False]])
  (loss, metrics), gradient = jax.value_and_grad(
    losses.supervised_loss, has_aux=True
  )(logprobs, mask)
  np.testing.assert_allclose(loss, 3.0)
  np.testing.assert_allclose(metrics["perplexity"], np.exp(3.0), rtol=1e-6)
  np.testing.assert_allclose(gradient, -np.asarray(mask, np.float32) / 3.0)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"normalization": "batch"}, "Unknown normalization 'batch'; use one of"),
    ({"normalization": "constant"}, "set it to the longest completion"),
    ({"clip_low": -0.1}, "must not be negative"),
  ],
)
def test_a_bad_policy_loss_config_is_refused_in_one_sentence(values, message):
  with pytest.raises(ValueError, match=message):
    losses.PolicyLossConfig(**values)
