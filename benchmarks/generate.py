"""Greedy generation of a pretrained model, beside transformers' generate.

  python benchmarks/generate.py [--model=runs/models/smollm2-135m-instruct]
  python benchmarks/generate.py --peer_python=/path/with/torch/bin/python

Prompts of 32 random tokens, 64 new ones, no early end. Both sides have the same
dense weights, as files of the Hugging Face layout: float32 on a CPU, bfloat16
on a GPU. The peer is a process of its own; the two take turns, figures are
medians, and in float32 all tokens must agree. Prints as its last line one JSON
object, for each batch size N:

generate_vs_transformers_bN: our speed over the peer's; above 1 we are faster.
tokens_per_second_bN, transformers_tokens_per_second_bN: new tokens.
bandwidth_share_bN: on a GPU, the least bytes that the new tokens have to read
  (weights, and keys and values so far) over what the time would have let pass.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import peer as peer_lib
import smollm2
import timing

from reasoning_rl.data import boundaries
from reasoning_rl.decoding import rollouts, sampling
from reasoning_rl.models import network as network_lib
from reasoning_rl.models.pretrained import load as load_lib

PROMPT, NEW = 32, 64
# Bytes per second from device memory, by the beginning of a device's name.
BANDWIDTH = {
  "NVIDIA H100": 3.35e12,
  "NVIDIA H200": 4.8e12,
  "NVIDIA A100": 2.04e12,
}
_NO_ID = 1 << 30  # No token: nothing ends a row or a thought early.

Generate = Callable[[np.ndarray], np.ndarray]


def greedy_config(new_tokens: int) -> rollouts.RolloutConfig:
  """Returns how the likeliest tokens are said, as many whatever they are."""
  return rollouts.RolloutConfig(
    num_rollouts=1,
    max_tokens=new_tokens,
    max_thought_tokens=new_tokens,
    boundary=boundaries.Boundary(((_NO_ID,),)),
    end_ids=(_NO_ID,),
    sampling=sampling.SamplingConfig(temperature=0.0),
  )


def our_generate(
  network: network_lib.Network, params: network_lib.Params
) -> Generate:
  """Returns a function from prompts [B, PROMPT] to new tokens [B, NEW]."""
  config = greedy_config(NEW)

  @jax.jit
  def generate(params, prompt):
    rows = prompt.shape[0]
    return rollouts.from_prompts(
      network,
      params,
      jax.random.key(0),
      prompt,
      jnp.full(rows, PROMPT),
      jnp.arange(rows),
      config,
    ).tokens

  return lambda prompt: np.asarray(generate(params, prompt))


def least_bytes(network: network_lib.Network, rows: int, itemsize: int) -> int:
  """Returns the bytes that generation must read, each once per position."""
  config = network.config
  per_token = 2 * config.num_layers * config.num_kv_heads * config.head_size
  cached = sum(PROMPT + step for step in range(NEW)) * rows * per_token
  return itemsize * (NEW * network.num_params() + cached)


def measure(
  generate: Generate,
  peer: peer_lib.Peer,
  prompt: np.ndarray,
  repetitions: int,
  exact: bool,
) -> tuple[float, float]:
  """Returns the median seconds of ours and of the peer's.

  Raises:
    AssertionError: If they must and do not say the same.
  """
  ours, theirs = [], []
  for repetition in range(repetitions + 1):  # One to warm up.
    start = time.perf_counter()
    said = generate(prompt)
    seconds = time.perf_counter() - start
    answer = peer.ask(prompt.tolist())
    if exact:
      np.testing.assert_array_equal(said, np.array(answer["tokens"]))
    if repetition:
      ours.append(seconds)
      theirs.append(answer["seconds"])
  return statistics.median(ours), statistics.median(theirs)


def run(arguments: argparse.Namespace) -> dict[str, float]:
  """Measures every batch size and returns the figures."""
  device = jax.devices()[0]
  dtype = "bfloat16" if device.platform == "gpu" else "float32"
  folder = pathlib.Path(arguments.model).expanduser()
  if arguments.random:
    folder = smollm2.write_random(pathlib.Path(tempfile.mkdtemp()) / "model")
  config, params = load_lib.load(folder, dtype=dtype)
  network = network_lib.Network(config)
  peer = peer_lib.Peer(
    arguments.peer_python,
    "generate_peer.py",
    {
      "model": str(folder.absolute()),
      "dtype": dtype,
      "platform": device.platform,
      "threads": len(os.sched_getaffinity(0)),
      "new_tokens": NEW,
    },
  )
  print(f"{timing.machine()}, {dtype}, transformers {peer.versions}")
  generate, figures = our_generate(network, params), {}
  for rows in arguments.batch:
    prompt = np.random.default_rng(rows).integers(
      1_000, config.vocab_size, (rows, PROMPT), np.int32
    )
    exact = dtype == "float32"
    ours, theirs = measure(generate, peer, prompt, arguments.repetitions, exact)
    figures[f"generate_vs_transformers_b{rows}"] = theirs / ours
    figures[f"tokens_per_second_b{rows}"] = rows * NEW / ours
    figures[f"transformers_tokens_per_second_b{rows}"] = rows * NEW / theirs
    for name, peak in BANDWIDTH.items():
      if device.device_kind.startswith(name):
        moved = least_bytes(network, rows, np.dtype(dtype).itemsize)
        figures[f"bandwidth_share_b{rows}"] = moved / ours / peak
    print(
      {k: round(v, 3) for k, v in figures.items() if k.endswith(f"_b{rows}")}
    )
  peer.close()
  return figures


def main() -> None:
  """Prints the figures, and as the last line one JSON object."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--model", default="runs/models/smollm2-135m-instruct")
  parser.add_argument(
    "--random", action="store_true", help="SmolLM2's sizes, random weights"
  )
  parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
  parser.add_argument("--repetitions", type=int, default=3)
  parser.add_argument("--peer_python", default=sys.executable)
  arguments = parser.parse_args()
  # Both processes share a GPU's memory.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  print(json.dumps({k: round(v, 4) for k, v in run(arguments).items()}))


if __name__ == "__main__":
  main()
