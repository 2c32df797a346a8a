"""The search tree, which is also the KV cache.

A node is one thought. It owns the keys and values of its own tokens and nothing
else: they lie at `slots` in its problem's pool, and what a leaf attends to is
the prompt and the slots of its ancestors. Nothing is copied when a node is
expanded, and no prefix is ever stored or computed twice. A search that prunes
gives slots back, see `pool`.

Children of one expansion are consecutive nodes, and every problem's tree grows
by the same number of nodes per pass, so adding them is one contiguous write. A
node that a problem did not use is not valid. Names follow mctx where mctx has
the thing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Children:
  """What `expand_fn` returns: `A` candidate thoughts for each of `S` leaves.

  Attributes:
    valid_mask: True where a candidate was really made (and is not a repetition
      of a sibling).
    open_mask: True where a further thought may follow.
    terminal_mask: True where the solution is complete.
    prior_logits: Log-probability of choosing this candidate, unnormalised.
    rewards: Paid on entering the node.
    discounts: Weight of what follows; 0 ends a trajectory.
    values: Estimated return from the node on; 0 where nothing follows.
    thought_rewards: PRM score of the thought, in [0, 1].
    tokens: The thought's token ids.
    lengths: Its real tokens.
    policy_logprobs: Log-probability of its tokens under the policy.
    behavior_logprobs: Under the distribution actually sampled.
    hidden: Trunk output at its last token, from which the next is sampled.
    keys_values: Per pool, the keys and values [B, S, A, J, C, K] of its tokens.
    policy_tokens: Tokens the policy decoded in this expansion.
    prm_tokens: Tokens a separate PRM read in this expansion.
    prm_carry: What a separate PRM carries on from each thought: arrays that
      begin with [B, S, A]; () where it carries nothing.
  """

  valid_mask: Bool[Array, "B S A"]
  open_mask: Bool[Array, "B S A"]
  terminal_mask: Bool[Array, "B S A"]
  prior_logits: Float[Array, "B S A"]
  rewards: Float[Array, "B S A"]
  discounts: Float[Array, "B S A"]
  values: Float[Array, "B S A"]
  thought_rewards: Float[Array, "B S A"]
  tokens: Int[Array, "B S A C"]
  lengths: Int[Array, "B S A"]
  policy_logprobs: Float[Array, "B S A C"]
  behavior_logprobs: Float[Array, "B S A C"]
  hidden: Float[Array, "B S A D"]
  keys_values: tuple[Any, ...]
  policy_tokens: Int[Array, " B"]
  prm_tokens: Int[Array, " B"]
  prm_carry: Any = ()


@flax.struct.dataclass
class Root:
  """What a search starts from: prompts that have been read once.

  Attributes:
    problem_id: Names the problem; its random numbers derive from it.
    prompt_length: Real prompt tokens, the position of the first thought. With
      none there is nothing to go on from: such a root is never expanded.
    hidden: Trunk output at the last prompt token.
    values: Estimated return from the prompt on.
    prompts: Per pool, the keys and values [B, J, Lp, K] of the prompt.
    prm_carry: As in `Children`, of the prompt: arrays that begin with [B].
  """

  problem_id: Int[Array, " B"]
  prompt_length: Int[Array, " B"]
  hidden: Float[Array, "B D"]
  values: Float[Array, " B"]
  prompts: tuple[Any, ...]
  prm_carry: Any = ()


@flax.struct.dataclass
class Tree:
  """One search tree per problem. Node 0 is the root, the prompt.

  Attributes:
    parents: Parent node, `NO_NODE` at the root and at unused nodes.
    depth: Thoughts from the root.
    children_start: First of the node's `A` consecutive children, `NO_NODE`
      before expansion.
    valid_mask, open_mask, terminal_mask, prior_logits (−∞ where not valid),
      rewards, discounts, thought_rewards, tokens, lengths, policy_logprobs,
      behavior_logprobs, hidden, prm_carry: As in `Children`, per node.
    raw_values: The estimate a node came with.
    node_values: Mean of the returns backed up through the node.
    node_visits: Number of them.
    qvalues: What entering the node is worth: reward + discount · node_values.
    best_leaf: The node a simulation that enters the node ends in. It changes
      only for nodes whose statistics change, so a backup keeps it right, and no
      simulation has to walk down.
    exhausted_mask: True where all there is has been visited; a selection passes
      these nodes by. Only `MCTSConfig.skip_exhausted` marks any.
    stopped_mask: True where a problem has found what it was to stop at.
    held_mask: True where the keys and values of the node's tokens are still in
      the pool; what has been released is never expanded again.
    slots: Pool slot of each of the node's tokens; the pool's size for padding.
    free_slots: The slots that are free, from index `pool_used` on; what stands
      before it means nothing. () where none is ever given back: slots are then
      taken in order.
    pool_used: Slots in use.
    pool_peak: The most that ever were.
    pools: Per network, keys and values [B, P, J, K] of every thought. Tokens
      stand before heads, so that one token is one contiguous write.
    prompts: Per network, keys and values [B, J, Lp, K] of the prompt.
    problem_id, prompt_length: As in `Root`.
    policy_tokens: Tokens decoded so far, discarded branches included.
    prm_tokens: Tokens a separate PRM has read so far.
    next_node: Where the next expansion's children go; alike for all problems
      that one device searches.
    root: Where the search begins, node 0 until `pool.reroot`. What lies above
      is context like the prompt.
  """

  parents: Int[Array, "B N"]
  depth: Int[Array, "B N"]
  children_start: Int[Array, "B N"]
  valid_mask: Bool[Array, "B N"]
  open_mask: Bool[Array, "B N"]
  terminal_mask: Bool[Array, "B N"]
  prior_logits: Float[Array, "B N"]
  rewards: Float[Array, "B N"]
  discounts: Float[Array, "B N"]
  thought_rewards: Float[Array, "B N"]
  tokens: Int[Array, "B N C"]
  lengths: Int[Array, "B N"]
  policy_logprobs: Float[Array, "B N C"]
  behavior_logprobs: Float[Array, "B N C"]
  hidden: Float[Array, "B N D"]
  raw_values: Float[Array, "B N"]
  node_values: Float[Array, "B N"]
  node_visits: Int[Array, "B N"]
  qvalues: Float[Array, "B N"]
  best_leaf: Int[Array, "B N"]
  exhausted_mask: Bool[Array, "B N"]
  stopped_mask: Bool[Array, " B"]
  held_mask: Bool[Array, "B N"]
  slots: Int[Array, "B N C"]
  free_slots: Int[Array, "B P"] | tuple[()]
  pool_used: Int[Array, " B"]
  pool_peak: Int[Array, " B"]
  pools: tuple[Any, ...]
  prompts: tuple[Any, ...]
  problem_id: Int[Array, " B"]
  prompt_length: Int[Array, " B"]
  policy_tokens: Int[Array, " B"]
  prm_tokens: Int[Array, " B"]
  next_node: Int[Array, " B"]
  root: Int[Array, " B"]
  prm_carry: Any = ()

  ROOT_INDEX: ClassVar[int] = 0
  NO_NODE: ClassVar[int] = -1

  @property
  def capacity(self) -> int:
    """Nodes a problem's tree can hold."""
    return self.parents.shape[1]

  @property
  def pool_size(self) -> int:
    """Token slots in a problem's pool; 0 where no keys are kept."""
    leaves = jax.tree.leaves(self.pools)
    return leaves[0].shape[1] if leaves else 0


