"""Monte-Carlo labels of the nodes of a search tree.

A node's rollouts are the finished solutions below it, so one search labels
every thought it tried. Each finished solution counts once, however often it
was visited: a search visits what it believes in, and counting visits would
feed that belief back as a label. The solutions themselves are still those the
search chose to grow, not independent samples of the policy.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def descendant_outcomes(
  parents: Int[Array, "B N"],
  terminal_mask: Bool[Array, "B N"],
  outcome: Float[Array, "B N"],
  node_mask: Bool[Array, "B N"],
) -> tuple[Float[Array, "B N"], Float[Array, "B N"]]:
  """Counts the finished solutions in each node's subtree, itself included.

  With a(i) the ancestor 2ᵏ levels up and Sₖ(v) the sum over the descendants
  fewer than 2ᵏ levels below v, Sₖ₊₁(v) = Sₖ(v) + Σ_{a(i)=v} Sₖ(i): the number
  of rounds is the logarithm of the tree's size.

  Args:
    parents: Index of each node's parent, less than its own; -1 at the root.
    terminal_mask: True at nodes that end a solution.
    outcome: What the verifier paid at terminal nodes, in [0, 1].
    node_mask: True at slots that hold a node; the others count for nothing.

  Returns:
    The sum of outcomes and the number of terminal nodes in each subtree; 0 at
    slots without a node.
  """
  return jax.vmap(_descendant_outcomes)(
    parents, terminal_mask, outcome, node_mask
  )


def node_labels(
  correct_count: Float[Array, "B N"],
  total_count: Float[Array, "B N"],
) -> tuple[Float[Array, "B N"], Bool[Array, "B N"]]:
  """Turns the counts of `descendant_outcomes` into soft labels.

  Args:
    correct_count: Sum of outcomes in the node's subtree.
    total_count: Finished solutions in the node's subtree.

  Returns:
    The mean outcome of each node, and a mask that is False where nothing was
    finished below and at the root, which is the prompt and no thought.
  """
  labels = correct_count / jnp.maximum(total_count, 1.0)
  return labels, (total_count > 0).at[:, 0].set(False)


def _descendant_outcomes(
  parents: Int[Array, " N"],
  terminal_mask: Bool[Array, " N"],
  outcome: Float[Array, " N"],
  node_mask: Bool[Array, " N"],
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
  """Counts over one tree; _unbatched_."""
  size = parents.shape[0]
  finished = terminal_mask & node_mask
  # [2, N + 1]: slot N is a sink above the root. It is its own ancestor.
  sums = jnp.stack(
    [
      jnp.where(finished, outcome, 0.0).astype(jnp.float32),
      finished.astype(jnp.float32),
    ]
  )
  sums = jnp.pad(sums, ((0, 0), (0, 1)))
  ancestor = jnp.where(node_mask & (parents >= 0), parents, size)
  ancestor = jnp.pad(ancestor, (0, 1), constant_values=size)
  for _ in range((size - 1).bit_length()):
    sums = sums.at[:, ancestor].add(sums).at[:, size].set(0.0)
    ancestor = ancestor[ancestor]
  return sums[0, :size], sums[1, :size]
