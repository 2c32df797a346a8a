"""Which child a simulation enters: the selection rules of tree search."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from reasoning_rl import tree as tree_lib


@dataclasses.dataclass(frozen=True)
class PUCTConfig:
  """Constants of PUCT.

  Attributes:
    pb_c_init: Weight of the exploration term.
    pb_c_base: Node visits at which that weight starts to grow.
    value_kind: What an unvisited child is worth. "score": its own estimate,
      which the PRM gave when it was decoded. "siblings": mctx's
      `qtransform_by_parent_and_siblings`, values rescaled to [0, 1] among the
      parent and the visited children and 0 for the others.
  """

  pb_c_init: float = 1.25
  pb_c_base: float = 19_652.0
  value_kind: str = "score"

  def __post_init__(self):
    """Refuses an unknown kind of value."""
    if self.value_kind not in ("score", "siblings"):
      raise ValueError(
        f"value_kind is {self.value_kind!r}; use 'score' or 'siblings'."
      )


def children_of(
  tree: tree_lib.Tree, node: Int[Array, " B"], num_candidates: int
) -> Int[Array, "B A"]:
  """Returns the children of an expanded node."""
  first = tree_lib.at_nodes(tree.children_start, node[:, None])
  return first + jnp.arange(num_candidates, dtype=jnp.int32)[None]


def puct_scores(
  tree: tree_lib.Tree,
  node: Int[Array, " B"],
  children: Int[Array, "B A"],
  config: PUCTConfig,
) -> Float[Array, "B A"]:
  """Returns Q + U of each child, -inf where it is not valid or exhausted.

  U = P √N (c₁ + log((N + c₂ + 1) / c₂)) / (1 + n), arXiv:1911.08265 appendix B,
  with N the parent's visits and n the child's.
  """
  read = lambda field: tree_lib.at_nodes(field, children)
  valid, visits = read(tree.valid_mask), read(tree.node_visits)
  total = tree_lib.at_nodes(tree.node_visits, node[:, None])
  prior = jax.nn.softmax(
    jnp.where(valid, read(tree.prior_logits), -jnp.inf), axis=-1
  )
  weight = config.pb_c_init + jnp.log(
    (total + config.pb_c_base + 1.0) / config.pb_c_base
  )
  exploration = jnp.sqrt(total) * weight * prior / (visits + 1)
  # Before a visit `node_values` is the estimate the child came with.
  qvalues = read(tree.rewards) + read(tree.discounts) * read(tree.node_values)
  if config.value_kind == "siblings":
    parent_value = tree_lib.at_nodes(tree.node_values, node[:, None])
    qvalues = _rescale_by_siblings(qvalues, visits > 0, parent_value)
  eligible = valid & ~read(tree.exhausted_mask)
  return jnp.where(eligible, qvalues + exploration, -jnp.inf)


def _rescale_by_siblings(
  qvalues: Float[Array, "B A"],
  visited_mask: Bool[Array, "B A"],
  parent_value: Float[Array, "B 1"],
) -> Float[Array, "B A"]:
  """Rescales to [0, 1] as mctx does; unvisited children get 0."""
  known = jnp.where(visited_mask, qvalues, parent_value)
  low = jnp.minimum(parent_value, known.min(axis=-1, keepdims=True))
  high = jnp.maximum(parent_value, known.max(axis=-1, keepdims=True))
  completed = jnp.where(visited_mask, qvalues, low)
  return (completed - low) / jnp.maximum(high - low, 1e-8)
