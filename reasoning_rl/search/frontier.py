"""Frontier searches: expand the frontier, score the candidates, allocate.

Best-of-N, beam search and their kin are one loop; they differ in `allocate`,
the rule of `allocation.py` that chooses the next frontier among what it holds
and the new candidates, and in how far ahead a candidate is scored.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from reasoning_rl.search import allocation, lookahead

# Folded into a rule's keys in place of a problem, so that they are none of the
# keys from which thoughts are drawn.
_RULE_STREAM = 2**32 - 1


@flax.struct.dataclass
class FrontierState:
  """A frontier search between two passes.

  Attributes:
    tree: All thoughts so far.
    nodes: The frontier: nodes to expand next and solutions already complete.
    best_score: The best score of a solution found so far, -Inf before any.
  """

  tree: tree_lib.Tree
  nodes: Int[Array, "B W"]
  best_score: Float[Array, " B"]


@dataclasses.dataclass(frozen=True)
class FrontierConfig:
  """Shape and rule of the search.

  Attributes:
    width: Nodes in the frontier, `W`.
    num_candidates: Children per node, `A`; the search costs as many samples as
      width · A, or fewer where candidates are wanting.
    allocate: One of `allocation.RULES`. "independent" keeps every node's own
      child (best-of-N); "best" the best-scored of all (beam search,
      arXiv:2408.03314); "subtrees" the best child of every node (DVTS);
      "rebase" samples children in proportion to their parents' scores
      (arXiv:2408.00724); "particles" resamples (arXiv:2502.01618);
      "breadth_first" and "depth_first" are Tree of Thoughts (arXiv:2305.10601).
    aggregation: What scores a partial solution: the PRM's score of its "last"
      thought, or the "min" or "product" over its thoughts.
    refill: Whether slots that too few different candidates leave empty are
      given to the open ones again, best first. A node is expanded once for each
      slot it stands in, so a policy that repeats itself is asked more often
      instead of the beam getting narrower.
    leaves_per_pass: Nodes expanded per pass, `S`: the first open ones, while
      the others wait. None: all.
    lookahead: Thoughts rolled out greedily, k, before a candidate is scored
      (arXiv:2408.03314, section 5.2). A pass then costs up to k + 1 times as
      much.
    likelihood: λ, below 1: candidates are ranked by P^λ · score^(1 − λ), with P
      the policy's probability of the whole path (self-evaluation guided beam
      search, arXiv:2305.00633). With lookahead P ends where the candidate does.
      0: by the score alone, as thoughts are pruned and a search is stopped.
    temperature: Of "rebase" (T_b) and "particles"; infinity makes all alike.
    prune_score: Candidates scored below it are dropped.
    stop_score: A problem's search ends once a solution scores as much.
    max_depth: Thoughts are added up to this depth. None: no limit.
  """

  width: int
  num_candidates: int = 1
  allocate: str = "best"
  aggregation: str = "last"
  refill: bool = False
  leaves_per_pass: int | None = None
  lookahead: int = 0
  likelihood: float = 0.0
  temperature: float = 1.0
  prune_score: float = -math.inf
  stop_score: float = math.inf
  max_depth: int | None = None

  def __post_init__(self):
    """Refuses unknown rules and a rule that cannot place its children."""
    name, rule = self.allocate, allocation.RULES.get(self.allocate)
    if rule is None:
      raise ValueError(
        f"allocate is {name!r}; use one of {sorted(allocation.RULES)}."
      )
    if self.aggregation not in ("last", "min", "product"):
      raise ValueError(
        f"aggregation is {self.aggregation!r}; use 'last', 'min' or 'product'."
      )
    if rule.one_candidate and self.num_candidates != 1:
      raise ValueError(f"{name} draws samples: it needs num_candidates = 1.")
    if self.refill and not rule.may_refill:
      raise ValueError(f"{name} allots its slots itself: no refill.")
    if not 1 <= self.leaves <= self.width or self.num_candidates < 1:
      raise ValueError(
        "a frontier needs 1 <= leaves_per_pass <= width, A >= 1."
      )
    if self.leaves < self.width and not rule.may_wait:
      raise ValueError(f"{name} expands all its nodes: no leaves_per_pass.")
    if name == "depth_first" and self.leaves_per_pass is None:
      raise ValueError("depth_first expands the deepest: set leaves_per_pass.")
    if not 0 <= self.likelihood < 1:
      raise ValueError(
        f"likelihood is {self.likelihood}: give a share from 0 to below 1."
      )
    if self.likelihood and rule.one_candidate:
      raise ValueError(
        f"{name} draws samples, which are as likely as they are: no likelihood."
      )
    if self.lookahead < 0 or not self.temperature >= 1e-6:
      raise ValueError("a search needs lookahead >= 0, temperature >= 1e-6.")
    if self.lookahead and self.leaves < self.width:
      raise ValueError("what waits is not rolled out: no lookahead with it.")

  @property
  def leaves(self) -> int:
    """Nodes expanded per pass, `S`."""
    return self.width if self.leaves_per_pass is None else self.leaves_per_pass

  def capacity(self, num_passes: int) -> int:
    """Returns the nodes that `num_passes` can fill.

    With lookahead there is room for one pass' rolled thoughts besides. A pool
    for one thought less than that never runs out.
    """
    passes = num_passes + self.lookahead
    return 1 + passes * self.leaves * self.num_candidates


def start(tree: tree_lib.Tree, config: FrontierConfig) -> FrontierState:
  """Returns the search before its first pass: the root, `S` times."""
  batch = tree.prompt_length.shape[0]
  nodes = jnp.full((batch, config.width), tree_lib.Tree.NO_NODE, jnp.int32)
  nodes = nodes.at[:, : config.leaves].set(tree.root[:, None])
  return FrontierState(tree, nodes, jnp.full(batch, -jnp.inf, jnp.float32))


def run(
  params: Any,
  rng: Key[Array, ""],
  state: FrontierState,
  expand_fn: Any,
  config: FrontierConfig,
  num_passes: int | Int[Array, ""],
  token_budget: Int[Array, " B"] | None = None,
  rollout_fn: Any = None,
) -> FrontierState:
  """Searches on from `state`, all problems at once.

  A pass is made while the trees have room for it: `config.capacity(1) - 1` more
  nodes, and in a problem's pool as many whole thoughts.

  Args:
    params: Passed to `expand_fn` and `rollout_fn`.
    rng: Folded by problem and expansion inside `expand_fn`, and by a rule that
      draws; the same for every call that continues one search.
    state: From `start` or an earlier run.
    expand_fn: `expand_fn(params, rng, tree, leaf) -> Children`.
    config: The rule.
    num_passes: Most passes; the depth of the deepest solution is enough.
    token_budget: A problem takes part only while its policy tokens are below
      this. None: no limit.
    rollout_fn: Needed for lookahead: as `expand_fn`, with A = 1 and greedy.

  Returns:
    The search after the passes, or once nothing is left to expand. A problem
    whose search has ended keeps its frontier.
  """
  if config.lookahead and rollout_fn is None:
    raise ValueError("lookahead needs a greedy rollout_fn.")
  room = config.capacity(1) - 1

  def cond(carry):
    index, state = carry
    fits = state.tree.next_node[0] + room <= state.tree.capacity
    expanded = _expanded(state, config, room, token_budget)
    return (index < num_passes) & fits & jnp.any(expanded)

  def body(carry):
    index, state = carry
    expanded = _expanded(state, config, room, token_budget)
    leaf, slots = _leaves(state.nodes, expanded, config)
    children = expand_fn(params, rng, state.tree, leaf)
    tree = tree_lib.add_children(state.tree, leaf, children)
    # What was not expanded stays a candidate; what was is replaced by its
    # children.
    kept = jnp.where(expanded, tree_lib.Tree.NO_NODE, state.nodes)
    new = _consecutive(state.tree, slots.shape[1] * config.num_candidates)
    ahead, reached = tree, new
    if config.lookahead:
      ahead, reached = lookahead.roll(
        params, rng, tree, new, rollout_fn, config.lookahead, config.max_depth
      )
      tree = lookahead.give_back(tree, ahead)
    both = lambda new: jnp.concatenate([kept, new], axis=1)
    scores = path_scores(ahead, both(reached), config.aggregation)
    offer = _offer(rng, tree, both(new), scores, slots, config)
    nodes = _next_frontier(
      _by_likelihood(offer, tree, both(new), config), both(new), config
    )
    # A problem that rests must not be dealt its frontier anew.
    active = jnp.any(expanded, axis=1)
    nodes = jnp.where(active[:, None], nodes, state.nodes)
    best = jnp.maximum(state.best_score, _best_solution(offer))
    tree = pool_lib.release(tree, pool_lib.dead_nodes(tree, nodes))
    return index + 1, FrontierState(tree, nodes, best)

  begin = (jnp.asarray(0, jnp.int32), state)
  return jax.lax.while_loop(cond, body, begin)[1]


def _expanded(state, config, room, token_budget) -> Bool[Array, "B W"]:
  """Returns which slots are expanded next: the first `S` that may be."""
  tree, nodes = state.tree, state.nodes
  active = state.best_score < config.stop_score
  if token_budget is not None:
    active &= tree.policy_tokens < token_budget
  if tree.pool_size:
    active &= tree.pool_used + room * tree.tokens.shape[2] <= tree.pool_size
  wanted = tree_lib.at_nodes(tree.open_mask & tree.held_mask, nodes)
  wanted &= nodes >= 0
  if config.max_depth is not None:
    wanted &= tree_lib.at_nodes(tree.depth, nodes) < config.max_depth
  wanted &= active[:, None]
  return wanted & (jnp.cumsum(wanted, axis=1) <= config.leaves)


def _leaves(nodes, expanded, config) -> tuple[Array, Array]:
  """Returns the `S` leaves to expand, some `NO_NODE`, and their slots."""
  slots = jnp.arange(config.width, dtype=jnp.int32)
  slots = jnp.broadcast_to(slots[None], nodes.shape)
  if config.leaves < config.width:
    slots = jnp.argsort(~expanded, axis=1, stable=True)[:, : config.leaves]
  leaf = jnp.where(expanded, nodes, tree_lib.Tree.NO_NODE)
  return jnp.take_along_axis(leaf, slots, axis=1), slots.astype(jnp.int32)


def _consecutive(tree, count) -> Int[Array, "B S"]:
  """Returns the `count` nodes that the next expansion makes."""
  new = tree.next_node[0] + jnp.arange(count, dtype=jnp.int32)
  return jnp.broadcast_to(new[None], (tree.prompt_length.shape[0], count))


def _offer(rng, tree, candidates, scores, slots, config) -> allocation.Offer:
  """Arranges what the rule may look at."""
  own = jnp.arange(config.width, dtype=jnp.int32)
  own = jnp.broadcast_to(own[None], (slots.shape[0], config.width))
  slot = jnp.repeat(slots, config.num_candidates, axis=1)
  scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
  read = lambda field: tree_lib.at_nodes(field, candidates)
  usable = read(tree.open_mask | tree.terminal_mask) & (candidates >= 0)
  usable &= scores >= config.prune_score
  is_new = jnp.arange(candidates.shape[1]) >= config.width
  fold = jax.random.fold_in
  keys = jax.vmap(fold, (None, 0))(fold(rng, _RULE_STREAM), tree.problem_id)
  return allocation.Offer(
    scores=scores,
    usable_mask=usable,
    open_mask=usable & read(tree.open_mask),
    depth=read(tree.depth),
    slot=jnp.concatenate([own, slot], axis=1),
    new_mask=jnp.broadcast_to(is_new[None], candidates.shape),
    # The tokens so far number a problem's passes without regard to the others.
    rng=jax.vmap(fold)(keys, tree.policy_tokens),
  )


def _by_likelihood(offer, tree, candidates, config) -> allocation.Offer:
  """Returns the offer with scores to rank by, in logarithms if they are mixed.

  P of a few hundred tokens is no float32 number.
  """
  if not config.likelihood:
    return offer
  least = jnp.finfo(jnp.float32).tiny
  worth = (1 - config.likelihood) * jnp.log(jnp.maximum(offer.scores, least))
  worth += config.likelihood * path_logprobs(tree, candidates)
  known = jnp.isfinite(offer.scores)
  return offer._replace(scores=jnp.where(known, worth, -jnp.inf))


def _next_frontier(offer, candidates, config) -> Int[Array, "B W"]:
  """Returns the nodes of the candidates that the rule puts in the slots."""
  chosen = allocation.RULES[config.allocate].allocate(offer, config)
  if config.refill:
    chosen = allocation.refilled(offer, chosen)
  nodes = jnp.take_along_axis(candidates, jnp.maximum(chosen, 0), axis=1)
  return jnp.where(chosen >= 0, nodes, tree_lib.Tree.NO_NODE)


def _best_solution(offer) -> Float[Array, " B"]:
  """Returns the best score of a complete candidate, -Inf where none is."""
  complete = offer.usable_mask & ~offer.open_mask
  return jnp.max(jnp.where(complete, offer.scores, -jnp.inf), axis=1)


def path_scores(
  tree: tree_lib.Tree, nodes: Int[Array, "B S"], aggregation: str
) -> Float[Array, "B S"]:
  """Returns the aggregated PRM score of the path from the root to a node.

  A thought whose score is not finite makes every score it enters NaN.
  """
  rewards = tree.thought_rewards
  rewards = jnp.where(jnp.isfinite(rewards), rewards, jnp.nan)
  if aggregation == "last":
    return tree_lib.at_nodes(rewards, nodes)
  combine = jnp.minimum if aggregation == "min" else jnp.multiply
  return _along_path(tree, nodes, rewards, combine, 1.0)


def path_logprobs(
  tree: tree_lib.Tree, nodes: Int[Array, "B S"]
) -> Float[Array, "B S"]:
  """Returns the policy's log-probability of each node's path from the root."""
  return _along_path(
    tree, nodes, tree.policy_logprobs.sum(axis=-1), jnp.add, 0.0
  )


def _along_path(tree, nodes, values, combine, begin) -> Float[Array, "B S"]:
  """Returns the nodes' values combined with all above them, below the root."""

  def cond(carry):
    return jnp.any(carry[0] > tree_lib.Tree.ROOT_INDEX)

  def body(carry):
    node, total = carry
    here = tree_lib.at_nodes(values, node)
    below_root = node > tree_lib.Tree.ROOT_INDEX
    total = jnp.where(below_root, combine(total, here), total)
    parent = tree_lib.at_nodes(tree.parents, node)
    return jnp.where(below_root, parent, node), total

  start = (nodes, jnp.full(nodes.shape, begin, jnp.float32))
  return jax.lax.while_loop(cond, body, start)[1]
