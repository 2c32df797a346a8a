"""Searches on a 2 x 2 x 2 mesh and on one device, and prints what differs.

Run by test_split_problems.py in a process of its own, with eight host devices.
Prints one JSON object.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.search import frontier, mcts
from reasoning_rl.training import sharding as sharding_lib

_PASSES, _CANDIDATES, _SIZE = 4, 2, 3
_RULES = {
  "puct": mcts.MCTSConfig(_CANDIDATES, skip_exhausted=True),
  "gumbel": mcts.gumbel(_CANDIDATES, 2 * _PASSES),
  "rebase": frontier.FrontierConfig(3, 1, "rebase", temperature=0.3),
}
# Three problems cannot be shared equally by 2 x 2 devices.
_CASES = (("equal", "puct", 8), ("unequal", "puct", 3))
_CASES += (("gumbel", "gumbel", 8), ("rebase", "rebase", 8))


def _network(*heads):
  config = transformer.NetworkConfig(
    vocab_size=6, model_size=8, num_layers=1, num_heads=2, num_kv_heads=2,
    head_size=4, mlp_size=8, max_positions=32, heads=heads,
  )  # fmt: skip
  return network_lib.Network(config)


def _search_fn(policy, prm, rules):
  """Returns a search in two functions, as the pipelines have it."""
  is_tree = isinstance(rules, mcts.MCTSConfig)
  limits = expand.ExpandConfig(
    num_candidates=rules.num_candidates,
    draw="distinct" if is_tree else "independent",
    max_thoughts=3,
    max_thought_tokens=_SIZE,
    boundary=boundaries.single(1),
    end_ids=(2,),
  )
  expand_fn = expand.make_expand_fn(policy, prm, limits)
  capacity = rules.capacity(2 * _PASSES)

  def plant(params, prompt, length, ids):
    root = expand.make_root(policy, prm, params, prompt, length, ids)
    tree = tree_lib.plant(
      root, capacity, _SIZE, capacity * _SIZE, reuse=not is_tree
    )
    return tree if is_tree else frontier.start(tree, rules)

  def run(params, rng, state):
    search = mcts.run if is_tree else frontier.run
    passes = _PASSES if is_tree else 1
    return search(params, rng, state, expand_fn, rules, passes)

  return plant, run


def _search(mesh, params, functions, count):
  """Returns `count` problems' trees, grown in two calls, and what is next."""
  plant, run = functions
  plant = sharding_lib.map_problems(plant, mesh, 1)
  run = sharding_lib.map_problems(run, mesh, 2, donate_argnums=(2,))
  ids = np.arange(count, dtype=np.int32)
  prompt = np.random.default_rng(0).integers(3, 6, (count, 4))
  length = np.full(count, 4)
  state = plant(params, prompt.astype(np.int32), length, ids)
  for _ in range(2):
    state = run(params, jax.random.key(1), state)
  if isinstance(state, frontier.FrontierState):
    return state.tree, state.nodes
  return state, state.children_start


def main():
  """Compares eight devices with one."""
  policy, prm = _network("language"), _network("language", "implicit")
  params = expand.SearchParams(
    policy.init(jax.random.key(0)), prm.init(jax.random.key(1))
  )
  functions = {
    name: _search_fn(policy, prm, rules) for name, rules in _RULES.items()
  }
  one = sharding_lib.make_mesh(devices=jax.devices()[:1])
  eight = sharding_lib.make_mesh(data=2, fsdp=2, tensor=2)
  rules = sharding_lib.DEFAULT_RULES
  split = jax.device_put(
    params, sharding_lib.param_shardings(params, rules, eight)
  )
  report = {}
  for name, rule, count in _CASES:
    alone, nodes = _search(one, params, functions[rule], count)
    spread, other_nodes = _search(eight, split, functions[rule], count)
    same = lambda x, y: bool(np.array_equal(np.asarray(x), np.asarray(y)))
    report[name] = {
      "shard": spread.parents.addressable_shards[0].data.shape[0],
      "nodes": int(jnp.sum(alone.valid_mask)),
      "visits": same(alone.node_visits, spread.node_visits),
      "tokens": same(alone.tokens, spread.tokens),
      "next": same(nodes, other_nodes),
      "rewards": float(
        np.max(np.abs(np.asarray(alone.thought_rewards)
                      - np.asarray(spread.thought_rewards)))
      ),
    }  # fmt: skip
  print(json.dumps(report))


if __name__ == "__main__":
  main()
