"""The tree alone, without a network: selection and backup against mctx.

  python benchmarks/bookkeeping.py

Both sides search the same endless trees: a state is a number, and its priors
and its value are hashed from it. The engine runs with the rule of each mctx
policy, one leaf per pass; visit counts must be equal. Both run on one core:
their operations are too small to share, and two threads would wait for each
other. Prints one JSON object.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import timing
from jaxtyping import Array, Float, Int

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import gumbel, mcts, selection

BATCH, ACTIONS = 64, 16
SIMULATIONS = (32, 256)
POLICIES = {
  "muzero": functools.partial(mctx.muzero_policy, dirichlet_fraction=0.0),
  "gumbel": functools.partial(mctx.gumbel_muzero_policy, gumbel_scale=0.0),
}


def measure_on_one_core(repetitions: int = 7) -> dict[str, float]:
  """Returns `measure` of a process that is pinned to one core."""
  core = min(os.sched_getaffinity(0))
  found = subprocess.run(
    [sys.executable, __file__, str(repetitions)],
    check=True,
    capture_output=True,
    text=True,
    env=os.environ | timing.ALLOCATOR,
    preexec_fn=lambda: os.sched_setaffinity(0, {core}),
  )
  return json.loads(found.stdout.splitlines()[-1])


def measure(repetitions: int = 7) -> dict[str, float]:
  """Returns mctx's time over ours by policy, and how ours grows.

  Args:
    repetitions: Timed searches of each kind.
  """
  functions: dict[str, Callable[[], Any]] = {}
  for policy in POLICIES:
    for count in SIMULATIONS:
      ours, theirs = _ours(policy, count), _mctx(policy, count)
      _assert_equal(ours(), theirs())
      functions[f"ours {policy} {count}"] = ours
      functions[f"mctx {policy} {count}"] = theirs
  seconds = timing.interleaved_medians(functions, repetitions)
  ratio = lambda policy, count: (
    seconds[f"mctx {policy} {count}"] / seconds[f"ours {policy} {count}"]
  )
  per_simulation = {
    name: at / int(name.split()[-1]) for name, at in seconds.items()
  }
  growth = {
    policy: per_simulation[f"ours {policy} 256"]
    / per_simulation[f"ours {policy} 32"]
    for policy in POLICIES
  }
  return {
    "bookkeeping_vs_mctx_gumbel": ratio("gumbel", 256),
    "bookkeeping_vs_mctx_muzero": ratio("muzero", 256),
    "bookkeeping_vs_mctx_gumbel_at_32": ratio("gumbel", 32),
    "bookkeeping_vs_mctx_muzero_at_32": ratio("muzero", 32),
    # Of the rule that grows more.
    "bookkeeping_growth": max(growth.values()),
    "bookkeeping_growth_gumbel": growth["gumbel"],
    "bookkeeping_growth_muzero": growth["muzero"],
  } | {
    f"{name}, microseconds per simulation": 1e6 * at
    for name, at in per_simulation.items()
  }


def _assert_equal(ours, theirs) -> None:
  """Compares the visits of the root's children, and all visits as a whole."""
  children, root = jax.device_get(ours)
  other_children, other_root = jax.device_get(theirs)
  np.testing.assert_array_equal(children, other_children)
  np.testing.assert_array_equal(root, other_root)


def _hash(number: Int[Array, "*B"]) -> Array:
  """Returns 32 bits that depend on all bits of a number."""
  bits = number.astype(jnp.uint32)
  for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
    bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
  return bits ^ (bits >> 16)


def _unit(number: Int[Array, "*B"]) -> Float[Array, "*B"]:
  """Returns a number in [0, 1)."""
  return (_hash(number) >> 8).astype(jnp.float32) / 2**24


def _child(state: Int[Array, "*B"], action: Int[Array, "*B"]) -> Array:
  """Returns the state that an action leads to."""
  number = state.astype(jnp.uint32) * jnp.uint32(31)
  number += action.astype(jnp.uint32) + jnp.uint32(1)
  return _hash(number).astype(jnp.int32)


