"""Trains adapters in parts on a 2 x 2 x 2 mesh, and plainly on one device.

Run by test_adapters.py in a process of its own, with eight host devices. Prints
one JSON object: how the two differ.
"""

import json

import jax
import numpy as np

from reasoning_rl import types
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import losses
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import partition
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

_NETWORK = network_lib.Network(
  transformer.NetworkConfig(
    vocab_size=16,
    model_size=8,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_size=4,
    mlp_size=8,
    max_positions=16,
    lora_rank=2,
    remat="full",
  )
)
_CONFIG = optimizer_lib.OptimizerConfig(learning_rate=0.01, decay_steps=10)
_ADAPTERS = r".*/lora_[ab]"
_STEPS = 2


def _params():
  """Returns parameters whose adapters already do something."""
  generator = np.random.default_rng(0)
  shapes = jax.eval_shape(_NETWORK.init, jax.random.key(0))
  return jax.tree.map(
    lambda x: generator.normal(0.0, 0.3, x.shape).astype(np.float32), shapes
  )


def _batch():
  """Returns rows of very unequal lengths, 8 in every part of two."""
  generator = np.random.default_rng(1)
  length = generator.integers(1, 8, 16)
  mask = np.arange(7) < length[:, None]
  tokens = generator.integers(0, 16, mask.shape).astype(np.int32)
  return types.SupervisedBatch(tokens, length.astype(np.int32), mask)


def _train(mesh, parts):
  """Returns the adapters after the steps, the metrics, and the base."""
  params, base = partition.split(_params(), _ADAPTERS)
  rules = sharding_lib.DEFAULT_RULES
  base = jax.device_put(base, sharding_lib.param_shardings(base, rules, mesh))
  optimizer = optimizer_lib.make_optimizer(_CONFIG)
  state = train_step_lib.init_state(params, optimizer, mesh)
  step = train_step_lib.make_train_step(
    losses.supervised(_NETWORK),
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
    accumulate=parts,
    frozen_shardings=train_step_lib.shardings_of(base),
  )
  rows = []
  for _ in range(_STEPS):
    batch = sharding_lib.shard_batch(_batch(), mesh)
    state, metrics = step(state, batch, jax.random.key(0), base)
    rows += train_step_lib.to_host(metrics)
  return state.params, rows, base


def _difference(tree, other):
  """Returns the largest absolute difference between two trees."""
  gaps = jax.tree.map(
    lambda x, y: np.max(np.abs(np.asarray(x) - np.asarray(y))), tree, other
  )
  return float(max(jax.tree.leaves(gaps)))


def main():
  """Compares eight devices and two parts with one device and no parts."""
  one = sharding_lib.make_mesh(devices=jax.devices()[:1])
  eight = sharding_lib.make_mesh(data=2, fsdp=2, tensor=2)
  params, rows, base = _train(one, 1)
  params_eight, rows_eight, base_eight = _train(eight, 2)
  mlp = params_eight["layers_0"]["mlp"]
  shard = lambda leaf: list(leaf.addressable_shards[0].data.shape)
  start, _ = partition.split(_params(), _ADAPTERS)
  report = {
    "moved": _difference(params, start),
    "params": _difference(params, params_eight),
    "metrics": _difference(rows, rows_eight),
    "lora_a_shard": shard(mlp["gate"]["lora_a"]),
    "lora_b_shard": shard(mlp["gate"]["lora_b"]),
    "same_fingerprint": partition.fingerprint(base)
    == partition.fingerprint(base_eight),
  }
  print(json.dumps(report))


if __name__ == "__main__":
  main()