def plant(
  root: Root,
  capacity: int,
  thought_size: int,
  pool_size: int,
  reuse: bool = False,
) -> Tree:
  """Returns trees that hold their root alone.

  Args:
    root: The prompts.
    capacity: Nodes per tree, at least 1 + passes · S · A.
    thought_size: Most tokens in one thought.
    pool_size: Token slots per problem.
    reuse: Whether slots can be given back, see `pool.release`.
  """
  batch = root.prompt_length.shape[0]
  shape = (batch, capacity)
  zeros = jnp.zeros(shape, jnp.float32)
  count = jnp.zeros(shape, jnp.int32)
  nowhere = jnp.full(shape, Tree.NO_NODE, jnp.int32)
  logprobs = jnp.zeros((*shape, thought_size), jnp.float32)
  at_root = jnp.zeros(shape, bool).at[:, Tree.ROOT_INDEX].set(True)
  every_slot = jnp.arange(pool_size, dtype=jnp.int32)[None]
  at_root_alone = lambda x: (
    jnp.zeros((*shape, *x.shape[1:]), x.dtype).at[:, Tree.ROOT_INDEX].set(x)
  )
  return Tree(
    parents=nowhere,
    depth=count,
    children_start=nowhere,
    valid_mask=at_root,
    open_mask=at_root & (root.prompt_length > 0)[:, None],
    terminal_mask=jnp.zeros(shape, bool),
    prior_logits=zeros,
    rewards=zeros,
    discounts=at_root.astype(jnp.float32),
    thought_rewards=zeros,
    tokens=jnp.zeros((*shape, thought_size), jnp.int32),
    lengths=count,
    policy_logprobs=logprobs,
    behavior_logprobs=logprobs,
    hidden=at_root_alone(root.hidden),
    raw_values=at_root_alone(root.values),
    node_values=at_root_alone(root.values),
    node_visits=count,
    qvalues=at_root_alone(root.values),
    best_leaf=count,
    exhausted_mask=jnp.zeros(shape, bool),
    stopped_mask=jnp.zeros(batch, bool),
    held_mask=at_root,
    slots=jnp.full((*shape, thought_size), pool_size, jnp.int32),
    free_slots=jnp.tile(every_slot, (batch, 1)) if reuse and pool_size else (),
    pool_used=jnp.zeros(batch, jnp.int32),
    pool_peak=jnp.zeros(batch, jnp.int32),
    pools=jax.tree.map(
      lambda x: jnp.zeros((batch, pool_size, x.shape[1], x.shape[3]), x.dtype),
      root.prompts,
    ),
    prompts=root.prompts,
    problem_id=root.problem_id,
    prompt_length=root.prompt_length,
    policy_tokens=jnp.zeros(batch, jnp.int32),
    prm_tokens=jnp.zeros(batch, jnp.int32),
    next_node=jnp.ones(batch, jnp.int32),
    root=jnp.zeros(batch, jnp.int32),
    prm_carry=jax.tree.map(at_root_alone, root.prm_carry),
  )


