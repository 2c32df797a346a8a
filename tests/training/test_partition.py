"""Parameters in two parts: what learns, and its frozen base."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import types
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import losses
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import partition
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

ADAPTERS = r".*/lora_[ab]|thought_head/.*"
CONFIG = optimizer_lib.OptimizerConfig(learning_rate=0.01, clip_norm=0.1)
NETWORK = network_lib.Network(
  transformer.NetworkConfig(
    vocab_size=11,
    model_size=8,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_size=4,
    mlp_size=12,
    max_positions=16,
    heads=("thought",),
    lora_rank=2,
  )
)
GENERATOR = np.random.default_rng(0)
BATCH = types.ThoughtLabels(
  tokens=GENERATOR.integers(0, 11, (2, 7)).astype(np.int32),
  prompt_length=np.array([2, 2], np.int32),
  length=np.array([7, 6], np.int32),
  thought_end=np.array([[3, 6], [4, 5]], np.int32),
  labels=GENERATOR.uniform(size=(2, 2)).astype(np.float32),
  label_mask=np.array([[True, True], [True, False]]),
  outcome_reward=np.array([1, 0], np.float32),
)


def train(params, base, trainable, steps=3):
  """Returns the state and the last metrics of a PRM's first steps."""
  mesh = sharding_lib.make_mesh(devices=jax.devices()[:1])
  optimizer = optimizer_lib.make_optimizer(CONFIG, trainable)
  state = train_step_lib.init_state(params, optimizer, mesh)
  if base is not None:
    base = jax.device_put(base, sharding_lib.replicated(mesh))
  step = train_step_lib.make_train_step(
    losses.thought(NETWORK),
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
    trainable=trainable,
    frozen_shardings=train_step_lib.shardings_of(base) if base else None,
  )
  for _ in range(steps):
    rest = () if base is None else (base,)
    state, metrics = step(state, BATCH, jax.random.key(0), *rest)
  return state, metrics


@pytest.fixture(scope="module", name="params")
def fixture_params():
  return NETWORK.init(jax.random.key(1))


def test_two_parts_make_the_whole(params):
  trained, base = partition.split(params, ADAPTERS)
  names = sharding_lib.leaf_names
  assert all("lora" in n or "thought_head" in n for n in names(trained))
  assert not any("lora" in n or "thought_head" in n for n in names(base))
  whole = partition.join(trained, base)
  assert names(whole) == names(params)
  # The arrays themselves, not copies of them.
  assert all(
    x is y
    for x, y in zip(
      jax.tree.leaves(whole), jax.tree.leaves(params), strict=True
    )
  )


def test_a_parameter_belongs_to_one_part(params):
  with pytest.raises(ValueError, match='"embedding" is in both'):
    partition.join(params, params)


def test_no_part_may_be_without_parameters(params):
  with pytest.raises(ValueError, match="No parameter is trainable"):
    partition.split(params, "lora")


def test_adapters_alone_learn_what_they_would_within_the_whole(
  params, quick_compilation
):
  trained, base = partition.split(params, ADAPTERS)
  found, metrics = train(trained, base, None)
  expected, expected_metrics = train(params, None, ADAPTERS)
  expected, untouched = partition.split(expected.params, ADAPTERS)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    found.params,
    expected,
  )
  jax.tree.map(np.testing.assert_array_equal, untouched, base)
  for name in ("loss", "grad_norm", "update_norm"):
    np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-4)
  moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), found.params, trained)
  for statistics in ("centers", "spreads"):
    assert moved["thought_head"].pop(statistics) == 0
  assert min(jax.tree.leaves(moved)) > 1e-3  # All of them learn.


def test_the_state_holds_what_learns_and_the_base_outlives_it(
  params, quick_compilation
):
  trained, base = partition.split(params, ADAPTERS)
  state, _ = train(trained, base, None, steps=1)
  sizes = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  # Parameters, two moments, and counters.
  assert sizes(state) - 3 * sizes(trained) in range(8)
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(base))


def test_a_fingerprint_tells_models_apart(params):
  name = partition.fingerprint(params)
  assert name == partition.fingerprint(jax.tree.map(np.asarray, params))
  kernel = params["layers_0"]["mlp"]["up"]["kernel"]
  others = {
    "one bit": jnp.asarray(
      np.nextafter(kernel, np.where(np.arange(12) == 3, np.inf, kernel))
    ),
    "order": kernel[::-1],
    "zeros for a row": kernel.at[2].set(0.0),
    "dtype": kernel.astype(jnp.bfloat16),
    "shape": kernel.T,
  }
  names = {name}
  for other in others.values():
    changed = partition.join(
      {"layers_0": {"mlp": {"up": {"kernel": other}}}},
      partition.split(params, "(?!layers_0/mlp/up/kernel).*")[0],
    )
    names.add(partition.fingerprint(changed))
  assert len(names) == 1 + len(others)