def _value(state: Int[Array, "*B"]) -> Float[Array, "*B"]:
  return _unit(state.astype(jnp.uint32) + jnp.uint32(77))


def _logits(state: Int[Array, "*B"]) -> Float[Array, "*B A"]:
  actions = jnp.arange(ACTIONS).reshape(*[1] * state.ndim, ACTIONS)
  return 2 * _unit(_child(state[..., None], actions))


def _mctx(policy: str, num_simulations: int) -> Callable[[], Any]:
  """Returns a search by mctx."""

  def recurrent_fn(params, rng, action, state):
    state = _child(state, action)
    found = mctx.RecurrentFnOutput(
      reward=jnp.zeros(BATCH),
      discount=jnp.ones(BATCH),
      prior_logits=_logits(state),
      value=_value(state),
    )
    return found, state

  @jax.jit
  def search(rng):
    state = jnp.arange(BATCH, dtype=jnp.int32)
    root = mctx.RootFnOutput(
      prior_logits=_logits(state), value=_value(state), embedding=state
    )
    tree = POLICIES[policy](
      None, rng, root, recurrent_fn, num_simulations
    ).search_tree
    return tree.children_visits[:, 0], tree.node_visits[:, 0]

  return functools.partial(search, jax.random.key(0))


def _ours(policy: str, num_simulations: int) -> Callable[[], Any]:
  """Returns the engine's search by the same rule.

  Its first pass expands the root, which mctx does before it begins.
  """
  rule: selection.Rule = selection.PUCTConfig(value_kind="siblings")
  if policy == "gumbel":
    rule = gumbel.GumbelConfig(num_simulations, noise=0.0)
  config = mcts.MCTSConfig(ACTIONS, rule=rule)
  passes = num_simulations + 1

  @jax.jit
  def search(rng):
    state = jnp.arange(BATCH, dtype=jnp.int32)
    root = tree_lib.Root(
      problem_id=state,
      prompt_length=jnp.ones(BATCH, jnp.int32),
      hidden=_as_hidden(state),
      values=_value(state),
      prompts=(),
    )
    tree = tree_lib.plant(root, config.capacity(passes), 1, 0)
    tree = mcts.run(None, rng, tree, _expand_fn, config, passes)
    return tree.node_visits[:, 1 : ACTIONS + 1], tree.node_visits[:, 0]

  return functools.partial(search, jax.random.key(0))


def _expand_fn(params, rng, tree, leaf) -> tree_lib.Children:
  """Looks the children of leaves up."""
  state = tree_lib.at_nodes(tree.hidden, leaf)[..., 0]
  state = jax.lax.bitcast_convert_type(state, jnp.int32)
  actions = jnp.arange(ACTIONS)[None, None]
  child = _child(state[..., None], actions)
  made = jnp.broadcast_to((leaf >= 0)[..., None], child.shape)
  nothing = jnp.zeros(child.shape, jnp.float32)
  count = jnp.zeros(leaf.shape[0], jnp.int32)
  return tree_lib.Children(
    valid_mask=made,
    open_mask=made,
    terminal_mask=jnp.zeros(child.shape, bool),
    prior_logits=_logits(state),
    rewards=nothing,
    discounts=nothing + 1,
    values=_value(child),
    thought_rewards=nothing,
    tokens=jnp.zeros((*child.shape, 1), jnp.int32),
    lengths=jnp.zeros(child.shape, jnp.int32),
    policy_logprobs=nothing[..., None],
    behavior_logprobs=nothing[..., None],
    hidden=_as_hidden(child),
    keys_values=(),
    policy_tokens=count,
    prm_tokens=count,
  )


def _as_hidden(state: Int[Array, "*B"]) -> Float[Array, "*B 1"]:
  """Returns the state's bits as the vector that a node carries."""
  return jax.lax.bitcast_convert_type(state, jnp.float32)[..., None]


if __name__ == "__main__":
  print(json.dumps(measure(*map(int, sys.argv[1:2]))))
