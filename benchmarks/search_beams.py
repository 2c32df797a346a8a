"""Beam search on the tree against rows that each hold a cache of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import fixed_thoughts
import jax
import jax.numpy as jnp
import search_peers
import timing

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand, sampling
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.search import frontier

PROBLEMS, WIDTH, CANDIDATES = 8, 2, 4  # 8 rows of each problem.
ROWS = WIDTH * CANDIDATES
PROMPT, THOUGHT, THOUGHTS = 128, 16, 4
TOKENS = THOUGHT * THOUGHTS
THOUGHT_END, END = 1, 2
NETWORK = transformer.NetworkConfig(
  vocab_size=1024,
  model_size=512,
  num_layers=8,
  num_heads=8,
  num_kv_heads=8,
  head_size=64,
  mlp_size=1408,
  heads=("language", "thought"),
)


def make_network(
  config: transformer.NetworkConfig, thought_size: int
) -> fixed_thoughts.FixedThoughts:
  """Returns a network whose thoughts have `thought_size` tokens."""
  return fixed_thoughts.wrap(
    network_lib.Network(config), thought_size, THOUGHT_END, END
  )


def make_engine(
  network: network_lib.Network,
  draw: str,
  width: int,
  num_candidates: int,
  thought_size: int,
  num_thoughts: int,
) -> Callable[..., tree_lib.Tree]:
  """Returns `engine(params, rng, root) -> tree`, a beam search."""
  config = expand.ExpandConfig(
    num_candidates,
    num_thoughts,
    thought_size,
    boundaries.single(THOUGHT_END),
    (END,),
    draw=draw,
  )
  expand_fn = expand.make_expand_fn(network, None, config)
  rule = frontier.FrontierConfig(width, num_candidates)

  def engine(params, rng, root):
    capacity = rule.capacity(num_thoughts)
    pool = (capacity - 1) * thought_size
    tree = tree_lib.plant(root, capacity, thought_size, pool)
    state = frontier.start(tree, rule)
    params = expand.SearchParams(params)
    return frontier.run(params, rng, state, expand_fn, rule, num_thoughts).tree

  return engine


def beams(repetitions: int) -> dict[str, float]:
  """Returns what a decoded position costs in the engine and in its peers."""
  network = make_network(NETWORK, THOUGHT)
  params = jax.jit(network.init)(jax.random.key(0))
  shape = (PROBLEMS, PROMPT)
  prompt = jax.random.randint(jax.random.key(1), shape, 3, NETWORK.vocab_size)
  read = jax.jit(functools.partial(expand.make_root, network, None))
  root = read(
    expand.SearchParams(params),
    prompt,
    jnp.full(PROBLEMS, PROMPT),
    jnp.arange(PROBLEMS),
  )
  calls = {
    name: functools.partial(jax.jit(fn), params, jax.random.key(2), root)
    for name, fn in _functions(network).items()
  }
  seconds = timing.interleaved_medians(calls, repetitions)
  figures = {
    f"{name}, ms per position": 1000 * value / TOKENS
    for name, value in seconds.items()
  }
  engine = seconds["beam search on the tree"]
  return figures | {
    "beam_vs_sampler": seconds["independent rows"] / engine,
    "beam_vs_reorder": seconds["beam search that reorders caches"] / engine,
  }


def _functions(network) -> dict[str, Callable[..., Any]]:
  """Returns what is timed: functions of parameters, rng and root."""
  sizes = (WIDTH, CANDIDATES, THOUGHT, THOUGHTS)
  how = sampling.SamplingConfig()
  peer = lambda params, rng, root, every_position: search_peers.search_beams(
    network, params, rng, root, *sizes, how, every_position
  )
  return {
    "beam search on the tree": make_engine(network, "independent", *sizes),
    "the same, thoughts that differ": make_engine(network, "distinct", *sizes),
    "independent rows": lambda params, rng, root: search_peers.sample_rows(
      network, params, rng, root, ROWS, TOKENS, how
    ),
    "beam search that reorders caches": functools.partial(
      peer, every_position=True
    ),
    "the same, only after thoughts": functools.partial(
      peer, every_position=False
    ),
  }
