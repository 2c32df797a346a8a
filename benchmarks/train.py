"""One update of a 135 M parameter language model, beside plain PyTorch.

  python benchmarks/train.py
  python benchmarks/train.py --peer_python=/path/with/torch/bin/python

SmolLM2-135M's sizes, random weights, AdamW on clipped gradients, all positions
learnt. Both sides start from the same weights and see the same batch, and the
losses of their updates must agree. float32 on a CPU, bfloat16 throughout on a
GPU. The peer is transformers' LlamaForCausalLM with torch.optim.AdamW, in a
process of its own; the two take turns, and figures are medians. Ours keeps
freed memory, as every run of a pretrained model does; sourced beforehand,
scripts/_environment.sh makes the peer do so too. Prints as its last line one
JSON object:

train_step_vs_torch: the peer's seconds over ours; above 1 we are faster.
tokens_per_second, torch_tokens_per_second: of the whole batch.
model_flops_utilisation: on a GPU, the share of its peak in bfloat16 that the
  model's own FLOPs make up (PaLM, arXiv:2204.02311, appendix B).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peer as peer_lib
import smollm2
import timing

from reasoning_rl import masking, types
from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import devices, losses
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

OPTIMIZER = optimizer_lib.OptimizerConfig(
  learning_rate=1e-4, schedule="constant"
)
# Dense bfloat16 FLOPs per second, by the beginning of a device's name.
PEAK_FLOPS = {
  "NVIDIA H100": 989e12,
  "NVIDIA H200": 989e12,
  "NVIDIA A100": 312e12,
}
# Relative, between the losses of the two; bfloat16 rounds to 3 digits.
AGREEMENT = {"float32": 1e-3, "bfloat16": 3e-2}

Step = Callable[[], float]


def to_torch(params: network_lib.Params) -> dict[str, np.ndarray]:
  """Returns parameters under transformers' names and layouts."""
  heads = lambda kernel: np.asarray(kernel).reshape(kernel.shape[0], -1).T
  weights = {
    "model.embed_tokens.weight": params["token_embedding"]["embedding"],
    "model.norm.weight": params["final_norm"]["scale"],
  }
  layers = [name for name in params if name.startswith("layers_")]
  for index in range(len(layers)):
    layer, name = params[f"layers_{index}"], f"model.layers.{index}."
    attention, mlp = layer["attention"], layer["mlp"]
    out = np.asarray(attention["out"]["kernel"])
    weights |= {
      name + f"self_attn.{which}_proj.weight": heads(attention[which]["kernel"])
      for which in "qkv"
    }
    weights |= {
      name + f"mlp.{which}_proj.weight": np.asarray(mlp[which]["kernel"]).T
      for which in ("gate", "up", "down")
    }
    weights |= {
      name + "self_attn.o_proj.weight": out.reshape(-1, out.shape[-1]).T,
      name + "input_layernorm.weight": layer["attention_norm"]["scale"],
      name + "post_attention_layernorm.weight": layer["mlp_norm"]["scale"],
    }
  return {k: np.ascontiguousarray(v) for k, v in weights.items()}


def our_step(
  network: network_lib.Network,
  params: network_lib.Params,
  tokens: np.ndarray,
  dtype: str,
) -> Step:
  """Returns a function that makes one update and returns its loss."""
  mesh = sharding_lib.make_mesh(devices=jax.devices()[:1])
  optimizer = optimizer_lib.make_optimizer(OPTIMIZER)
  params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
  state = train_step_lib.init_state(params, optimizer, mesh)
  del params
  step = train_step_lib.make_train_step(
    losses.supervised(network),
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
  )
  rows, length = tokens.shape
  batch = types.SupervisedBatch(
    tokens=tokens,
    length=np.full(rows, length, np.int32),
    # The first token is predicted from nothing.
    loss_mask=~np.asarray(masking.length_mask(np.ones(rows, np.int32), length)),
  )
  batch = sharding_lib.shard_batch(batch, mesh)
  rng = jax.random.key(0)
  holder = [state]

  def update() -> float:
    state, metrics = step(holder.pop(), batch, rng)
    holder.append(state)
    jax.block_until_ready(state)
    return float(metrics["loss"])

  return update


