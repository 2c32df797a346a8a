"""Backup: one way up a tree that keeps all that selection needs.

A simulation changes the statistics of the nodes between a leaf and the root,
and a rule ranks a node's children by these nodes' statistics alone. So the way
up also renews, for each node it passes, which leaf the next simulation through
it will end in (`Tree.best_leaf`), and no simulation ever walks down. Every
level of it reads the children of one node per problem, a contiguous slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import selection

KINDS = ("mean", "outcome", "children")
# Few leaves lie much deeper than the others: once no more than this part of the
# problems is still on its way, the others are left out of the work.
_FEW = 4


class Statistics(NamedTuple):
  """What a backup changes of a tree; the fields are named as there."""

  node_visits: Int[Array, "B N"]
  node_values: Float[Array, "B N"]
  qvalues: Float[Array, "B N"]
  best_leaf: Int[Array, "B N"]
  exhausted_mask: Bool[Array, "B N"]


def backup(
  tree: tree_lib.Tree,
  leaf: Int[Array, " B"],
  rule: selection.Rule,
  num_candidates: int,
  kind: str = "mean",
  *,
  virtual: bool = False,
  skip_exhausted: bool = False,
) -> tree_lib.Tree:
  """Adds one simulation to every node from `leaf` to the root.

  Args:
    tree: The trees, the leaf's children added.
    leaf: Where the simulation ended; `NO_NODE` leaves a tree untouched.
    rule: Ranks children.
    num_candidates: Children per expansion, `A`.
    kind: What a node's value is. "mean": the mean of the returns; the return at
      the leaf is its estimate, one level up it is reward + discount · return.
      "outcome" (rStar-Math): the mean of outcomes in [−1, 1], 2 reward − 1 of a
      complete solution and −1 of one that cannot be completed; a simulation
      that ends in an open node counts nothing and the next one goes on from its
      children. "children" (ReST-MCTS*): Σ n q / Σ n over the node's children.
    virtual: Counts a visit with the worst value instead: a virtual loss.
    skip_exhausted: Whether to pass nodes by below which all has been visited,
      and to mark them; a virtual visit marks none.

  Returns:
    The trees. The visit of a terminal node pays its reward and nothing beyond,
    its discount and value being 0.
  """
  options = (tree, rule, num_candidates, kind, virtual, skip_exhausted)
  rows = jnp.arange(leaf.shape[0], dtype=jnp.int32)
  climb = _Climb(*options, rows)
  names = Statistics._fields
  statistics = Statistics(*(getattr(tree, name) for name in names))
  carry = (leaf, climb.first_return(leaf), statistics)
  counts = climb.counts(leaf)
  few = leaf.shape[0] // _FEW
  node, returns, statistics = jax.lax.while_loop(
    lambda carry: jnp.sum(carry[0] >= 0) > few, climb.level(counts), carry
  )
  if few:
    rows = _climbing(node, few)
    node = jnp.where(rows < leaf.shape[0], node[rows], tree_lib.Tree.NO_NODE)
    climb = _Climb(*options, jnp.minimum(rows, leaf.shape[0] - 1))
    _, _, statistics = jax.lax.while_loop(
      lambda carry: jnp.any(carry[0] >= 0),
      climb.level(counts[rows]),
      (node, returns[rows], statistics),
    )
  return tree.replace(**statistics._asdict())


def _climbing(node: Int[Array, " B"], count: int) -> Int[Array, " _"]:
  """Returns the rows that are still below their root, then the row after all.

  Args:
    node: Where each row is, at most `count` of them somewhere.
    count: Rows wanted.
  """
  rows = jnp.arange(node.shape[0], dtype=jnp.int32)
  place = jnp.where(node >= 0, jnp.cumsum(node >= 0) - 1, count)
  none = jnp.full(count, node.shape[0], jnp.int32)
  return none.at[place].set(rows, mode="drop")


def family_of(
  tree: tree_lib.Tree, node: Int[Array, " B"], num_candidates: int
) -> selection.Family:
  """Returns a node of each problem and its children, as the tree has them.

  Args:
    tree: The trees.
    node: An expanded node; of another the children are none.
    num_candidates: Children per expansion, `A`.

  Returns:
    A batch of families, the problems as the last axis, see `scores_of`.
  """
  rows = jnp.arange(node.shape[0], dtype=jnp.int32)
  read = _Reader(num_candidates, rows)
  first = read.node(tree.children_start, node)
  logits = read.children(tree.prior_logits, first)
  valid = jnp.isfinite(logits) & (first >= 0)[None]
  return selection.Family(
    visits=read.node(tree.node_visits, node),
    value=read.node(tree.node_values, node),
    raw_value=read.node(tree.raw_values, node),
    children_visits=read.children(tree.node_visits, first),
    qvalues=read.children(tree.qvalues, first),
    prior_logits=jnp.where(valid, logits, -jnp.inf),
    eligible_mask=valid & ~read.children(tree.exhausted_mask, first),
  )


def best_of(
  scores: Callable[..., Float[Array, " A"]],
  family: selection.Family,
  *arguments: Array,
) -> Int[Array, " B"]:
  """Returns the index of each problem's child with the largest score.

  Problems are the last axis of everything: maxima and sums over children then
  run over whole vectors, which XLA's CPU backend does 3 to 6 times faster.
  """
  score = jax.vmap(scores, in_axes=-1, out_axes=-1)(family, *arguments)
  return jnp.argmax(score, axis=0).astype(jnp.int32)


class _Reader:
  """Reads a node of each problem in `rows`, or its children."""

  def __init__(self, num_candidates, rows):
    self._num_candidates, self.rows = num_candidates, rows

  def node(self, field, node) -> Array:
    index = (self.rows, jnp.maximum(node, 0))
    return field.at[index].get(mode="promise_in_bounds")

  def children(self, field, first) -> Array:
    """Reads the children [A, B] that begin at `first`, side by side.

    By one flat index: XLA's CPU backend takes half the time of two.
    """
    offset = jnp.arange(self._num_candidates, dtype=jnp.int32)[:, None]
    begin = self.rows * field.shape[1] + jnp.maximum(first, 0)
    flat = field.reshape(-1)
    return flat.at[begin[None] + offset].get(mode="promise_in_bounds")


class _Climb:
  """The way up; its arrays are those of one backup."""

  def __init__(self, tree, rule, num_candidates, kind, virtual, skip, rows):
    self._tree, self._rule, self._kind = tree, rule, kind
    self._virtual, self._skip = virtual, skip
    self._reader = _Reader(num_candidates, rows)
    self._read = self._reader.node
    self._children = self._reader.children

  def _put(self, field, node, mask, value):
    where = jnp.where(mask, node, field.shape[1])
    return field.at[self._reader.rows, where].set(value, mode="drop")

  def first_return(self, leaf) -> Float[Array, " B"]:
    """Returns what the simulation is worth at its leaf."""
    tree = self._tree
    if self._kind == "outcome":
      reward = 2 * self._read(tree.rewards, leaf) - 1
      reached = self._read(tree.terminal_mask, leaf) & (not self._virtual)
      return jnp.where(reached, reward, -1.0)
    value = self._read(tree.raw_values, leaf)
    return jnp.zeros_like(value) if self._virtual else value

  def counts(self, leaf) -> Bool[Array, " B"]:
    """Returns which simulations count as visits."""
    counts = leaf >= 0
    if self._kind == "outcome" and not self._virtual:
      # A node whose expansion gave no candidate is as good as closed.
      tree = self._tree
      is_open = self._read(tree.open_mask, leaf)
      counts &= ~(is_open & (self._read(tree.children_start, leaf) >= 0))
    return counts

  def level(self, counts):
    """Returns the function that updates one node per problem."""
    tree = self._tree
    root = tree.root[self._reader.rows]

    def update(carry):
      node, returns, old = carry
      first = self._read(tree.children_start, node)
      expanded = first >= 0
      family = self._family(node, first, returns, counts, expanded, old)
      qvalue, up = self._worth(node, family.value, returns, old)
      best = best_of(self._rule.scores, family)
      below = self._read(old.best_leaf, first + best)
      # An index is never negative, but with it every write waits for all reads:
      # else XLA copies the whole fields at every level to be able to mix them.
      here = (node >= 0) & (best >= 0)
      renewed = lambda field, x: self._put(field, node, here, x)
      counted = lambda field, x: self._put(field, node, here & counts, x)
      exhausted = old.exhausted_mask
      if self._skip and not self._virtual:
        done = ~(expanded & family.eligible_mask.any(axis=0))
        exhausted = self._put(exhausted, node, here & counts & done, True)
      new = Statistics(
        counted(old.node_visits, family.visits),
        counted(old.node_values, family.value),
        counted(old.qvalues, qvalue),
        renewed(old.best_leaf, jnp.where(expanded, below, node)),
        exhausted,
      )
      is_top = (node < 0) | (node == root)
      parent = self._read(tree.parents, node)
      parent = jnp.where(is_top, tree_lib.Tree.NO_NODE, parent)
      return parent, up, new

    return update

  def _family(self, node, first, returns, counts, expanded, old):
    """Returns the node after this visit, and its children."""
    tree = self._tree
    logits = self._children(tree.prior_logits, first)
    valid = jnp.isfinite(logits) & expanded[None]
    eligible = valid
    if self._skip:
      eligible = valid & ~self._children(old.exhausted_mask, first)
    visits = self._children(old.node_visits, first)
    qvalues = self._children(old.qvalues, first)
    count, value = (
      self._read(field, node) for field in (old.node_visits, old.node_values)
    )
    if self._kind == "children":
      weight = jnp.where(valid, visits, 0)
      total = weight.sum(axis=0)
      mean = jnp.where(valid, weight * qvalues, 0.0).sum(axis=0)
      mean /= jnp.maximum(total, 1)
      value = jnp.where(total > 0, mean, value)
    elif self._kind == "outcome":
      begin = self._rule.first_value(self._read(old.qvalues, node))
      total = jnp.where(count > 0, value * count, begin)
      value = (total + returns) / (count + 1)
    else:
      value = (value * count + returns) / (count + 1)
    old_value = self._read(old.node_values, node)
    return selection.Family(
      visits=count + counts,
      value=jnp.where(counts, value, old_value),
      raw_value=self._read(tree.raw_values, node),
      children_visits=visits,
      qvalues=qvalues,
      prior_logits=logits,
      eligible_mask=eligible,
    )

  def _worth(self, node, value, returns, old):
    """Returns what entering the node is worth, and the parent's return."""
    tree = self._tree
    if self._kind == "outcome":
      return value, returns
    reward, discount = (
      self._read(field, node) for field in (tree.rewards, tree.discounts)
    )
    if self._virtual:
      # As though the visit had paid 0, the reward on entering included.
      count = self._read(old.node_visits, node)
      qvalue = self._read(old.qvalues, node) * count / (count + 1)
      return qvalue, jnp.zeros_like(returns)
    return reward + discount * value, reward + discount * returns
