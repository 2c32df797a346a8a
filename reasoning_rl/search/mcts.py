"""Monte-Carlo tree search over thoughts: simulate, expand, backup.

A simulation walks down from the root by PUCT to a node without children,
expands it into `A` candidate thoughts and backs the node's own value up. The
candidates wait, unvisited, until one is selected. Nodes are visited one per
simulation, so that visit counts equal mctx's where one leaf is taken per pass.

The tree is the whole state: running on from a finished tree is the same search
with more passes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import selection


@dataclasses.dataclass(frozen=True)
class MCTSConfig:
  """Shape and rules of the search.

  Attributes:
    num_candidates: Children per expansion, `A`.
    leaves_per_pass: Leaves taken per tree per pass, `S`; those after the first
      see the earlier ones as visits of value 0 (virtual loss).
    puct: Selection constants.
    skip_exhausted: Whether a complete solution is visited once only, and a node
      no more once that holds of all below it. Its score will not change, and
      what is left of the budget goes where something is still unknown; False
      counts visits as mctx does.
  """

  num_candidates: int
  leaves_per_pass: int = 1
  puct: selection.PUCTConfig = selection.PUCTConfig()
  skip_exhausted: bool = False

  def capacity(self, num_passes: int) -> int:
    """Returns the nodes that `num_passes` can fill."""
    return 1 + num_passes * self.leaves_per_pass * self.num_candidates


def run(
  params: Any,
  rng: Key[Array, ""],
  tree: tree_lib.Tree,
  expand_fn: Any,
  config: MCTSConfig,
  num_passes: int | Int[Array, ""],
  token_budget: Int[Array, " B"] | None = None,
) -> tree_lib.Tree:
  """Searches on from `tree`, all problems at once.

  Args:
    params: Passed to `expand_fn`.
    rng: Folded by problem and by what it has drawn inside `expand_fn`; the same
      for every call that continues one search.
    tree: Planted or searched trees with room for the passes.
    expand_fn: `expand_fn(params, rng, tree, leaf) -> Children`.
    config: The rules.
    num_passes: Most passes to make.
    token_budget: A problem takes part only while its policy tokens are below
      this.

  Returns:
    The trees; a problem's tree stops changing once its budget or its pool is
    used up, or its root exhausted.
  """

  def cond(carry):
    index, tree = carry
    room = tree.next_node[0] + added <= tree.capacity
    return (
      (index < num_passes) & room & jnp.any(_active(tree, token_budget, need))
    )

  def body(carry):
    index, tree = carry
    leaf = _select_leaves(tree, config, _active(tree, token_budget, need))
    openable = tree_lib.at_nodes(tree.open_mask, leaf) & (leaf >= 0)
    unexpanded = tree_lib.at_nodes(tree.children_start, leaf) < 0
    target = jnp.where(openable & unexpanded, leaf, tree_lib.Tree.NO_NODE)
    children = expand_fn(params, rng, tree, target)
    tree = tree_lib.add_children(tree, target, children)
    for s in range(config.leaves_per_pass):
      tree = backup(tree, leaf[:, s])
      if config.skip_exhausted:
        tree = exhaust(tree, leaf[:, s], config.num_candidates)
    return index + 1, tree

  added = config.leaves_per_pass * config.num_candidates
  need = added * tree.tokens.shape[2] if tree.pool_size else 0
  start = (jnp.asarray(0, jnp.int32), tree)
  return jax.lax.while_loop(cond, body, start)[1]


def _active(tree, token_budget, need) -> Bool[Array, " B"]:
  """Returns which problems may expand once more."""
  room = tree.pool_used + need <= tree.pool_size if need else True
  active = ~tree.exhausted_mask[:, tree_lib.Tree.ROOT_INDEX] & room
  if token_budget is not None:
    active &= tree.policy_tokens < token_budget
  return active


def _select_leaves(tree, config, active) -> Int[Array, "B S"]:
  """Selects `S` leaves, each under the virtual loss of those before it."""
  leaves = []
  for s in range(config.leaves_per_pass):
    leaf = simulate(tree, config)
    repeated = jnp.zeros_like(active)
    for earlier in leaves:
      repeated |= leaf == earlier
    leaf = jnp.where(active & ~repeated, leaf, tree_lib.Tree.NO_NODE)
    leaves.append(leaf)
    if s + 1 < config.leaves_per_pass:
      tree = backup(tree, leaf, virtual=True)
  return jnp.stack(leaves, axis=1)


def simulate(tree: tree_lib.Tree, config: MCTSConfig) -> Int[Array, " B"]:
  """Walks each tree from its root to a node without children."""

  def expanded(node):
    return tree_lib.at_nodes(tree.children_start, node[:, None])[:, 0] >= 0

  def cond(node):
    return jnp.any(expanded(node))

  def body(node):
    children = selection.children_of(tree, node, config.num_candidates)
    scores = selection.puct_scores(tree, node, children, config.puct)
    best = jnp.argmax(scores, axis=-1)[:, None]
    chosen = jnp.take_along_axis(children, best, axis=-1)[:, 0]
    return jnp.where(expanded(node), chosen, node)

  root = jnp.full(tree.prompt_length.shape, tree_lib.Tree.ROOT_INDEX)
  return jax.lax.while_loop(cond, body, root.astype(jnp.int32))


def exhaust(
  tree: tree_lib.Tree, leaf: Int[Array, " B"], num_candidates: int
) -> tree_lib.Tree:
  """Marks what a visit to `leaf` leaves nothing to find in, up to the root.

  A leaf without children after its visit is complete, or cannot go on; a node
  is exhausted with the last of its children.

  Args:
    tree: The trees, the leaf's children added.
    leaf: Where the simulation ended; `NO_NODE` leaves a tree untouched.
    num_candidates: Children per expansion, `A`.
  """
  rows = jnp.arange(leaf.shape[0])

  def body(carry):
    node, exhausted = carry
    at = jnp.maximum(node, 0)
    children = selection.children_of(tree, at, num_candidates)
    read = lambda field: tree_lib.at_nodes(field, children)
    below = jnp.all(read(exhausted) | ~read(tree.valid_mask), axis=-1)
    is_leaf = tree.children_start[rows, at] < 0
    done = (is_leaf | below) & (node >= 0)
    where = jnp.where(done, node, tree.capacity)
    exhausted = exhausted.at[rows, where].set(True, mode="drop")
    parent = tree.parents[rows, at]
    return jnp.where(done, parent, tree_lib.Tree.NO_NODE), exhausted

  _, exhausted = jax.lax.while_loop(
    lambda carry: jnp.any(carry[0] >= 0), body, (leaf, tree.exhausted_mask)
  )
  return tree.replace(exhausted_mask=exhausted)


def backup(
  tree: tree_lib.Tree, leaf: Int[Array, " B"], virtual: bool = False
) -> tree_lib.Tree:
  """Adds one simulation's return to every node from `leaf` to the root.

  The return at the leaf is its estimate; one level up it is
  reward + discount · return. The visit of a terminal node pays its reward and
  nothing beyond, its discount and value being 0.

  Args:
    tree: The trees.
    leaf: Where the simulation ended; `NO_NODE` leaves a tree untouched.
    virtual: Counts the visit with value 0 instead: a virtual loss.
  """
  rows = jnp.arange(leaf.shape[0])
  read = lambda field, node: field[rows, jnp.maximum(node, 0)]

  def cond(carry):
    return jnp.any(carry[0] >= 0)

  def body(carry):
    node, value, visits, values = carry
    count = read(visits, node)
    mean = (read(values, node) * count + value) / (count + 1)
    where = jnp.where(node >= 0, node, tree.capacity)
    visits = visits.at[rows, where].set(count + 1, mode="drop")
    values = values.at[rows, where].set(mean, mode="drop")
    value = read(tree.rewards, node) + read(tree.discounts, node) * value
    if virtual:
      value = jnp.zeros_like(value)
    parent = jnp.where(node >= 0, read(tree.parents, node), node)
    return parent, value, visits, values

  value: Float[Array, " B"] = read(tree.raw_values, leaf)
  if virtual:
    value = jnp.zeros_like(value)
  _, _, visits, values = jax.lax.while_loop(
    cond, body, (leaf, value, tree.node_visits, tree.node_values)
  )
  return tree.replace(node_visits=visits, node_values=values)