def measure(
  update: Step, peer: peer_lib.Peer, repetitions: int, tolerance: float
) -> tuple[float, float]:
  """Returns the median seconds of our updates and of the peer's.

  Raises:
    AssertionError: If the two do not learn the same.
  """
  ours, theirs = [], []
  for repetition in range(repetitions + 2):  # Two to warm up.
    start = time.perf_counter()
    loss = update()
    seconds = time.perf_counter() - start
    answer = peer.ask("step")
    peer_loss, peer_seconds = answer["loss"], answer["seconds"]
    print(
      f"  loss {loss:.4f} and {peer_loss:.4f}, seconds {seconds:.3f} and"
      f" {peer_seconds:.3f}",
      flush=True,
    )
    assert abs(loss - peer_loss) <= tolerance * abs(peer_loss)
    if repetition >= 2:
      ours.append(seconds)
      theirs.append(peer_seconds)
  return statistics.median(ours), statistics.median(theirs)


def model_flops(network: network_lib.Network, tokens: np.ndarray) -> float:
  """Returns the FLOPs of one update that the model itself asks for."""
  config = network.config
  attention = 12 * config.num_layers * config.num_heads * config.head_size
  per_token = 6 * network.num_params() + attention * tokens.shape[1]
  return float(per_token) * tokens.size


def run(arguments: argparse.Namespace) -> dict[str, Any]:
  """Measures both and returns the figures."""
  platform = jax.devices()[0].platform
  dtype = "bfloat16" if platform == "gpu" else "float32"
  network = smollm2.network(arguments.layers)
  params = smollm2.random_params(network)
  shape = (arguments.batch, arguments.length)
  generator = np.random.default_rng(0)
  tokens = generator.integers(0, network.config.vocab_size, shape).astype(
    np.int32
  )
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "weights.npz"
    np.savez(path, **to_torch(params))
    job = {
      "network": dataclasses.asdict(network.config),
      "optimizer": dataclasses.asdict(OPTIMIZER),
      "weights": str(path),
      "platform": platform,
      "dtype": dtype,
      "threads": len(os.sched_getaffinity(0)),
      "tokens": tokens.tolist(),
    }
    peer = peer_lib.Peer(arguments.peer_python, "train_peer.py", job)
  print(f"{timing.machine()}, {dtype}, torch {peer.versions}, batch {shape}")
  update = our_step(network, params, tokens, dtype)
  del params
  ours, theirs = measure(update, peer, arguments.repetitions, AGREEMENT[dtype])
  peer.close()
  figures = {
    "train_step_vs_torch": theirs / ours,
    "tokens_per_second": tokens.size / ours,
    "torch_tokens_per_second": tokens.size / theirs,
  }
  kind = jax.devices()[0].device_kind
  for name, peak in PEAK_FLOPS.items():
    if kind.startswith(name):
      flops = model_flops(network, tokens)
      figures["model_flops_utilisation"] = flops / ours / peak
      figures["torch_model_flops_utilisation"] = flops / theirs / peak
  return figures


def main() -> None:
  """Prints the figures, and as the last line one JSON object."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--length", type=int, default=128)
  parser.add_argument("--layers", type=int, default=0, help="0: all")
  parser.add_argument("--repetitions", type=int, default=5)
  parser.add_argument("--peer_python", default=sys.executable)
  arguments = parser.parse_args()
  devices.keep_freed_memory()
  devices.use_all_cores()
  # Both processes share a GPU's memory.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  print(json.dumps({k: round(v, 4) for k, v in run(arguments).items()}))


if __name__ == "__main__":
  main()
