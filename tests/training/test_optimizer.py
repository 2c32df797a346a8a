"""Tests of reasoning_rl.training.optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reasoning_rl.training import optimizer as optimizer_lib

_TOLERANCE = 1e-6  # float32


def _params():
  return {
    "token_embedding": {"embedding": np.ones((3, 2), np.float32)},
    "up": {"kernel": np.asarray([[1.0, -2.0], [0.5, 3.0]], np.float32)},
    "norm": {"scale": np.ones(2, np.float32)},
    "q": {
      "kernel": np.ones((2, 2, 2), np.float32),
      "bias": np.ones((2, 2), np.float32),
    },
  }


def _gradients(step):
  """Gradients whose size changes from step to step."""
  return jax.tree.map(lambda x: (0.3 * step - 0.5) * x + 0.1 * step, _params())


def _numpy_adamw(config, steps, decayed):
  """AdamW as its paper has it, in float64 on a dict of arrays."""
  flat = {
    jax.tree_util.keystr(path): np.asarray(leaf, np.float64)
    for path, leaf in jax.tree.leaves_with_path(_params())
  }
  mean = {name: np.zeros_like(x) for name, x in flat.items()}
  square = {name: np.zeros_like(x) for name, x in flat.items()}
  schedule = optimizer_lib.make_schedule(config)
  for step in range(steps):
    grads = {
      jax.tree_util.keystr(path): np.asarray(leaf, np.float64)
      for path, leaf in jax.tree.leaves_with_path(_gradients(step))
    }
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    for name in flat:
      g = grads[name] * min(1.0, config.clip_norm / norm)
      mean[name] = config.b1 * mean[name] + (1 - config.b1) * g
      square[name] = config.b2 * square[name] + (1 - config.b2) * g**2
      m = mean[name] / (1 - config.b1 ** (step + 1))
      v = square[name] / (1 - config.b2 ** (step + 1))
      decay = config.weight_decay * flat[name] if name in decayed else 0.0
      update = m / (np.sqrt(v) + 1e-8) + decay
      flat[name] = flat[name] - float(schedule(step)) * update
  return flat


def test_four_steps_equal_adamw_written_in_numpy():
  config = optimizer_lib.OptimizerConfig(
    learning_rate=0.1, warmup_steps=2, decay_steps=5, clip_norm=0.7
  )
  optimizer = optimizer_lib.make_optimizer(config)
  params = _params()
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  for step in range(4):
    updates, state = update(_gradients(step), state, params)
    params = optax.apply_updates(params, updates)
  # Decayed: the kernels; not the embedding, the bias or the norm.
  decayed = {"['up']['kernel']", "['q']['kernel']"}
  expected = _numpy_adamw(config, 4, decayed)
  for path, leaf in jax.tree.leaves_with_path(params):
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(leaf, expected[name], atol=5 * _TOLERANCE)


@pytest.mark.parametrize(
  ("schedule", "expected"),
  [
    # Warm-up 1/4, 2/4, 3/4, 1; then half way (step 8) and the end (step 12).
    ("cosine", [0.25, 0.5, 0.75, 1.0, 0.6, 0.2, 0.2]),
    ("linear", [0.25, 0.5, 0.75, 1.0, 0.6, 0.2, 0.2]),
    ("constant", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]),
  ],
)
def test_the_learning_rate_warms_up_and_decays(schedule, expected):
  config = optimizer_lib.OptimizerConfig(
    learning_rate=2.0,
    warmup_steps=4,
    decay_steps=12,
    end_fraction=0.2,
    schedule=schedule,
  )
  rate = optimizer_lib.make_schedule(config)(
    jnp.asarray([0, 1, 2, 3, 8, 12, 99])
  )
  np.testing.assert_allclose(rate, 2.0 * np.asarray(expected), rtol=1e-6)


def test_cosine_and_linear_differ_a_quarter_of_the_way():
  rates = {}
  for schedule in ("cosine", "linear"):
    config = optimizer_lib.OptimizerConfig(
      learning_rate=1.0, decay_steps=4, end_fraction=0.0, schedule=schedule
    )
    rates[schedule] = float(optimizer_lib.make_schedule(config)(1))
  assert rates["linear"] == pytest.approx(0.75)
  assert rates["cosine"] == pytest.approx(0.5 * (1 + np.sqrt(0.5)))


@pytest.mark.parametrize(
  "trainable", [r"up/.*", lambda path: path.startswith("up")]
)
def test_frozen_parameters_stay_and_do_not_count_in_the_clipped_norm(trainable):
  config = optimizer_lib.OptimizerConfig(learning_rate=0.1, clip_norm=0.7)
  optimizer = optimizer_lib.make_optimizer(config, trainable)
  params = _params()
  state = optimizer.init(params)
  # Moments exist for the trained leaf alone.
  sizes = [leaf.size for leaf in jax.tree.leaves(state) if leaf.size > 1]
  assert sizes == [4, 4]
  alone = {"up": params["up"]}
  optimizer_alone = optimizer_lib.make_optimizer(config)
  state_alone = optimizer_alone.init(alone)
  for step in range(2):
    grads = _gradients(step)
    updates, state = optimizer.update(grads, state, params)
    updates_alone, state_alone = optimizer_alone.update(
      {"up": grads["up"]}, state_alone, alone
    )
  np.testing.assert_array_equal(
    updates["up"]["kernel"], updates_alone["up"]["kernel"]
  )
  frozen = updates | {"up": {}}
  assert all(not np.any(leaf) for leaf in jax.tree.leaves(frozen))


def test_trainable_that_matches_nothing_is_refused():
  optimizer = optimizer_lib.make_optimizer(
    optimizer_lib.OptimizerConfig(), "down/.*"
  )
  with pytest.raises(ValueError, match="No parameter is trainable"):
    optimizer.init(_params())


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"schedule": "step"}, "Unknown schedule 'step'"),
    ({"warmup_steps": 10, "decay_steps": 10}, "must exceed"),
    ({"clip_norm": 0.0}, "use inf not to clip"),
    ({"learning_rate": -1e-3}, "learning_rate=-0.001 must be at least 0"),
    ({"learning_rate": float("nan")}, "learning_rate=nan must be"),
    ({"warmup_steps": -1}, "warmup_steps=-1 must be at least 0"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1 must be"),
    ({"b2": 1.0}, "b2=1.0 must be at least 0 and less than 1"),
    ({"end_fraction": 2.0}, "end_fraction=2.0 must be"),
  ],
)
def test_a_setting_that_cannot_be_meant_is_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    optimizer_lib.OptimizerConfig(**settings)
