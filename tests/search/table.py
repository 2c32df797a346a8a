"""A table environment behind `expand_fn`: random trees whose content is known.

A problem is a complete tree of states. The children of state s are the states
s · R + 1 .. s · R + R, so a state's number says where it stands. What a policy
would sample and a PRM would score is looked up in a table. A node's state
travels in its `hidden`, thoughts are one token long, and there are no pools.
"""

from __future__ import annotations

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from reasoning_rl import tree as tree_lib


@flax.struct.dataclass
class Table:
  """What is found on entering each state; `N` counts states here.

  Attributes:
    noise: Size of what an expansion's rng adds to the values.
    others: As in `tree.Children`.
  """

  valid_mask: Bool[Array, "B N"]
  open_mask: Bool[Array, "B N"]
  terminal_mask: Bool[Array, "B N"]
  prior_logits: Float[Array, "B N"]
  rewards: Float[Array, "B N"]
  discounts: Float[Array, "B N"]
  values: Float[Array, "B N"]
  thought_rewards: Float[Array, "B N"]
  noise: Float[Array, " B"]


def count_states(branching: int, depth: int) -> int:
  return sum(branching**level for level in range(depth + 1))


def make_table(
  seed: int,
  rows: int,
  branching: int,
  depth: int,
  terminal: float = 0.15,
  stopped: float = 0.05,
  repeated: float = 0.15,
  dense: bool = False,
) -> Table:
  """Returns random problems, in NumPy.

  Args:
    seed: Names the problems.
    rows: Problems.
    branching: Children per state, `R`.
    depth: Thoughts in the longest solution.
    terminal: Share of states that complete a solution.
    stopped: Share that ends without completing one.
    repeated: Share that repeats a sibling; a first child never does.
    dense: Whether every thought is paid, and discounts lie between 0 and 1. If
      not, only complete solutions are paid.
  """
  rng = np.random.default_rng(seed)
  states = count_states(branching, depth)
  last = count_states(branching, depth - 1)
  shape = (rows, states)
  kind, first = rng.random(shape), np.arange(states) % branching == 1
  deepest = np.arange(states) >= last
  terminal_mask = (kind < terminal) | (deepest & (kind < 0.5))
  open_mask = ~terminal_mask & ~deepest & (kind < 1 - stopped)
  terminal_mask[:, 0], open_mask[:, 0] = False, True
  scores = rng.random(shape, np.float32)
  rewards = np.where(terminal_mask, scores, 0)
  discounts = open_mask * np.ones((), np.float32)
  if dense:
    rewards = rng.normal(size=shape)
    discounts = open_mask * rng.uniform(0.5, 1, shape)
  return Table(
    valid_mask=(rng.random(shape) >= repeated) | first | (branching == 1),
    open_mask=open_mask,
    terminal_mask=terminal_mask,
    prior_logits=rng.normal(size=shape).astype(np.float32),
    rewards=rewards.astype(np.float32),
    discounts=discounts.astype(np.float32),
    values=np.where(open_mask, scores, 0).astype(np.float32),
    thought_rewards=scores,
    noise=np.zeros(rows, np.float32),
  )


def make_mixed_table(
  seed: int, rows: int, branching: int, depth: int, **kwargs: float
) -> Table:
  """Returns problems of which one half is paid at the end, one everywhere."""
  half = functools.partial(
    make_table, rows=rows // 2, branching=branching, depth=depth, **kwargs
  )
  return concatenate([half(seed), half(seed + 1000, dense=True)])


def concatenate(tables: list[Table]) -> Table:
  return jax.tree.map(lambda *x: np.concatenate(x), *tables)


def plant(
  table: Table, capacity: int, problem_id: np.ndarray | None = None
) -> tree_lib.Tree:
  """Returns trees that hold the tables' first state alone."""
  rows = table.values.shape[0]
  if problem_id is None:
    problem_id = np.arange(rows)
  root = tree_lib.Root(
    problem_id=jnp.asarray(problem_id, jnp.int32),
    prompt_length=jnp.full(rows, 3, jnp.int32),
    hidden=jnp.zeros((rows, 1), jnp.float32),
    values=jnp.asarray(table.values[:, 0]),
    prompts=(),
  )
  return tree_lib.plant(root, capacity, thought_size=1, pool_size=0)


def make_expand_fn(num_candidates: int, branching: int):
  """Returns the table's `expand_fn`.

  The k-th copy of a leaf that stands several times in a frontier is given the
  k-th `A` of the state's children, as though each had drawn samples of its own.
  """

  def expand_fn(params, rng, tree, leaf):
    batch, leaves = leaf.shape
    state = tree_lib.at_nodes(tree.hidden, leaf)[..., 0].astype(jnp.int32)
    same = leaf[:, :, None] == leaf[:, None, :]
    copy = jnp.sum(jnp.tril(same, -1), axis=-1)
    candidate = jnp.arange(num_candidates, dtype=jnp.int32)[None, None]
    index = copy[..., None] * num_candidates + candidate
    exists = (leaf >= 0)[..., None] & (index < branching)
    child = state[..., None] * branching + 1 + index
    rows = jnp.arange(batch)[:, None, None]
    read = lambda field: jnp.asarray(field)[rows, child]
    rngs = jax.vmap(jax.random.fold_in, (None, 0))(
      jax.random.fold_in(rng, tree.next_node[0]), tree.problem_id
    )
    noise = jax.vmap(lambda x: jax.random.uniform(x, child.shape[1:]))(rngs)
    noise = jnp.asarray(params.noise)[:, None, None] * noise
    is_open, logits = read(params.open_mask), read(params.prior_logits)
    return tree_lib.Children(
      valid_mask=read(params.valid_mask) & exists,
      open_mask=is_open,
      terminal_mask=read(params.terminal_mask),
      prior_logits=logits,
      rewards=read(params.rewards),
      discounts=read(params.discounts),
      values=read(params.values) + jnp.where(is_open, noise, 0.0),
      thought_rewards=read(params.thought_rewards) + noise,
      tokens=index[..., None],
      lengths=exists.astype(jnp.int32),
      policy_logprobs=logits[..., None],
      behavior_logprobs=2 * logits[..., None],
      hidden=child[..., None].astype(jnp.float32),
      keys_values=(),
      policy_tokens=jnp.sum(exists, axis=(1, 2), dtype=jnp.int32),
      prm_tokens=jnp.sum(leaf >= 0, axis=1, dtype=jnp.int32),
    )

  return expand_fn


def by_state(tree: tree_lib.Tree, field: np.ndarray, table: Table):
  """Returns a field of the valid nodes, laid out by state; NaN elsewhere."""
  found = np.full(table.values.shape, np.nan)
  rows, nodes = np.nonzero(np.asarray(tree.valid_mask))
  states = np.asarray(tree.hidden)[rows, nodes, 0].astype(int)
  assert len({*zip(rows, states, strict=True)}) == len(rows)
  found[rows, states] = np.asarray(field)[rows, nodes]
  return found
