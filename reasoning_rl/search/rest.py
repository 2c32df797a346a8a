"""The simulation of ReST-MCTS*: a new node's best child is rolled out.

ReST-MCTS* (arXiv:2406.03816, algorithm 2): of an expanded node's children the
best one is followed greedily for a few thoughts, its value becomes
(1 − α) v + α · the largest value seen on the way, and it counts as visited.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import backup as backup_lib
from reasoning_rl.search import lookahead, selection


def raise_best_child(
  params: Any,
  rng: Key[Array, ""],
  tree: tree_lib.Tree,
  node: Int[Array, " B"],
  rollout_fn: Any,
  rule: selection.Rule,
  num_candidates: int,
  num_thoughts: int,
  weight: float,
  max_depth: int | None = None,
) -> tree_lib.Tree:
  """Visits the best child of each newly expanded node.

  Args:
    params: Passed to `rollout_fn`.
    rng: Likewise.
    tree: The trees, the nodes' children added.
    node: What was expanded; where nothing was, a tree stays as it is.
    rollout_fn: As `expand_fn`, with one greedy candidate.
    rule: Ranks children.
    num_candidates: Children per expansion, `A`.
    num_thoughts: Most thoughts rolled out; 0 leaves values as they are.
    weight: α.
    max_depth: Thoughts of this depth are not followed.

  Returns:
    The trees; rolled thoughts are forgotten, their tokens stay counted.
  """
  read = lambda field, at: tree_lib.at_nodes(field, at[:, None])[:, 0]
  first = read(tree.children_start, node)
  family = backup_lib.family_of(tree, node, num_candidates)
  child = first + backup_lib.best_of(rule.scores, family)
  child = jnp.where((node >= 0) & (first >= 0), child, tree_lib.Tree.NO_NODE)
  value = read(tree.qvalues, child)
  if num_thoughts:
    rolled, reached = lookahead.roll(
      params, rng, tree, child[:, None], rollout_fn, num_thoughts, max_depth
    )
    seen = _best_on_the_way(rolled, reached[:, 0], child)
    tree = lookahead.give_back(tree, rolled)
    mixed = (1 - weight) * value + weight * seen
    value = jnp.where(jnp.isfinite(seen), mixed, value)
  rows = jnp.arange(child.shape[0])
  where = jnp.where(child >= 0, child, tree.capacity)
  is_open = read(tree.open_mask, child)
  put = lambda field, at, x: field.at[rows, at].set(x, mode="drop")
  return tree.replace(
    qvalues=put(tree.qvalues, where, value),
    node_values=put(
      tree.node_values, jnp.where(is_open, where, tree.capacity), value
    ),
    node_visits=tree.node_visits.at[rows, where].add(1, mode="drop"),
  )


def _best_on_the_way(tree, reached, start) -> Float[Array, " B"]:
  """Returns the largest value after `start`; -inf where nothing follows."""

  def body(carry):
    node, best = carry
    at = node[:, None]
    here = tree_lib.at_nodes(tree.qvalues, at)[:, 0]
    above = node != start
    best = jnp.where(above, jnp.maximum(best, here), best)
    parent = tree_lib.at_nodes(tree.parents, at)[:, 0]
    return jnp.where(above, parent, node), best

  begin = (reached, jnp.full(reached.shape, -jnp.inf, jnp.float32))
  return jax.lax.while_loop(
    lambda carry: jnp.any(carry[0] != start), body, begin
  )[1]
