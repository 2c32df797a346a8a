"""Allocation rules: which candidates stand in the slots of the next frontier.

A rule sees the candidates of a pass (an `Offer`) and returns, for each slot,
the index of a candidate, or `EMPTY`. To add a rule, write such a function and
give it a line in `RULES`.

Ties go to the earlier candidate. A score that is not finite ranks below every
other, but above nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

EMPTY = -1
# Keeps the log-odds of a score finite.
_SCORE_MARGIN = 1e-6


class Offer(NamedTuple):
  """What a rule may look at: `K` candidates per problem.

  The first `W` are what stood in the frontier's slots and was not expanded; the
  rest are new, those of one parent in a row.

  Attributes:
    scores: Aggregated PRM score, -Inf where it is not finite.
    usable_mask: True where a candidate is complete or can go on.
    open_mask: True where it is usable and can go on.
    depth: Thoughts from the root.
    slot: The slot it or its parent stood in.
    new_mask: True where it was made in this pass.
    rng: A key per problem, never used before.
  """

  scores: Float[Array, "B K"]
  usable_mask: Bool[Array, "B K"]
  open_mask: Bool[Array, "B K"]
  depth: Int[Array, "B K"]
  slot: Int[Array, "B K"]
  new_mask: Bool[Array, "B K"]
  rng: Key[Array, " B"]


def own_best(offer: Offer, config: Any) -> Int[Array, "B W"]:
  """Keeps in each slot the best of what came from it.

  With one candidate these are independent samples; with `A` it is diverse
  verifier tree search: `W` subtrees that never compete, each keeps the best of
  the `A` continuations it was given (Scaling Test-Time Compute with Open
  Models; budget n = W · A).
  """
  return _of_slot(offer, offer.usable_mask, config.width)


def best(offer: Offer, config: Any) -> Int[Array, "B W"]:
  """Keeps the `W` best of all (beam search, arXiv:2408.03314)."""
  return _first(offer, config.width, -offer.scores)


def breadth_first(offer: Offer, config: Any) -> Int[Array, "B W"]:
  """Keeps the `W` best of the new depth (Tree of Thoughts, arXiv:2305.10601).

  Solutions of earlier depths do not compete with it: they keep what slots it
  leaves. With `prune_score` those below it are none.
  """
  return _first(offer, config.width, -offer.scores, ~offer.new_mask)


def depth_first(offer: Offer, config: Any) -> Int[Array, "B W"]:
  """Keeps a stack: the best of the deepest thoughts is expanded next.

  Algorithm 2 of Tree of Thoughts (arXiv:2305.10601) with one leaf per pass and
  1 + (A − 1) · depth slots; with fewer, the shallowest thoughts are forgotten.
  Where all children are below `prune_score` the search backtracks.
  """
  closed = ~offer.open_mask
  if config.max_depth is not None:
    closed |= offer.depth >= config.max_depth
  return _first(offer, config.width, -offer.scores, -offer.depth, closed)


def rebase(offer: Offer, config: Any) -> Int[Array, "B W"]:
  """Gives node j Round(B · softmax(R_j / T_b)) slots (arXiv:2408.00724).

  The budget `B` is what finished solutions have not taken of `W`: each of them
  holds a slot. Halves are rounded up. Where the sum of the rounded widths
  passes `B`, the best-scored keep theirs; where it falls short, slots stay
  empty until the next depth.
  """
  finished = offer.usable_mask & ~offer.open_mask
  budget = config.width - finished.sum(axis=1, keepdims=True)
  logits = _draw_logits(offer, offer.scores, config.temperature)
  top = jnp.max(logits, axis=1, keepdims=True)
  weights = jnp.exp(logits - jnp.where(jnp.isfinite(top), top, 0.0))
  total = jnp.maximum(weights.sum(axis=1, keepdims=True), 1.0)
  widths = jnp.floor(budget * weights / total + 0.5).astype(jnp.int32)
  widths = jnp.where(finished, 1, widths)
  order = _order(offer, -offer.scores, offer.open_mask)
  ends = jnp.cumsum(jnp.take_along_axis(widths, order, axis=1), axis=1)
  slots = jnp.arange(config.width, dtype=jnp.int32)
  place = jnp.sum(ends[:, None] <= slots[None, :, None], axis=-1)
  last = order.shape[1] - 1
  chosen = jnp.take_along_axis(order, jnp.minimum(place, last), axis=1)
  return jnp.where(place <= last, chosen, EMPTY)


def particles(offer: Offer, config: Any) -> Int[Array, "B W"]:
  """Resamples by softmax(logit(score) / temperature) (arXiv:2502.01618).

  A finished particle stays in its slot and is drawn no more; every other slot
  is drawn anew among the particles that can go on, independently.
  """
  score = jnp.clip(offer.scores, _SCORE_MARGIN, 1 - _SCORE_MARGIN)
  logits = jnp.log(score) - jnp.log1p(-score)
  logits = _draw_logits(offer, logits, config.temperature)
  shape = (config.width, logits.shape[1])
  noise = jax.vmap(lambda rng: jax.random.gumbel(rng, shape))(offer.rng)
  drawn = jnp.argmax(logits[:, None] + noise, axis=-1).astype(jnp.int32)
  some = jnp.any(offer.open_mask, axis=1, keepdims=True)
  finished = offer.usable_mask & ~offer.open_mask
  own = _of_slot(offer, finished, config.width)
  return jnp.where(own >= 0, own, jnp.where(some, drawn, EMPTY))


class Rule(NamedTuple):
  """A rule and what it goes with.

  Attributes:
    allocate: `allocate(offer, config) -> candidate of each slot`, for a
      `FrontierConfig`.
    one_candidate: Whether a slot must have one child only, being a sample.
    may_refill: Whether empty slots may be given to open nodes once more.
    may_wait: Whether some slots may wait while others are expanded.
  """

  allocate: Callable[[Offer, Any], Array]
  one_candidate: bool = False
  may_refill: bool = False
  may_wait: bool = False


RULES: dict[str, Rule] = {
  "independent": Rule(own_best, one_candidate=True),
  "best": Rule(best, may_refill=True, may_wait=True),
  "subtrees": Rule(own_best),
  "rebase": Rule(rebase, one_candidate=True),
  "particles": Rule(particles, one_candidate=True),
  "breadth_first": Rule(breadth_first, may_refill=True),
  "depth_first": Rule(depth_first, may_wait=True),
}


def refilled(offer: Offer, chosen: Int[Array, "B W"]) -> Int[Array, "B W"]:
  """Fills the empty slots with the open candidates among `chosen`, in turn."""
  empty = chosen < 0
  at_chosen = jnp.take_along_axis(
    offer.open_mask, jnp.maximum(chosen, 0), axis=1
  )
  is_open = at_chosen & ~empty
  open_first = jnp.argsort(~is_open, axis=1, stable=True)
  count = is_open.sum(axis=1, keepdims=True)
  turn = jnp.cumsum(empty, axis=1) - 1
  source = jnp.take_along_axis(open_first, turn % jnp.maximum(count, 1), axis=1)
  again = jnp.take_along_axis(chosen, source, axis=1)
  return jnp.where(empty & (count > 0), again, chosen)


def _order(offer: Offer, *keys: Array) -> Int[Array, "B K"]:
  """Returns the candidates sorted by the last key first; unusable ones last."""
  return jnp.lexsort((*keys, ~offer.usable_mask), axis=-1).astype(jnp.int32)


def _first(offer: Offer, width: int, *keys: Array) -> Int[Array, "B W"]:
  """Returns the first `width` usable candidates in that order."""
  chosen = _order(offer, *keys)[:, :width]
  usable = jnp.take_along_axis(offer.usable_mask, chosen, axis=1)
  return jnp.where(usable, chosen, EMPTY)


def _of_slot(
  offer: Offer, mask: Bool[Array, "B K"], width: int
) -> Int[Array, "B W"]:
  """Returns the best candidate under `mask` that came from each slot."""
  order = _order(offer, -offer.scores)
  place = jnp.argsort(order, axis=1)
  slots = jnp.arange(width, dtype=jnp.int32)[None, :, None]
  mine = (offer.slot[:, None] == slots) & mask[:, None]
  place = jnp.where(mine, place[:, None], order.shape[1])
  chosen = jnp.argmin(place, axis=-1).astype(jnp.int32)
  return jnp.where(jnp.any(mine, axis=-1), chosen, EMPTY)


def _draw_logits(
  offer: Offer, values: Float[Array, "B K"], temperature: float
) -> Float[Array, "B K"]:
  """Returns values / temperature of what can go on, -Inf elsewhere.

  What has no finite score gets no share, unless nothing has one: then all get
  the same.
  """
  finite = offer.open_mask & jnp.isfinite(offer.scores)
  some = jnp.any(finite, axis=1, keepdims=True)
  logits = jnp.where(finite, values, 0.0) / temperature
  return jnp.where(jnp.where(some, finite, offer.open_mask), logits, -jnp.inf)
