"""How many bytes a search takes beside the tokens in its trees.

  python benchmarks/cache_bytes.py

Searches once with a network of random weights and prints one JSON object. What
is counted is what the compiler allots to the whole search as one program:

  program = temporaries + outputs; the state is donated, so the trees that the
            search was given are its outputs, and weights are neither
  pass    = temporaries + outputs of one expansion compiled alone: the leaves'
            paths, the rows' own keys and values, attention
  tokens  = bytes of keys and values of every token that is in a tree once the
            search is over, prompts included, each counted once
  ratio   = (program - pass) / tokens

A ratio of 1 is a tree without padding, copies or anything else in it. Above it
are the slots that stay empty, the prompts' padding, and what a node has beside
keys and values. A second copy of a pool would make it 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand, sampling
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.search import mcts

# One token of five ends a thought, none a solution, and all are about equally
# likely: lengths are geometric, cut at the longest.
VOCABULARY, THOUGHT_END, NO_END = 5, 3, 5
TEMPERATURE = 20.0
PROMPT_SIZE, THOUGHT_SIZE, MAX_THOUGHTS = 16, 12, 8
SLOTS_PER_THOUGHT = 5.3  # So that as many thoughts as asked for fill a pool.


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Sizes of the network and of the search.

  Attributes:
    problems: Trees.
    thoughts: Nodes in a tree, about: the search ends with its pool.
    candidates: Thoughts per expanded node.
    leaves: Leaves expanded per tree in a pass.
    model_size: Width of the network.
    num_layers: Its layers.
    separate_prm: Whether a second such network scores the thoughts, with a pool
      of its own.
  """

  problems: int = 16
  thoughts: int = 256
  candidates: int = 8
  leaves: int = 1
  model_size: int = 256
  num_layers: int = 8
  separate_prm: bool = False

  def network(self, *heads: str) -> network_lib.Network:
    """Returns the network."""
    return network_lib.Network(
      transformer.NetworkConfig(
        vocab_size=VOCABULARY,
        model_size=self.model_size,
        num_layers=self.num_layers,
        head_size=self.model_size // 4,
        mlp_size=4 * self.model_size,
        heads=heads,
      )
    )


class Search:
  """One search of random problems: what is compiled, and with what."""

  def __init__(self, sizes: Sizes):
    """Plants the trees."""
    policy, prm = sizes.network("language", "thought"), None
    rngs = jax.random.split(jax.random.key(0), 3)
    params = expand.SearchParams(policy.init(rngs[0]))
    if sizes.separate_prm:
      prm = sizes.network("thought")
      params = params._replace(prm=prm.init(rngs[1]))
    config = expand.ExpandConfig(
      sizes.candidates,
      MAX_THOUGHTS,
      THOUGHT_SIZE,
      boundaries.single(THOUGHT_END),
      (NO_END,),
      sampling.SamplingConfig(temperature=TEMPERATURE),
    )
    self.expand_fn = expand.make_expand_fn(policy, prm, config)
    self.rules = mcts.MCTSConfig(
      sizes.candidates, sizes.leaves, skip_exhausted=True
    )
    # Some passes visit what can't go on, and add nothing.
    added = sizes.candidates * sizes.leaves
    self.passes = -(-5 * sizes.thoughts // (4 * added))
    self.params, self.rng = params, rngs[2]
    self.leaf_shape = (sizes.problems, sizes.leaves)
    self.tree = jax.jit(self._plant, static_argnums=(1, 2))(
      params, (policy, prm), sizes
    )

  def _plant(self, params, networks, sizes):
    numbers = np.random.default_rng(0)
    shape = (sizes.problems, PROMPT_SIZE)
    root = expand.make_root(
      *networks,
      params,
      numbers.integers(0, VOCABULARY, shape, np.int32),
      numbers.integers(PROMPT_SIZE // 2, PROMPT_SIZE + 1, shape[0], np.int32),
      np.arange(shape[0], dtype=np.int32),
    )
    capacity = self.rules.capacity(self.passes)
    slots = int(sizes.thoughts * SLOTS_PER_THOUGHT)
    return tree_lib.plant(root, capacity, THOUGHT_SIZE, slots)

  def run(self, params: Any, rng: Any, tree: tree_lib.Tree) -> tree_lib.Tree:
    """Searches until the pools are full."""
    return mcts.run(params, rng, tree, self.expand_fn, self.rules, self.passes)


def cache_bytes_ratio(sizes: Sizes, run: Callable | None = None) -> dict:
  """Returns the figures that the module's first lines define.

  Args:
    sizes: Of the network and the search.
    run: What is compiled in the place of `Search.run`.

  Returns:
    "ratio"; "pool_fill", the share of all slots in use at the end; "thoughts",
    nodes of a tree on average; and what the ratio is made of: "program_bytes",
    "pass_bytes", "tokens", "bytes_per_token".
  """
  search = Search(sizes)
  arguments = search.params, search.rng, search.tree
  program = jax.jit(run or search.run, donate_argnums=2)
  program = program.lower(*arguments).compile()
  leaf = jax.ShapeDtypeStruct(search.leaf_shape, jnp.int32)
  one_pass = jax.jit(search.expand_fn).lower(*arguments, leaf).compile()
  found = jax.device_get(program(*arguments))
  used = int(found.pool_used.sum())
  tokens = used + int(found.prompt_length.sum())
  per_token = sum(
    x.dtype.itemsize * x.shape[2] * x.shape[3]
    for x in jax.tree.leaves(found.pools)
  )
  program_bytes, pass_bytes = map(allotted_bytes, (program, one_pass))
  thoughts = int(found.valid_mask.sum()) - len(found.root)
  return {
    "ratio": round((program_bytes - pass_bytes) / (tokens * per_token), 3),
    "pool_fill": round(used / (len(found.root) * found.pool_size), 3),
    "thoughts": round(thoughts / len(found.root), 1),
    "program_bytes": program_bytes,
    "pass_bytes": pass_bytes,
    "tokens": tokens,
    "bytes_per_token": per_token,
  }


def allotted_bytes(compiled: Any) -> int:
  """Returns what a program takes beside arguments that it gives back."""
  analysis = compiled.memory_analysis()
  return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for field in dataclasses.fields(Sizes):
    flag = "--" + field.name.replace("_", "-")
    if field.default is False:
      parser.add_argument(flag, action="store_true")
    else:
      parser.add_argument(flag, type=int, default=field.default)
  options = vars(parser.parse_args())
  print(json.dumps(cache_bytes_ratio(Sizes(**options))))


if __name__ == "__main__":
  main()
