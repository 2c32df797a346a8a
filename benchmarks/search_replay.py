"""A search without its networks: recorded expansions in place of decoded ones.

What a tree search costs beside its networks is the time of the same search
whose `expand_fn` looks up what a real one found: selection, backup, and moving
children with their keys and values into the tree. Looking up is counted too,
so the time is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from reasoning_rl import tree as tree_lib


def record(
  one_pass: Callable[[tree_lib.Tree], tree_lib.Tree],
  tree: tree_lib.Tree,
  num_passes: int,
  leaves: int,
  candidates: int,
) -> tuple[tree_lib.Tree, tree_lib.Children]:
  """Searches pass by pass and returns the tree and all its expansions.

  Args:
    one_pass: One pass of a search, jitted.
    tree: Planted trees.
    num_passes: Passes to make; none may end the search.
    leaves: Leaves per tree per pass, `S`.
    candidates: Children per leaf, `A`.

  Returns:
    The tree, and children with an axis of passes after the problems.
  """
  # Copies: the pass may be given the tree's buffers.
  counts = lambda: (jnp.array(tree.policy_tokens), jnp.array(tree.prm_tokens))
  totals: list[tuple[Array, Array]] = [counts()]
  for _ in range(num_passes):
    tree = one_pass(tree)
    totals.append(counts())
  made = (int(tree.next_node[0]) - 1) // (leaves * candidates)
  if made != num_passes:
    raise ValueError(
      f"the search ended after {made} of {num_passes} passes: ask for fewer."
    )
  shape = (num_passes, leaves, candidates)
  spent, read = zip(*totals, strict=True)
  return tree, _children(tree, shape, _growth(spent), _growth(read))


def root(tree: tree_lib.Tree) -> tree_lib.Root:
  """Returns what planted trees were planted from."""
  at_root = lambda field: field[:, tree_lib.Tree.ROOT_INDEX]
  return tree_lib.Root(
    problem_id=tree.problem_id,
    prompt_length=tree.prompt_length,
    hidden=at_root(tree.hidden),
    values=at_root(tree.raw_values),
    prompts=tree.prompts,
    prm_carry=jax.tree.map(at_root, tree.prm_carry),
  )


def replay_fn(leaves: int, candidates: int) -> Callable[..., tree_lib.Children]:
  """Returns an `expand_fn` whose parameters are the recorded children."""

  def expand_fn(
    params: Any, rng: Key[Array, ""], tree: tree_lib.Tree, leaf: Array
  ) -> tree_lib.Children:
    del rng, leaf
    index = (tree.next_node[0] - 1) // (leaves * candidates)
    at_pass = lambda x: jax.lax.dynamic_index_in_dim(
      x, index, axis=1, keepdims=False
    )
    return jax.tree.map(at_pass, params)

  return expand_fn


def _growth(totals: Sequence[Array]) -> Int[Array, "B T"]:
  """Returns what each pass added to a problem's total."""
  return jnp.diff(jnp.stack(totals, axis=1), axis=1)


def _children(tree, shape, policy_tokens, prm_tokens) -> tree_lib.Children:
  """Reads the children of all passes where `add_children` has put them."""
  batch, count = tree.lengths.shape[0], shape[0] * shape[1] * shape[2]

  def nodes(field):
    field = field[:, 1 : 1 + count]
    return field.reshape(batch, *shape, *field.shape[2:])

  offset = jnp.arange(tree.tokens.shape[2])[None, None]
  real = offset < tree.lengths[:, 1 : 1 + count, None]
  slots = jnp.where(real, tree.slots[:, 1 : 1 + count], 0)
  rows = jnp.arange(batch)[:, None, None]

  def keys_values(pool):
    found = jnp.where(real[..., None, None], pool[rows, slots], 0)
    found = found.swapaxes(2, 3)
    return found.reshape(batch, *shape, *found.shape[2:])

  names = ("valid_mask", "open_mask", "terminal_mask", "prior_logits")
  names += ("rewards", "discounts", "thought_rewards", "tokens", "lengths")
  names += ("policy_logprobs", "behavior_logprobs", "hidden")
  return tree_lib.Children(
    **{name: nodes(getattr(tree, name)) for name in names},
    values=nodes(tree.raw_values),
    keys_values=jax.tree.map(keys_values, tree.pools),
    policy_tokens=policy_tokens,
    prm_tokens=prm_tokens,
    prm_carry=jax.tree.map(nodes, tree.prm_carry),
  )
