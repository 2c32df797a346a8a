"""Expansion: candidate thoughts for the leaves of search trees.

All B · S · A rows are decoded together. A leaf's ancestors are gathered from
the pool once per thought and shared by its candidates; the prompt is shared by
all rows of its problem. The PRM's score comes from a head on the policy's own
pass where the policy has one, else from a second network that reads just the
new tokens and keeps a pool of its own. An implicit PRM also carries the
log-probability of the path from thought to thought.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import distinct, prompts, sampling, thought_scores
from reasoning_rl.decoding import lanes as lanes_lib
from reasoning_rl.decoding import stops as stops_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib

ExpandFn = Callable[..., tree_lib.Children]

DRAWS = ("distinct", "merged", "independent")
# Up to this many prompt tokens one queue of all problems' rows is faster: lanes
# stay busy, though each copies its prompt (equal at 96, on a CPU with 4 lanes).
_SHORT_PROMPT = 96


@dataclasses.dataclass(frozen=True)
class ExpandConfig:
  """How leaves are expanded.

  Attributes:
    num_candidates: Thoughts sampled per leaf, `A`.
    max_thoughts: Most thoughts in a solution, `T`.
    max_thought_tokens: Most tokens in a thought, `C`.
    boundary: What ends a thought.
    end_ids: Tokens that end a solution.
    sampling: How tokens are chosen.
    draw: How a leaf's thoughts come about. "distinct": they all differ, drawn
      without replacement; a thought's prior is its probability. "merged":
      independent samples, of which equal ones become one child whose prior is
      their share. "independent": the samples as they are.
    value_error: Share, e, of its opposite in every value and reward: a search
      then believes (1 − e) v + e (1 − v). Scores stay as they are.
    lanes: Rows per problem that are decoded at once, of S · A. A row that ends
      gives its lane to one that waits, so long thoughts do not hold short ones
      back; what is sampled is the same. 0: all rows at once. So are the rows
      of "distinct" thoughts, which compete as long as one of them goes on.
  """

  num_candidates: int
  max_thoughts: int
  max_thought_tokens: int
  boundary: boundaries.Boundary
  end_ids: tuple[int, ...]
  sampling: sampling.SamplingConfig = sampling.SamplingConfig()
  draw: str = "distinct"
  lanes: int = 0
  value_error: float = 0.0

  def __post_init__(self):
    """Refuses values that cannot work."""
    if self.lanes < 0:
      raise ValueError(f"lanes is {self.lanes}; use 0 (all rows) or more.")
    if self.draw not in DRAWS:
      raise ValueError(f"draw is {self.draw!r}; use one of {DRAWS}.")


class SearchParams(NamedTuple):
  """Parameters of the networks a search consults; `prm` may be None."""

  policy: network_lib.Params
  prm: network_lib.Params | None = None


class _LeafContext(NamedTuple):
  """Where the rows of an expansion continue from, for one network."""

  segments: tuple[attention_lib.Segment, ...]
  position: Array


def make_root(
  policy: network_lib.Network,
  prm: network_lib.Network | None,
  params: SearchParams,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  problem_id: Int[Array, " B"],
  shared: int = 0,
) -> tree_lib.Root:
  """Reads the prompts once with every network that the search consults.

  Of an empty prompt's root (see `tree.Root`) nobody reads what it holds. Tokens
  that are `shared`, see `prompts`, are read once and kept with each prompt.
  """
  rows = prompt, prompt_length, shared
  of_policy, hidden = prompts.read_whole(policy, params.policy, *rows)
  read, carry = (of_policy,), ()
  if prm is not None:
    of_prm, last = prompts.read_whole(prm, params.prm, *rows)
    read += (of_prm,)
    if "implicit" in prm.config.heads:
      carry = thought_scores.PRMCarry(
        last, jnp.zeros(prompt_length.shape, jnp.float32)
      )
  return tree_lib.Root(
    problem_id=problem_id,
    prompt_length=prompt_length,
    hidden=hidden,
    values=jnp.full(prompt_length.shape, 0.5, jnp.float32),
    prompts=read,
    prm_carry=carry,
  )


def make_expand_fn(
  policy: network_lib.Network,
  prm: network_lib.Network | None,
  config: ExpandConfig,
) -> ExpandFn:
  """Returns `expand_fn(params, rng, tree, leaf) -> Children`.

  Args:
    policy: The network that writes thoughts.
    prm: The network that scores them. None: the policy's own thought head
      does, or nothing where it has none (every score is then 0).
    config: Sizes and rules.
  """

  def expand_fn(
    params: SearchParams,
    rng: Key[Array, ""],
    tree: tree_lib.Tree,
    leaf: Int[Array, "B S"],
  ) -> tree_lib.Children:
    contexts = _leaf_contexts(tree, leaf, config)
    decoded = _decode_thoughts(
      policy, params.policy, rng, tree, leaf, contexts[0], config
    )
    if prm is None:
      before = _of_rows((tree.policy_logprobs, tree.lengths), leaf, config)
      scored = thought_scores.of_policy(
        policy, params.policy, decoded, before, config.end_ids
      )
    else:
      carry = _of_rows(tree.prm_carry, leaf, config)
      context = contexts[1]
      scored = thought_scores.read(
        prm,
        params.prm,
        carry,
        decoded,
        context.segments,
        context.position,
      )
    return _children(tree, leaf, decoded, scored, config)

  return expand_fn


def _leaf_contexts(tree, leaf, config) -> tuple[_LeafContext, ...]:
  """Gathers each leaf's ancestors, once per thought, from every pool."""
  batch, leaves = leaf.shape
  size = max(1, (config.max_thoughts - 1) * config.max_thought_tokens)
  path = tree_lib.ancestors(tree, leaf, config.max_thoughts)
  slots, mask = pool_lib.path_slots(tree, path, size)
  position = tree.prompt_length[:, None] + mask.sum(axis=-1)
  position = jnp.repeat(position.reshape(-1), config.num_candidates)
  of_keys = tree.prompt_length[:, None] + jnp.arange(size)[None]
  of_keys = jnp.repeat(of_keys, leaves, axis=0)
  mask = mask.reshape(batch * leaves, 1, 1, size)

  def gather(pool):
    found = tree_lib.at_nodes(pool, slots.reshape(batch, -1))
    found = found.reshape(batch * leaves, size, *pool.shape[2:])
    return found.swapaxes(1, 2)

  return tuple(
    _LeafContext(
      (
        decode_lib.prompt_segment(prompt, tree.prompt_length),
        attention_lib.Segment(jax.tree.map(gather, pool), mask, of_keys),
      ),
      position,
    )
    for prompt, pool in zip(tree.prompts, tree.pools, strict=True)
  )


