"""Which child a simulation enters: the selection rules of tree search.

A rule is a frozen dataclass with a method `scores`; the child with the largest
score is entered. It sees a node and its children and nothing else, so that a
child's rank changes only when a simulation passes through its parent. Rules are
_unbatched_: the search maps them over problems.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Above all that a visited child can score with values in [-1, 1], and small
# enough for float32 to tell the children's values apart beside it.
UNVISITED_FIRST = 100.0
TINY = 1e-30  # Keeps a division by nothing finite.


class Family(NamedTuple):
  """A node and its `A` children, as a rule sees them; _unbatched_.

  Attributes:
    visits: Visits of the node.
    value: Mean of the returns backed up through it.
    raw_value: The estimate it came with.
    children_visits: Visits of each child.
    qvalues: What entering each child is worth; before a visit, its estimate.
    prior_logits: Log-probability of each child, unnormalised.
    eligible_mask: Children that may be entered.
  """

  visits: Int[Array, ""]
  value: Float[Array, ""]
  raw_value: Float[Array, ""]
  children_visits: Int[Array, " A"]
  qvalues: Float[Array, " A"]
  prior_logits: Float[Array, " A"]
  eligible_mask: Bool[Array, " A"]


@typing.runtime_checkable
class Rule(typing.Protocol):
  """What ranks the children of a node; a frozen dataclass."""

  def scores(self, family: Family) -> Float[Array, " A"]:
    """Returns each child's score, -inf where it is not eligible."""


@dataclasses.dataclass(frozen=True)
class PUCTConfig:
  """PUCT: Q + U with a prior (arXiv:1911.08265, appendix B).

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

  def scores(self, family: Family) -> Float[Array, " A"]:
    """Returns Q + U of each child, -inf where it is not eligible.

    U = P √N (c₁ + log((N + c₂ + 1) / c₂)) / (1 + n), with N the parent's visits
    and n the child's.
    """
    visits, qvalues = family.children_visits, family.qvalues
    weight = self.pb_c_init + jnp.log(
      (family.visits + self.pb_c_base + 1.0) / self.pb_c_base
    )
    weight *= jnp.sqrt(family.visits)
    if self.value_kind == "siblings":
      qvalues = _rescale_by_siblings(qvalues, visits > 0, family.value)
    score = qvalues + weight * priors(family) / (visits + 1)
    return jnp.where(family.eligible_mask, score, -jnp.inf)


@dataclasses.dataclass(frozen=True)
class UCTConfig:
  """UCT: Q + c √(ln N / n), without a prior.

  Attributes:
    constant: Weight of the exploration term, c. rStar-Math (arXiv:2501.04519)
      takes 2; ReST-MCTS* (arXiv:2406.03816) ε √2 with ε = 0.7.
    unvisited_bonus: Stands in for the exploration term of an unvisited child,
      whose Q is its own estimate. By default every child is visited before
      one is visited again, the best estimate first.
    scaled: Whether values are returns in [-1, 1] and estimates probabilities,
      which 2 p − 1 brings to the same scale.
    prior_value: Whether Q begins with the estimate (the PPM-augmented rounds of
      rStar-Math) or with 0 (its terminal-guided rounds).
  """

  constant: float = 2**0.5
  unvisited_bonus: float = UNVISITED_FIRST
  scaled: bool = False
  prior_value: bool = True

  def scores(self, family: Family) -> Float[Array, " A"]:
    """Returns each child's score, -inf where it is not eligible."""
    visits, qvalues = family.children_visits, family.qvalues
    new = visits == 0
    qvalues = jnp.where(new, self.first_value(qvalues), qvalues)
    # A child has no more visits than its parent: the logarithm is not negative.
    log_visits = jnp.log(jnp.maximum(family.visits, 1).astype(jnp.float32))
    bonus = self.constant * jnp.sqrt(log_visits / jnp.maximum(visits, 1))
    score = qvalues + jnp.where(new, self.unvisited_bonus, bonus)
    return jnp.where(family.eligible_mask, score, -jnp.inf)

  def first_value(self, estimate: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Returns what Q begins with, given an estimate."""
    if not self.prior_value:
      return jnp.zeros_like(estimate)
    return 2 * estimate - 1 if self.scaled else estimate


def priors(family: Family) -> Float[Array, " A"]:
  """Returns each child's probability among its valid siblings."""
  logits = family.prior_logits
  highest = jnp.max(logits)
  # Where none is valid nothing is subtracted, and all are 0 instead of NaN.
  highest = jnp.where(jnp.isfinite(highest), highest, 0.0)
  weights = jnp.exp(logits - highest)
  total = jnp.sum(weights)
  return weights / jnp.maximum(total, TINY)


def _rescale_by_siblings(
  qvalues: Float[Array, " A"],
  visited_mask: Bool[Array, " A"],
  parent_value: Float[Array, ""],
) -> Float[Array, " A"]:
  """Rescales to [0, 1] as mctx does; unvisited children get 0."""
  known = jnp.where(visited_mask, qvalues, parent_value)
  low = jnp.minimum(parent_value, known.min())
  high = jnp.maximum(parent_value, known.max())
  completed = jnp.where(visited_mask, qvalues, low)
  return (completed - low) / jnp.maximum(high - low, 1e-8)
