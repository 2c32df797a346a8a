"""Gumbel search: Sequential Halving at the root, improved policies below.

Policy improvement by planning with Gumbel ("Policy improvement by planning with
Gumbel", ICLR 2022), in the form and with the constants of mctx. At the root the
candidates with the largest g + logits are considered; the simulations are
shared out among them in rounds, and after each round the worse half by
g + logits + σ(q̂) is dropped. Below the root a simulation enters the child that
its improved policy, softmax(logits + σ(completed q)), has visited too little.
Without an improved root a search of language models loses accuracy as its
budget grows (arXiv:2603.21162).
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from reasoning_rl.search import selection

# Folded into the noise's keys in place of a problem, so that they are none of
# the keys from which thoughts are drawn.
_STREAM = 2**32 - 2


@dataclasses.dataclass(frozen=True)
class GumbelConfig:
  """Constants of the search.

  The schedule belongs to the root that a search began at: after `pool.reroot`
  what it has visited most goes on being visited. Once the schedule has ended,
  further simulations enter the child that was kept longest.

  Attributes:
    num_simulations: Simulations after the root's expansion, which Sequential
      Halving shares out; its whole budget is fixed at the start.
    max_considered: Most candidates considered at the root.
    value_scale: Weight of σ.
    visit_offset: Added to the largest number of visits in σ, c_visit.
    noise: Size of the Gumbel noise at the root; 0 makes the search certain.
  """

  num_simulations: int
  max_considered: int = 16
  value_scale: float = 0.1
  visit_offset: float = 50.0
  noise: float = 1.0

  def __post_init__(self):
    """Refuses a budget or a width that leaves nothing to search."""
    if self.num_simulations < 0 or self.max_considered < 1:
      raise ValueError(
        f"num_simulations is {self.num_simulations} and max_considered is"
        f" {self.max_considered}; use at least 0 and at least 1."
      )

  def scores(self, family: selection.Family) -> Float[Array, " A"]:
    """Returns π' − n / (1 + Σ n) of each child, the rule below the root."""
    logits = _finite_logits(family) + self.transformed_qvalues(family)
    improved = jax.nn.softmax(logits)
    visits = family.children_visits
    total = visits.sum()
    score = improved - visits / (1 + total)
    return jnp.where(family.eligible_mask, score, -jnp.inf)

  def root_scores(
    self,
    family: selection.Family,
    gumbel: Float[Array, " A"],
    simulation: Int[Array, ""],
  ) -> Float[Array, " A"]:
    """Returns the scores of the root's children, -inf off the schedule.

    Args:
      family: The root and its children.
      gumbel: Noise of each child, the same at every simulation.
      simulation: How many simulations came before this one.
    """
    valid = jnp.isfinite(family.prior_logits)
    table = jnp.asarray(schedule_table(self.max_considered, self._length()))
    considered = jnp.minimum(valid.sum(), self.max_considered)
    index = jnp.clip(simulation, 0, table.shape[1] - 1)
    wanted = table[considered, index]
    visits = family.children_visits
    eligible = family.eligible_mask
    on_time = eligible & (visits == wanted) & (simulation < self._length())
    # Where the schedule has ended, or wants an exhausted child, those that it
    # has kept longest go on.
    most = jnp.where(eligible, visits, -1).max()
    on_time = jnp.where(on_time.any(), on_time, eligible & (visits == most))
    logits = _finite_logits(family)
    logits -= logits.max()
    score = gumbel + logits + self.transformed_qvalues(family)
    return jnp.where(on_time, jnp.maximum(score, -1e9), -jnp.inf)

  def _length(self) -> int:
    return max(1, self.num_simulations)

  def transformed_qvalues(self, family: selection.Family) -> Float[Array, " A"]:
    """Returns σ(q̂): completed, rescaled to [0, 1] and weighted q-values."""
    visits = family.children_visits
    visited = visits > 0
    completed = jnp.where(visited, family.qvalues, _mixed_value(family))
    valid = jnp.isfinite(family.prior_logits)
    low = jnp.where(valid, completed, jnp.inf).min()
    high = jnp.where(valid, completed, -jnp.inf).max()
    rescaled = (completed - low) / jnp.maximum(high - low, 1e-8)
    most = visits.max()
    scaled = (self.visit_offset + most) * self.value_scale * rescaled
    return jnp.where(valid, scaled, 0.0)

  def gumbel(
    self,
    rng: Key[Array, ""],
    problem_id: Int[Array, " B"],
    root: Int[Array, " B"],
    count: int,
  ) -> Float[Array, "B A"]:
    """Returns the noise of each problem's root, from what these are alone.

    Args:
      rng: Of the search.
      problem_id: Names the problems.
      root: Where they are searched from.
      count: Children of the root, `A`.
    """
    fold = jax.random.fold_in
    keys = jax.vmap(fold, (None, 0))(fold(rng, _STREAM), problem_id)
    keys = jax.vmap(fold)(keys, root)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (count,)))(keys)
    return self.noise * noise


def schedule(considered: int, num_simulations: int) -> tuple[int, ...]:
  """Returns the visits that a child must have to be entered, by simulation.

  Sequential Halving in rounds of ⌊n / (m ⌈log₂ m⌉)⌉ visits for each of the
  children left, of which the better half goes on, down to two.

  Args:
    considered: Children considered at first, m.
    num_simulations: Simulations, n.
  """
  if considered <= 1:
    return tuple(range(num_simulations))
  rounds = math.ceil(math.log2(considered))
  left, visits, wanted = considered, 0, []
  while len(wanted) < num_simulations:
    for _ in range(max(1, num_simulations // (rounds * left))):
      wanted += [visits] * left
      visits += 1
    left = max(2, left // 2)
  return tuple(wanted[:num_simulations])


def schedule_table(
  max_considered: int, num_simulations: int
) -> Int[np.ndarray, "_ _"]:
  """Returns `schedule` of 0 to `max_considered` children, a row each."""
  rows = [schedule(m, num_simulations) for m in range(max_considered + 1)]
  return np.asarray(rows, np.int32)


def _finite_logits(family) -> Float[Array, " A"]:
  """Returns the prior logits, very low where a child is not valid."""
  return jnp.maximum(family.prior_logits, -1e9)


def _mixed_value(family) -> Float[Array, ""]:
  """Returns the mixed value of a node, which completes its unvisited children.

  (v + N Σ π q / Σ π) / (1 + N), the sums over the N visits' children (appendix
  D of the paper).
  """
  visited = family.children_visits > 0
  prior = jnp.maximum(selection.priors(family), jnp.finfo(jnp.float32).tiny)
  prior = jnp.where(visited, prior, 0.0)
  weight = prior.sum()
  mean = jnp.where(visited, prior * family.qvalues, 0.0)
  mean = mean.sum() / jnp.maximum(weight, selection.TINY)
  total = family.children_visits.sum()
  return (family.raw_value + total * mean) / (total + 1)
