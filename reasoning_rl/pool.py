"""Where a path's tokens lie in the pool, and how slots are given back.

A slot holds one token's keys and values in every network's pool. The free slots
of a problem are a stack, `Tree.free_slots`: an expansion reads as many as it
has tokens off its end, `release` puts those of pruned nodes back. So the pool
fills to its last slot whatever lengths thoughts have, and a search that prunes
needs room for the paths it still follows and for one pass.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from reasoning_rl import tree as tree_lib


def path_slots(
  tree: tree_lib.Tree, path: Int[Array, "B S T"], size: int
) -> tuple[Int[Array, "B S M"], Bool[Array, "B S M"]]:
  """Returns the pool slots of a path's tokens in order, and which are real.

  Args:
    tree: The trees.
    path: Nodes from `tree.ancestors`.
    size: Most tokens on a path, `M`.
  """
  batch, leaves, thoughts = path.shape
  flat = path.reshape(batch, leaves * thoughts)
  take = lambda field: tree_lib.at_nodes(field, flat)
  lengths = jnp.where(path >= 0, take(tree.lengths).reshape(path.shape), 0)
  slots = take(tree.slots).reshape(batch, leaves, -1)
  ends = jnp.cumsum(lengths, axis=-1)
  position = jnp.arange(size)
  # Thoughts are padded to equal sizes: to come to a token of a later thought,
  # also step over the padding of each thought before it.
  is_before = ends[..., None, :] <= position[None, None, :, None]
  padding = tree.slots.shape[2] - lengths
  skipped = jnp.where(is_before, padding[..., None, :], 0).sum(axis=-1)
  index = jnp.minimum(position[None, None] + skipped, slots.shape[-1] - 1)
  mask = position[None, None] < ends[..., -1:]
  return jnp.where(mask, jnp.take_along_axis(slots, index, axis=-1), 0), mask


def release(
  tree: tree_lib.Tree, node_mask: Bool[Array, "B N"]
) -> tree_lib.Tree:
  """Gives the slots of nodes back, for later expansions to take.

  The nodes keep their tokens and scores but can't be expanded, nor can what
  lies below them. Trees planted without `reuse` stay as they are.

  Args:
    tree: The trees.
    node_mask: True at nodes whose keys and values nobody reads any more.
  """
  if isinstance(tree.free_slots, tuple):
    return tree
  released = node_mask & tree.held_mask
  is_slot = released[..., None] & (tree.slots < tree.pool_size)
  count = is_slot.sum(axis=-1)
  # The first token of each node goes this far below the end of the stack.
  first = tree.pool_used[:, None] - jnp.cumsum(count, axis=1)
  where = first[..., None] + jnp.arange(tree.slots.shape[2])[None, None]
  where = jnp.where(is_slot, where, tree.pool_size)
  rows = jnp.arange(len(where))[:, None, None]
  return tree.replace(
    held_mask=tree.held_mask & ~released,
    free_slots=tree.free_slots.at[rows, where].set(tree.slots, mode="drop"),
    pool_used=tree.pool_used - count.sum(axis=1),
  )


def dead_nodes(
  tree: tree_lib.Tree, frontier: Int[Array, "B W"]
) -> Bool[Array, "B N"]:
  """Returns the nodes whose slots a frontier search needs no more.

  Only what follows an open node of the frontier is still to be read: its own
  path. A complete solution has nothing to follow.

  Args:
    tree: The trees.
    frontier: Nodes to expand next, among complete ones and `NO_NODE`.
  """
  is_open = tree_lib.at_nodes(tree.open_mask, frontier) & (frontier >= 0)
  ends = jnp.where(is_open, frontier, tree_lib.Tree.ROOT_INDEX)
  return tree.held_mask & ~on_paths(tree, ends)


def on_paths(
  tree: tree_lib.Tree, ends: Int[Array, "B S"]
) -> Bool[Array, "B N"]:
  """Returns the nodes on the paths from node 0 to `ends`, both included."""
  rows = jnp.arange(len(ends))[:, None]

  def body(carry):
    node, marked = carry
    marked = marked.at[rows, node].set(True)
    above = tree_lib.at_nodes(tree.parents, node)
    return jnp.maximum(above, tree_lib.Tree.ROOT_INDEX), marked

  below = lambda carry: jnp.any(carry[0] > tree_lib.Tree.ROOT_INDEX)
  marked = jnp.zeros(tree.parents.shape, bool)
  marked = marked.at[:, tree_lib.Tree.ROOT_INDEX].set(True)
  return jax.lax.while_loop(below, body, (ends, marked))[1]


def subtree(tree: tree_lib.Tree, top: Int[Array, " B"]) -> Bool[Array, "B N"]:
  """Returns `top` and all that lies below it."""
  node = jnp.arange(tree.capacity, dtype=jnp.int32)[None]

  def body(carry):
    marked, _ = carry
    has_parent = tree.parents >= 0
    grown = marked | (tree_lib.at_nodes(marked, tree.parents) & has_parent)
    return grown, jnp.any(grown != marked)

  start = (node == top[:, None], jnp.asarray(True))
  return jax.lax.while_loop(lambda carry: carry[1], body, start)[0]


def reroot(tree: tree_lib.Tree, child: Int[Array, " B"]) -> tree_lib.Tree:
  """Begins the search at a node below the present root from now on.

  Its subtree keeps its statistics, keys and values; what lies above stays where
  it is as context, and the slots of all else are given back, though their nodes
  are not used again. Nothing is moved.

  Args:
    tree: The trees.
    child: A valid node below the root; `NO_NODE` leaves a tree untouched.
  """
  root = jnp.where(child >= 0, child, tree.root)
  kept = on_paths(tree, root[:, None]) | subtree(tree, root)
  # What an earlier root stopped at need not lie below this one.
  stopped = tree.stopped_mask & (child < 0)
  return release(tree.replace(root=root, stopped_mask=stopped), ~kept)


def frontier_slots(
  width: int,
  num_candidates: int,
  max_thoughts: int,
  thought_size: int,
  reuse: bool,
) -> int:
  """Returns the slots with which a frontier search never stands still.

  With reuse, those of the `width` paths that it follows, each of which can go
  on once more, and of what one pass adds; without, of what all passes add.

  Args:
    width: Nodes in the frontier, `W`.
    num_candidates: Children per node, `A`.
    max_thoughts: Most thoughts in a solution, `T`.
    thought_size: Most tokens in a thought, `C`.
    reuse: Whether what is pruned is released after every pass.
  """
  thoughts = num_candidates * max_thoughts
  if reuse:
    thoughts = min(thoughts, max_thoughts - 1 + num_candidates)
  return width * thoughts * thought_size