def _of_rows(fields, leaf, config):
  """Returns per-node fields at each leaf, once for each of its candidates."""

  def read(field):
    found = tree_lib.at_nodes(field, leaf)
    found = found.reshape(-1, *field.shape[2:])
    return jnp.repeat(found, config.num_candidates, axis=0)

  return jax.tree.map(read, fields)


def _decode_thoughts(policy, params, rng, tree, leaf, context, config):
  """Samples `A` thoughts of every leaf, all rows together."""
  candidates, groups = config.num_candidates, None
  if config.draw == "distinct":
    # Where one leaf stands in every place, as the root does in the beginning,
    # all rows are one group. One that stands in some places, in a beam that is
    # being refilled, is drawn from by each of them, and repetitions are merged.
    joint = jnp.all((leaf == leaf[:, :1]) & (leaf >= 0), axis=1)
    groups = distinct.Groups(joint, candidates)
  hidden = _of_rows(tree.hidden, leaf, config)
  batch, rows = leaf.shape[0], leaf.shape[1] * candidates
  mask = jnp.repeat(leaf.reshape(-1) >= 0, candidates)
  if 0 < config.lanes < rows and groups is None:
    queues = 1 if context.segments[0].mask.shape[-1] <= _SHORT_PROMPT else batch
    mask, lanes = mask.reshape(queues, -1), config.lanes * batch // queues
    decode = functools.partial(lanes_lib.decode, lanes=lanes)
  else:
    decode = functools.partial(decode_lib.decode, groups=groups)
  return decode(
    policy,
    params,
    _row_rngs(rng, tree, rows),
    decode_lib.Context(context.segments, hidden, context.position),
    mask,
    config.sampling,
    max_tokens=config.max_thought_tokens,
    stops=stops_lib.Stops(config.end_ids, config.boundary, one_thought=True),
  )


