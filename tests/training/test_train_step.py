"""Tests of reasoning_rl.training.train_step, on linear regression."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

_RULES = ((".*", PartitionSpec()),)
_RNG = jax.random.key(0)


def _mesh():
  return sharding_lib.make_mesh(devices=jax.devices()[:1])


def _params():
  return {
    "linear": {"bias": jnp.zeros((1, 1)), "kernel": jnp.asarray([[1.0], [2.0]])}
  }


def _loss(params, batch, rng):
  """Squared error; the noise shows which random key the step was given."""
  linear = params["linear"]
  error = batch["x"] @ linear["kernel"] + linear["bias"] - batch["y"]
  return jnp.mean(error**2), {"noise": jax.random.uniform(rng)}


def _batch(scale=1.0):
  return {"x": scale * np.eye(2, dtype=np.float32), "y": np.zeros((2, 1))}


def _build(
  loss_fn=_loss,
  trainable=None,
  make=train_step_lib.make_train_step,
  optimizer=None,
  params=None,
):
  config = optimizer_lib.OptimizerConfig(
    learning_rate=0.1,
    weight_decay=0.0,
    clip_norm=float("inf"),
    schedule="constant",
  )
  optimizer = optimizer or optimizer_lib.make_optimizer(config, trainable)
  mesh = _mesh()
  params = params or _params()
  state = train_step_lib.init_state(params, optimizer, mesh, _RULES)
  step = make(
    loss_fn,
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
    schedule=optimizer_lib.make_schedule(config),
    trainable=trainable,
  )
  return state, step


@functools.cache
def _shared():
  """One step, compiled once, and a copy on the host of where it starts."""
  state, step = _build()
  return step, jax.device_get(state), train_step_lib.shardings_of(state)


@pytest.fixture
def train_step():
  return _shared()[0]


def _state():
  _, state, shardings = _shared()
  return jax.device_put(state, shardings)


def test_metrics_of_one_step_are_those_worked_by_hand(train_step):
  """If this fails on purpose, work the numbers again; do not paste new ones.

  The errors are (1, 2), so loss = (1 + 4) / 2, the kernel's gradient is (1, 2)
  and the bias' 3. Adam's first update is the rate times the gradient's sign.
  """
  state, metrics = train_step(_state(), _batch(), _RNG)
  (values,) = train_step_lib.to_host(metrics)
  assert values["loss"] == pytest.approx(2.5)
  assert values["grad_norm"] == pytest.approx(np.sqrt(1 + 4 + 9))
  assert values["update_norm"] == pytest.approx(0.1 * np.sqrt(3), rel=1e-5)
  assert values["param_norm"] == pytest.approx(
    np.sqrt(0.9**2 + 1.9**2 + 0.1**2), rel=1e-5
  )
  assert values["learning_rate"] == pytest.approx(0.1)
  np.testing.assert_allclose(
    state.params["linear"]["kernel"], [[0.9], [1.9]], rtol=1e-5
  )
  assert int(state.step) == 1


def test_the_rng_of_a_step_follows_from_its_number(train_step):
  state = _state()
  noise = []
  for _ in range(2):
    state, metrics = train_step(state, _batch(), _RNG)
    noise.append(float(metrics["noise"]))
  expected = [
    float(jax.random.uniform(jax.random.fold_in(_RNG, step)))
    for step in range(2)
  ]
  assert noise == pytest.approx(expected)
  assert noise[0] != noise[1]


def test_the_caller_keeps_its_parameters_though_the_state_is_donated():
  params = jax.tree.map(lambda x: x * 1.0, _params())
  optimizer = optimizer_lib.make_optimizer(optimizer_lib.OptimizerConfig())
  state = train_step_lib.init_state(params, optimizer, _mesh(), _RULES)
  _shared()[0](state, _batch(), _RNG)
  assert state.params["linear"]["kernel"].is_deleted()
  np.testing.assert_array_equal(params["linear"]["kernel"], [[1.0], [2.0]])


def test_the_step_is_compiled_once_whatever_the_parameters_came_from():
  weak = jax.tree.map(lambda x: jnp.full(x.shape, 2.0), _params())
  assert weak["linear"]["kernel"].weak_type
  optimizer = optimizer_lib.make_optimizer(optimizer_lib.OptimizerConfig())
  state = train_step_lib.init_state(weak, optimizer, _mesh(), _RULES)
  assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
  ("batch", "name"),
  [
    # Only the second input is bad: its error makes loss and gradients NaN,
    # and the bias is the first of them in the tree.
    ({"x": np.diag([1.0, np.nan]), "y": np.zeros((2, 1))}, "linear/bias"),
    # Finite gradients of 1e20 and 1e19, whose squares overflow in the norm.
    (_batch(1e10), "the global norm of the gradients"),
  ],
)
def test_a_step_that_is_not_finite_is_undone_and_named(train_step, batch, name):
  state, _ = train_step(_state(), _batch(), _RNG)
  before = jax.device_get(state)
  state, metrics = train_step(state, batch, _RNG)
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)
  with pytest.raises(train_step_lib.NonFiniteError, match=name) as error:
    train_step_lib.check_finite(metrics, state)
  assert "after step 1" in str(error.value)
  # And what is left can go on.
  state, metrics = train_step(state, _batch(), _RNG)
  train_step_lib.check_finite(metrics, state)
  assert int(state.step) == 2


def test_an_update_that_is_not_finite_is_not_made():
  # Finite gradients, and a rate that makes infinity of them.
  state, step = _build(optimizer=optax.sgd(1e38))
  before = jax.device_get(state)
  state, metrics = step(state, _batch(1e3), _RNG)
  assert np.isfinite(metrics["grad_norm"])
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)
  with pytest.raises(
    train_step_lib.NonFiniteError, match='the update of "linear/bias"'
  ):
    train_step_lib.check_finite(metrics, state)


def test_a_bad_parameter_that_the_loss_does_not_read_is_named():
  params = _params() | {"unread": jnp.array([1.0, jnp.nan])}
  state, step = _build(params=params)
  state, metrics = step(state, _batch(), _RNG)
  with pytest.raises(
    train_step_lib.NonFiniteError, match='the parameter "unread"'
  ):
    train_step_lib.check_finite(metrics, state)


def test_a_parameter_that_was_bad_all_along_is_named(train_step):
  state = _state()
  linear = state.params["linear"] | {"kernel": jnp.full((2, 1), jnp.inf)}
  state = state.replace(params={"linear": linear})
  state, metrics = train_step(state, _batch(), _RNG)
  with pytest.raises(
    train_step_lib.NonFiniteError, match='the parameter "linear/kernel"'
  ):
    train_step_lib.check_finite(metrics, state)


def test_several_steps_in_one_dispatch_equal_single_steps(train_step):
  scales = (1.0, 0.5, 2.0)
  state = _state()
  single = []
  for scale in scales:
    state, metrics = train_step(state, _batch(scale), _RNG)
    single += train_step_lib.to_host(metrics)
  multi_state, multi_step = _build(make=train_step_lib.make_multi_step)
  batches = jax.tree.map(lambda *x: np.stack(x), *map(_batch, scales))
  batches = sharding_lib.shard_batch(batches, _mesh(), axis=1)
  multi_state, metrics = multi_step(multi_state, batches, _RNG)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
    multi_state,
    state,
  )
  for row, expected in zip(
    train_step_lib.to_host(metrics), single, strict=True
  ):
    assert row == pytest.approx(expected, rel=1e-6)


def test_frozen_parameters_are_untouched_and_get_no_gradient():
  state, step = _build(trainable="linear/bias")
  state, metrics = step(state, _batch(), _RNG)
  np.testing.assert_array_equal(
    state.params["linear"]["kernel"], [[1.0], [2.0]]
  )
  np.testing.assert_allclose(state.params["linear"]["bias"], -0.1, rtol=1e-5)
  assert float(metrics["grad_norm"]) == pytest.approx(3.0)


def test_a_loss_may_not_report_the_metrics_of_the_step():
  def loss(params, batch, rng):
    value, _ = _loss(params, batch, rng)
    return value, {"grad_norm": value}

  state, step = _build(loss)
  with pytest.raises(ValueError, match=r"\['grad_norm'\]"):
    step(state, _batch(), _RNG)


def test_metrics_are_read_one_dispatch_late(train_step):
  late = train_step_lib.MetricsOneStepLate()
  state = _state()
  rows = []
  for step in range(1, 4):
    state, metrics = train_step(state, _batch(), _RNG)
    rows.append([at for at, _ in late.push(step, metrics, state)])
  last = late.flush(state)
  assert rows == [[], [1], [2]]
  assert [at for at, _ in last] == [3]
  assert "loss" in last[0][1] and "nonfinite" not in last[0][1]
  assert late.flush(state) == []


def test_late_metrics_of_a_dispatch_are_numbered_step_by_step():
  late = train_step_lib.MetricsOneStepLate()
  stacked = {"nonfinite": np.asarray([-1, -1]), "loss": np.asarray([3.0, 2.0])}
  late.push(8, stacked, _state())
  assert late.flush(_state()) == [(7, {"loss": 3.0}), (8, {"loss": 2.0})]
