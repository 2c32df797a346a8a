"""Losses of the reward models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.prm import losses

LOGITS = jnp.array([[0.0, 2.0, -1.0], [3.0, -2.0, 0.5]])
LABELS = jnp.array([[1.0, 0.25, 0.0], [0.0, 1.0, 0.5]])
MASK = jnp.array([[True, True, False], [True, False, False]])
_THOUGHT = jax.jit(losses.thought_loss)
_OUTCOME = jax.jit(losses.outcome_loss)
LOSSES = (_THOUGHT, jax.jit(losses.value_loss))


def test_thought_loss_is_the_cross_entropy_of_soft_labels():
  p = 1 / (1 + np.exp(-np.array([0.0, 2.0, 3.0])))
  y = np.array([1.0, 0.25, 0.0])
  expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
  loss, metrics = _THOUGHT(LOGITS, LABELS, MASK)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_allclose(metrics["prediction_mean"], p.mean(), rtol=1e-6)
  np.testing.assert_allclose(metrics["label_mean"], 1.25 / 3, rtol=1e-6)


def test_accuracy_is_taken_at_one_half_over_the_mask():
  # Predictions 0.73, 0.27, 0.88 against 1, 1, 0.75: two of three agree.
  _, metrics = _THOUGHT(
    jnp.array([[1.0, -1.0, 2.0, 9.0]]),
    jnp.array([[1.0, 1.0, 0.75, 0.0]]),
    jnp.array([[True, True, True, False]]),
  )
  np.testing.assert_allclose(metrics["accuracy"], 2 / 3, rtol=1e-6)


def test_the_derivative_is_prediction_minus_label():
  derivative = jax.grad(lambda z: _THOUGHT(z, LABELS, MASK)[0])
  expected = np.where(MASK, jax.nn.sigmoid(LOGITS) - LABELS, 0.0) / 3
  np.testing.assert_allclose(derivative(LOGITS), expected, atol=1e-6)


def test_extreme_logits_stay_finite():
  loss, _ = _THOUGHT(
    jnp.array([[200.0, -200.0]]),
    jnp.array([[0.0, 0.0]]),
    jnp.ones((1, 2), bool),
  )
  np.testing.assert_allclose(loss, 100.0, rtol=1e-6)


@pytest.mark.parametrize("loss_fn", LOSSES)
@pytest.mark.parametrize("garbage", [-100.0, np.nan])
def test_nothing_under_the_mask_reaches_value_or_gradient(loss_fn, garbage):
  def both(logits, labels):
    return jax.value_and_grad(lambda z: loss_fn(z, labels, MASK)[0])(logits)

  value, gradient = both(LOGITS, LABELS)
  dirty_value, dirty_gradient = both(
    jnp.where(MASK, LOGITS, garbage), jnp.where(MASK, LABELS, garbage)
  )
  np.testing.assert_array_equal(value, dirty_value)
  np.testing.assert_array_equal(gradient, dirty_gradient)
  assert np.all(np.asarray(gradient)[~np.asarray(MASK)] == 0)


@pytest.mark.parametrize("loss_fn", LOSSES)
def test_a_batch_without_labels_costs_nothing(loss_fn):
  loss, gradient = jax.value_and_grad(
    lambda z: loss_fn(z, LABELS, jnp.zeros_like(MASK))[0]
  )(LOGITS)
  assert loss == 0.0
  np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


def test_value_loss_is_the_mean_squared_error():
  # Errors −1, 1.75 and 3: (1 + 3.0625 + 9) / 3.
  loss, _ = losses.value_loss(LOGITS, LABELS, MASK)
  np.testing.assert_allclose(loss, 13.0625 / 3, rtol=1e-6)


def test_outcome_loss_is_the_thought_loss_of_one_thought_per_row():
  outcome, metrics = _OUTCOME(LOGITS[:, 0], LABELS[:, 0])
  thought, expected = _THOUGHT(
    LOGITS[:, :1], LABELS[:, :1], jnp.ones((2, 1), bool)
  )
  np.testing.assert_array_equal(outcome, thought)
  np.testing.assert_array_equal(metrics["accuracy"], expected["accuracy"])


def test_outcome_loss_leaves_out_rows_that_are_padding():
  loss, _ = _OUTCOME(
    jnp.array([1.0, jnp.nan]),
    jnp.array([1.0, -100.0]),
    jnp.array([True, False]),
  )
  np.testing.assert_allclose(loss, np.log1p(np.exp(-1.0)), rtol=1e-6)