def at_nodes(field: Array, node: Int[Array, "B S"]) -> Array:
  """Returns a field's entries at `node`, row by row; `NO_NODE` reads node 0."""
  rows = jnp.arange(field.shape[0])[:, None]
  return field[rows, jnp.maximum(node, 0)]


# What stands in a tree's nodes as it stands in their `Children`.
_COPIED = ("rewards", "discounts", "thought_rewards", "tokens", "hidden")
_COPIED += ("policy_logprobs", "behavior_logprobs", "prm_carry")


def add_children(tree: Tree, leaf: Int[Array, "B S"], new: Children) -> Tree:
  """Writes an expansion's children and their keys and values into the tree.

  Args:
    tree: The trees so far.
    leaf: Expanded node, `NO_NODE` where nothing was expanded.
    new: The children; those of `NO_NODE` must not be valid.

  Returns:
    The trees with S · A more nodes. Where a leaf stands twice (a frontier that
    starts as several copies of the root), `children_start` names one of its
    groups of children; `parents` is right for all. A leaf of whose candidates
    none is valid stays unexpanded.
  """
  batch, leaves, candidates = new.valid_mask.shape
  next_node = tree.next_node[0]
  added = leaves * candidates
  flat = lambda x: x.reshape(batch, added, *x.shape[3:])
  valid = flat(new.valid_mask)
  # A repeated sibling is not valid but its tokens were decoded; only what can
  # be reached again is stored.
  lengths = jnp.where(valid, flat(new.lengths), 0)
  slots, pool_used = _allocate(tree, lengths)
  parent = jnp.repeat(leaf, candidates, axis=1)
  depth = at_nodes(tree.depth, parent) + 1

  def put(field, value):
    at = (0, next_node) + (0,) * (field.ndim - 2)
    return jax.lax.dynamic_update_slice(field, value.astype(field.dtype), at)

  rows = jnp.arange(batch)[:, None]
  first = next_node + jnp.arange(leaves, dtype=jnp.int32) * candidates
  first = jnp.broadcast_to(first[None], leaf.shape)
  expanded = (leaf >= 0) & jnp.any(new.valid_mask, axis=-1)
  where = jnp.where(expanded, leaf, tree.capacity)
  values = flat(new.values)
  qvalues = flat(new.rewards) + flat(new.discounts) * values
  own = next_node + jnp.arange(added, dtype=jnp.int32)[None]
  return tree.replace(
    parents=put(tree.parents, jnp.where(valid, parent, Tree.NO_NODE)),
    depth=put(tree.depth, jnp.where(valid, depth, 0)),
    children_start=tree.children_start.at[rows, where].set(first, mode="drop"),
    valid_mask=put(tree.valid_mask, valid),
    open_mask=put(tree.open_mask, valid & flat(new.open_mask)),
    terminal_mask=put(tree.terminal_mask, valid & flat(new.terminal_mask)),
    lengths=put(tree.lengths, lengths),
    raw_values=put(tree.raw_values, values),
    node_values=put(tree.node_values, values),
    qvalues=put(tree.qvalues, qvalues),
    # What is written depends on the expansion, and so waits for whoever read
    # the leaf; else XLA copies the whole field to be able to do it earlier.
    best_leaf=put(tree.best_leaf, jnp.where(valid, own, Tree.NO_NODE)),
    prior_logits=put(
      tree.prior_logits, jnp.where(valid, flat(new.prior_logits), -jnp.inf)
    ),
    held_mask=put(tree.held_mask, valid),
    slots=put(tree.slots, slots),
    pool_used=pool_used,
    pool_peak=jnp.maximum(tree.pool_peak, pool_used),
    pools=_write_pools(tree.pools, new.keys_values, slots),
    policy_tokens=tree.policy_tokens + new.policy_tokens,
    prm_tokens=tree.prm_tokens + new.prm_tokens,
    next_node=tree.next_node + added,
    **{
      name: jax.tree.map(
        lambda field, value: put(field, flat(value)),
        getattr(tree, name),
        getattr(new, name),
      )
      for name in _COPIED
    },
  )


