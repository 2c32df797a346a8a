"""Frontier searches: expand the frontier, score the candidates, allocate.

Best-of-N and beam search over thoughts are one loop; they differ in `allocate`,
the rule that chooses the next frontier among the finished solutions it holds
and the new candidates. Another rule is one function more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib


@flax.struct.dataclass
class FrontierState:
  """A frontier search between two passes.

  Attributes:
    tree: All thoughts so far.
    nodes: The frontier: nodes to expand next and solutions already complete.
  """

  tree: tree_lib.Tree
  nodes: Int[Array, "B W"]


@dataclasses.dataclass(frozen=True)
class FrontierConfig:
  """Shape and rule of the search.

  Attributes:
    width: Nodes in the frontier, `W`.
    num_candidates: Children per node, `A`; the search costs as many samples as
      width · A, or fewer where candidates are wanting.
    allocate: "independent" keeps every node's own first child (best-of-N);
      "best" keeps the best-scored of all (beam search, arXiv:2408.03314).
    aggregation: What scores a partial solution: the PRM's score of its "last"
      thought, or the "min" or "product" over its thoughts.
    refill: Whether slots that too few different candidates leave empty are
      given to the open ones again, best first. A node is expanded once for each
      slot it stands in, so a policy that repeats itself is asked more often
      instead of the beam getting narrower.
  """

  width: int
  num_candidates: int = 1
  allocate: str = "best"
  aggregation: str = "last"
  refill: bool = False

  def __post_init__(self):
    """Refuses unknown rules and a rule that cannot place its children."""
    if self.allocate not in ALLOCATE:
      raise ValueError(
        f"allocate is {self.allocate!r}; use one of {sorted(ALLOCATE)}."
      )
    if self.aggregation not in ("last", "min", "product"):
      raise ValueError(
        f"aggregation is {self.aggregation!r}; use 'last', 'min' or 'product'."
      )
    if self.allocate == "independent" and self.num_candidates != 1:
      raise ValueError("independent samples need num_candidates = 1.")
    if self.allocate == "independent" and self.refill:
      raise ValueError("independent samples keep their slots: no refill.")

  def capacity(self, num_passes: int) -> int:
    """Returns the nodes that `num_passes` can fill."""
    return 1 + num_passes * self.width * self.num_candidates


def start(tree: tree_lib.Tree, config: FrontierConfig) -> FrontierState:
  """Returns the search before its first pass: the root, `W` times."""
  shape = (tree.prompt_length.shape[0], config.width)
  nodes = jnp.full(shape, tree_lib.Tree.ROOT_INDEX, jnp.int32)
  return FrontierState(tree, nodes)


def run(
  params: Any,
  rng: Key[Array, ""],
  state: FrontierState,
  expand_fn: Any,
  config: FrontierConfig,
  num_passes: int | Int[Array, ""],
) -> FrontierState:
  """Searches on from `state`, all problems at once.

  Args:
    params: Passed to `expand_fn`.
    rng: Folded by problem and expansion inside `expand_fn`.
    state: From `start` or an earlier run.
    expand_fn: `expand_fn(params, rng, tree, leaf) -> Children`.
    config: The rule.
    num_passes: Most passes; the depth of the deepest solution is enough.

  Returns:
    The search after the passes, or once nothing is left to expand.
  """
  need = config.width * config.num_candidates * state.tree.tokens.shape[2]

  def targets(state):
    is_open = tree_lib.at_nodes(state.tree.open_mask, state.nodes)
    wanted = is_open & (state.nodes >= 0)
    if state.tree.pool_size:
      room = state.tree.pool_used + need <= state.tree.pool_size
      wanted &= room[:, None]
    return jnp.where(wanted, state.nodes, tree_lib.Tree.NO_NODE)

  def cond(carry):
    index, state = carry
    added = config.width * config.num_candidates
    room = state.tree.next_node[0] + added <= state.tree.capacity
    return (index < num_passes) & room & jnp.any(targets(state) >= 0)

  def body(carry):
    index, state = carry
    leaf, first = targets(state), state.tree.next_node[0]
    children = expand_fn(params, rng, state.tree, leaf)
    tree = tree_lib.add_children(state.tree, leaf, children)
    nodes = _next_frontier(tree, state.nodes, leaf, first, config)
    tree = pool_lib.release(tree, pool_lib.dead_nodes(tree, nodes))
    return index + 1, FrontierState(tree, nodes)

  begin = (jnp.asarray(0, jnp.int32), state)
  return jax.lax.while_loop(cond, body, begin)[1]


def _next_frontier(tree, nodes, leaf, first, config) -> Int[Array, "B W"]:
  """Allocates the next frontier among complete solutions and new children."""
  batch, width = nodes.shape
  new = first + jnp.arange(width * config.num_candidates, dtype=jnp.int32)
  new = jnp.broadcast_to(new[None], (batch, new.shape[0]))
  # What was not expanded stays a candidate; what was is replaced by its
  # children.
  kept = jnp.where(leaf >= 0, tree_lib.Tree.NO_NODE, nodes)
  candidates = jnp.concatenate([kept, new], axis=1)
  usable = tree_lib.at_nodes(tree.open_mask | tree.terminal_mask, candidates)
  usable &= candidates >= 0
  scores = path_scores(tree, candidates, config.aggregation)
  chosen = ALLOCATE[config.allocate](scores, usable, width)
  picked = jnp.take_along_axis(candidates, chosen, axis=1)
  picked_usable = jnp.take_along_axis(usable, chosen, axis=1)
  picked = jnp.where(picked_usable, picked, tree_lib.Tree.NO_NODE)
  return _refilled(tree, picked) if config.refill else picked


def _refilled(tree, nodes: Int[Array, "B W"]) -> Int[Array, "B W"]:
  """Fills the empty slots with the open nodes, in turn."""
  is_open = tree_lib.at_nodes(tree.open_mask, nodes) & (nodes >= 0)
  open_first = jnp.argsort(~is_open, axis=1, stable=True)
  count = is_open.sum(axis=1, keepdims=True)
  empty = nodes < 0
  turn = jnp.cumsum(empty, axis=1) - 1
  source = jnp.take_along_axis(open_first, turn % jnp.maximum(count, 1), axis=1)
  again = jnp.take_along_axis(nodes, source, axis=1)
  return jnp.where(empty & (count > 0), again, nodes)


def path_scores(
  tree: tree_lib.Tree, nodes: Int[Array, "B S"], aggregation: str
) -> Float[Array, "B S"]:
  """Returns the aggregated PRM score of the path from the root to a node."""
  own = tree_lib.at_nodes(tree.thought_rewards, nodes)
  if aggregation == "last":
    return own
  combine = jnp.minimum if aggregation == "min" else jnp.multiply

  def cond(carry):
    return jnp.any(carry[0] > tree_lib.Tree.ROOT_INDEX)

  def body(carry):
    node, score = carry
    here = tree_lib.at_nodes(tree.thought_rewards, node)
    below_root = node > tree_lib.Tree.ROOT_INDEX
    score = jnp.where(below_root, combine(score, here), score)
    parent = tree_lib.at_nodes(tree.parents, node)
    return jnp.where(below_root, parent, node), score

  begin = (nodes, jnp.ones(nodes.shape, jnp.float32))
  return jax.lax.while_loop(cond, body, begin)[1]


def _independent(
  scores: Float[Array, "B K"], usable: Bool[Array, "B K"], width: int
) -> Int[Array, "B W"]:
  """Keeps sample w in slot w: itself once complete, else its only child."""
  del scores
  slots = jnp.arange(width, dtype=jnp.int32)[None]
  return jnp.where(usable[:, :width], slots, slots + width)


def _best(
  scores: Float[Array, "B K"], usable: Bool[Array, "B K"], width: int
) -> Int[Array, "B W"]:
  """Keeps the `width` best-scored candidates; the earlier one on a tie."""
  ranked = jnp.where(usable, jnp.nan_to_num(scores, nan=-1.0), -jnp.inf)
  return jax.lax.top_k(ranked, width)[1]


ALLOCATE: dict[str, Callable[..., Array]] = {
  "independent": _independent,
  "best": _best,
}
