"""Lookahead: how a thought scores after the thoughts that would follow it.

The further thoughts are decoded into the tree, for that is where their context
lies, read, and given back: their nodes and pool slots are the next to be
written, their tokens stay counted.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from reasoning_rl import tree as tree_lib


def roll(
  params: Any,
  rng: Key[Array, ""],
  tree: tree_lib.Tree,
  nodes: Int[Array, "B S"],
  rollout_fn: Any,
  num_thoughts: int,
  max_depth: int | None = None,
) -> tuple[tree_lib.Tree, Int[Array, "B S"]]:
  """Follows each node by up to `num_thoughts` thoughts, until a solution ends.

  Args:
    params: Passed to `rollout_fn`.
    rng: Passed to `rollout_fn`, which is greedy.
    tree: Trees with room for S · `num_thoughts` more nodes and their tokens.
    nodes: Where to start; `NO_NODE` and what cannot go on is not followed.
    rollout_fn: As `expand_fn`, with A = 1.
    num_thoughts: Most thoughts.
    max_depth: Nodes at this depth are not followed.

  Returns:
    The trees with what was decoded, for `give_back`, and the node that was
    reached from each. A thought that is not valid is not reached.
  """

  def goes_on(tree, node) -> Bool[Array, "B S"]:
    is_open = tree_lib.at_nodes(tree.open_mask, node) & (node >= 0)
    if max_depth is None:
      return is_open
    return is_open & (tree_lib.at_nodes(tree.depth, node) < max_depth)

  def cond(carry):
    index, _, _, rolling = carry
    return (index < num_thoughts) & jnp.any(rolling)

  def body(carry):
    index, tree, node, rolling = carry
    first = tree.next_node[0]
    leaf = jnp.where(rolling, node, tree_lib.Tree.NO_NODE)
    children = rollout_fn(params, rng, tree, leaf)
    tree = tree_lib.add_children(tree, leaf, children)
    child = first + jnp.arange(node.shape[1], dtype=jnp.int32)
    child = jnp.broadcast_to(child[None], node.shape)
    rolling &= tree_lib.at_nodes(tree.valid_mask, child)
    node = jnp.where(rolling, child, node)
    return index + 1, tree, node, rolling & goes_on(tree, node)

  begin = (jnp.asarray(0, jnp.int32), tree, nodes, goes_on(tree, nodes))
  _, tree, reached, _ = jax.lax.while_loop(cond, body, begin)
  return tree, reached


# What stays as the rollouts left it: the costs, and the large fields, which
# hold nothing of theirs below `next_node` and `pool_used`. Taking these from
# the trees before would make the compiler keep a copy of every pool.
_STAYS = (
  "policy_tokens",
  "prm_tokens",
  "pool_peak",
  "pools",
  "prm_carry",
  "hidden",
)
_STAYS += ("tokens", "policy_logprobs", "behavior_logprobs")


def give_back(before: tree_lib.Tree, rolled: tree_lib.Tree) -> tree_lib.Tree:
  """Returns the trees as they were before `roll`, its tokens counted."""
  return before.replace(**{name: getattr(rolled, name) for name in _STAYS})
