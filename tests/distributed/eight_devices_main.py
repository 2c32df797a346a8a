"""Trains on a 2 x 2 x 2 mesh and on one device, and prints how they differ.

Run by test_eight_devices.py in a process of its own, with eight host devices.
Prints one JSON object.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl.training import checkpoint as checkpoint_lib
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

_CONFIG = optimizer_lib.OptimizerConfig(
  learning_rate=0.01, decay_steps=10, clip_norm=0.5
)
_STEPS = 3


def _params(V=16, D=8, H=4, K=4, F=16):
  shapes = {
    "token_embedding": {"embedding": (V, D)},
    "layers_0": {
      "attention": {
        **{name: {"kernel": (D, H, K)} for name in "qkv"},
        "out": {"kernel": (H, K, D)},
      },
      "mlp": {
        "gate": {"kernel": (D, F)},
        "up": {"kernel": (D, F)},
        "down": {"kernel": (F, D)},
      },
      "mlp_norm": {"scale": (D,)},
    },
    "language_head": {"kernel": (D, V)},
    "value_head": {
      "hidden": {"kernel": (D, D), "bias": (D,)},
      "output": {"kernel": (D, 1), "bias": (1,)},
    },
  }
  generator = np.random.default_rng(0)
  return jax.tree.map(
    lambda shape: generator.normal(0, 0.3, shape).astype(np.float32),
    shapes,
    is_leaf=lambda leaf: isinstance(leaf, tuple),
  )


def _loss(params, batch, rng):
  """Next-token loss of a one-layer decoder, and a value head's."""
  x = params["token_embedding"]["embedding"][batch["tokens"]]
  layer = params["layers_0"]
  q, k, v = (
    jnp.einsum("BLD,DHK->BLHK", x, layer["attention"][name]["kernel"])
    for name in "qkv"
  )
  weights = jax.nn.softmax(jnp.einsum("BLHK,BMHK->BHLM", q, k))
  x += jnp.einsum(
    "BHLM,BMHK,HKD->BLD", weights, v, layer["attention"]["out"]["kernel"]
  )
  hidden = x * layer["mlp_norm"]["scale"]
  mlp = layer["mlp"]
  gate = jax.nn.silu(hidden @ mlp["gate"]["kernel"])
  x += (gate * (hidden @ mlp["up"]["kernel"])) @ mlp["down"]["kernel"]
  logprobs = jax.nn.log_softmax(x @ params["language_head"]["kernel"])
  targets = jnp.roll(batch["tokens"], -1, axis=1)[..., None]
  head = params["value_head"]
  value = jnp.tanh(x @ head["hidden"]["kernel"] + head["hidden"]["bias"])
  value = value @ head["output"]["kernel"] + head["output"]["bias"]
  # Noise that depends on the key: it must not depend on the mesh.
  value += 0.1 * jax.random.normal(rng, value.shape)
  loss = -jnp.mean(jnp.take_along_axis(logprobs, targets, -1))
  return loss + jnp.mean(value**2), {"language_loss": loss}


def _train(mesh, several_at_once=False):
  """Returns the state after the steps, and the metrics of each step."""
  optimizer = optimizer_lib.make_optimizer(_CONFIG)
  state = train_step_lib.init_state(_params(), optimizer, mesh)
  generator = np.random.default_rng(1)
  tokens = generator.integers(0, 16, (_STEPS, 8, 6))
  make = (
    train_step_lib.make_multi_step
    if several_at_once
    else train_step_lib.make_train_step
  )
  step = make(
    _loss,
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
  )
  rng = jax.random.key(3)
  if several_at_once:
    batches = sharding_lib.shard_batch({"tokens": tokens}, mesh, axis=1)
    state, metrics = step(state, batches, rng)
    return state, train_step_lib.to_host(metrics)
  rows = []
  for i in range(_STEPS):
    batch = sharding_lib.shard_batch({"tokens": tokens[i]}, mesh)
    state, metrics = step(state, batch, rng)
    rows += train_step_lib.to_host(metrics)
  return state, rows


def _difference(tree, other):
  """Returns the largest absolute difference between two trees."""
  gaps = jax.tree.map(
    lambda x, y: np.max(np.abs(np.asarray(x) - np.asarray(y))), tree, other
  )
  return float(max(jax.tree.leaves(gaps)))


def main(directory):
  """Compares eight devices with one, and moves a checkpoint between them."""
  one = sharding_lib.make_mesh(devices=jax.devices()[:1])
  eight = sharding_lib.make_mesh(data=2, fsdp=2, tensor=2)
  state_one, rows_one = _train(one)
  state_eight, rows_eight = _train(eight)
  state_multi, rows_multi = _train(eight, several_at_once=True)

  checkpoint_lib.save(directory, _STEPS, state_eight)
  optimizer = optimizer_lib.make_optimizer(_CONFIG)
  abstract = train_step_lib.abstract_state(_params(), optimizer, one)
  moved = checkpoint_lib.restore(directory, abstract)

  def shard_shape(tree):
    leaf = tree["layers_0"]["attention"]["q"]["kernel"]
    return list(leaf.addressable_shards[0].data.shape)

  adam = state_eight.opt_state[1][0]
  report = {
    "devices": jax.device_count(),
    "param_shard": shard_shape(state_eight.params),
    "moment_shard": shard_shape(adam.mu),
    "moved": _difference(state_eight.params, _params()),
    "params": _difference(state_one.params, state_eight.params),
    "params_multi": _difference(state_one.params, state_multi.params),
    "metrics": _difference(rows_one, rows_eight),
    "metrics_multi": _difference(rows_one, rows_multi),
    "checkpoint": _difference(moved, state_eight),
    "checkpoint_devices": len(
      moved.params["language_head"]["kernel"].devices()
    ),
  }
  print(json.dumps(report))


if __name__ == "__main__":
  main(sys.argv[1])