def _row_rngs(rng, tree, count):
  """Returns a key per row, from its problem, its tokens so far and its index.

  The tokens number a problem's expansions without regard to the others', which
  may have begun earlier or rest while this one goes on.
  """
  fold = jax.random.fold_in
  keys = jax.vmap(fold, (None, 0))(rng, tree.problem_id)
  keys = jax.vmap(fold)(keys, tree.policy_tokens)
  rows = jax.vmap(jax.vmap(fold, (None, 0)), (0, None))
  return rows(keys, jnp.arange(count)).reshape(-1)


def _children(tree, leaf, decoded, scored, config):
  """Arranges decoded rows as children and says what may follow each."""
  shape = (*leaf.shape, config.num_candidates)
  shaped = lambda x: x.reshape(*shape, *x.shape[1:])
  lengths = shaped(decoded.length)
  made = lengths > 0
  last = jnp.take_along_axis(
    decoded.tokens, jnp.maximum(decoded.length - 1, 0)[:, None], axis=1
  )
  terminal = shaped(jnp.isin(last[:, 0], jnp.asarray(config.end_ids))) & made
  depth = tree_lib.at_nodes(tree.depth, leaf)[..., None] + 1
  may_follow = shaped(decoded.stopped_mask) & ~terminal
  may_follow &= depth < config.max_thoughts
  scores = jnp.where(made, shaped(scored.score), 0.0)
  valid, prior_logits = made, jnp.zeros(shape, jnp.float32)
  if config.draw != "independent":
    valid, prior_logits = _merge(leaf, shaped(decoded.tokens), lengths)
  if config.draw == "distinct":
    prior_logits = shaped(decoded.behavior_logprobs).sum(axis=-1)
  # A thought that the PRM cannot score is dropped. It also makes what goes
  # into the pools depend on the scores: else XLA may write a pool before
  # the PRM has read it, and copies the whole pool to be able to.
  valid &= jnp.isfinite(scores)
  per_problem = lambda x: x.reshape(leaf.shape[0], -1).sum(axis=-1)
  value = (1 - config.value_error) * scores
  value += config.value_error * (1 - scores)
  return tree_lib.Children(
    valid_mask=valid,
    open_mask=may_follow,
    terminal_mask=terminal,
    prior_logits=prior_logits,
    rewards=jnp.where(terminal, value, 0.0),
    discounts=may_follow.astype(jnp.float32),
    values=jnp.where(may_follow, value, 0.0),
    thought_rewards=scores,
    tokens=shaped(decoded.tokens),
    lengths=lengths,
    policy_logprobs=shaped(decoded.policy_logprobs),
    behavior_logprobs=shaped(decoded.behavior_logprobs),
    hidden=shaped(decoded.hidden),
    keys_values=jax.tree.map(
      shaped, (decoded.keys_values, *scored.keys_values)
    ),
    policy_tokens=per_problem(decoded.spent),
    prm_tokens=per_problem(scored.length),
    prm_carry=jax.tree.map(shaped, scored.carry),
  )


def _merge(
  leaf: Int[Array, "B S"],
  tokens: Int[Array, "B S A C"],
  lengths: Int[Array, "B S A"],
) -> tuple[Bool[Array, "B S A"], Float[Array, "B S A"]]:
  """Keeps the first of equal thoughts of one parent; its prior is their count.

  Tokens after a row's end are 0 and never compared as more than padding, since
  lengths are compared too.
  """
  batch, leaves, candidates = lengths.shape
  flat = tokens.reshape(batch, leaves * candidates, -1)
  length = lengths.reshape(batch, -1)
  parent = jnp.repeat(leaf, candidates, axis=1)
  same = lambda x: x[:, :, None] == x[:, None, :]
  equal = jnp.all(flat[:, :, None] == flat[:, None], axis=-1)
  equal &= same(length) & same(parent) & (length > 0)[:, None]
  earlier = jnp.tril(jnp.ones(equal.shape[1:], bool), -1)[None]
  first = ~jnp.any(equal & earlier, axis=-1) & (length > 0)
  count = jnp.maximum(equal.sum(axis=-1), 1).astype(jnp.float32)
  return first.reshape(lengths.shape), jnp.log(count).reshape(lengths.shape)