def _allocate(tree, lengths):
  """Returns a free slot for every new token, and how many are then in use.

  A search makes sure that there is room before it expands. Tokens for which
  there is none get the slot of padding, and nobody else's is overwritten.
  """
  ends = tree.pool_used[:, None] + jnp.cumsum(lengths, axis=1)
  offset = jnp.arange(tree.tokens.shape[2])[None, None]
  index = (ends - lengths)[..., None] + offset
  real = offset < lengths[..., None]
  if isinstance(tree.free_slots, tuple):
    return jnp.where(real, index, tree.pool_size), ends[:, -1]
  real &= index < tree.pool_size
  slots = at_nodes(
    tree.free_slots, jnp.where(real, index, 0).reshape(len(ends), -1)
  )
  slots = jnp.where(real, slots.reshape(index.shape), tree.pool_size)
  return slots, jnp.minimum(ends[:, -1], tree.pool_size)


def _write_pools(pools, keys_values, slots):
  """Scatters each thought's tokens to its slots; padding is dropped."""
  if not jax.tree.leaves(pools):
    return pools
  rows = jnp.arange(slots.shape[0])[:, None, None]

  def write(pool, new):
    new = jnp.moveaxis(new, 3, 4)
    new = new.reshape(*slots.shape, *new.shape[4:]).astype(pool.dtype)
    return pool.at[rows, slots].set(new, mode="drop")

  return jax.tree.map(write, pools, keys_values)


def ancestors(
  tree: Tree, node: Int[Array, "B S"], max_thoughts: int
) -> Int[Array, "B S T"]:
  """Returns the thoughts from below the root to `node`, padded by `NO_NODE`."""

  def up(current, _):
    parent = at_nodes(tree.parents, current)
    return jnp.where(current > Tree.ROOT_INDEX, parent, 0), current

  _, upward = jax.lax.scan(up, jnp.maximum(node, 0), length=max_thoughts)
  upward = jnp.moveaxis(upward, 0, -1)
  depth = at_nodes(tree.depth, node)[..., None]
  index = depth - 1 - jnp.arange(max_thoughts)[None, None]
  path = jnp.take_along_axis(upward, jnp.maximum(index, 0), axis=-1)
  return jnp.where(index >= 0, path, Tree.NO_NODE)
