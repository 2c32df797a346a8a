"""Searches of a table by mctx, the field's reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx

from tests.search import table as table_lib


def search(
  policy: Callable[..., Any],
  table: table_lib.Table,
  branching: int,
  rng: jax.Array,
  num_simulations: int,
  **options: float,
) -> mctx.Tree:
  """Returns mctx's trees; ended states lead to a state of nothing.

  Args:
    policy: Such as `mctx.muzero_policy`.
    table: The problems.
    branching: Children per state.
    rng: Passed to `policy`.
    num_simulations: Likewise; mctx expands the root before the first.
    **options: Likewise.
  """
  count, sink = table.values.shape
  rows = jnp.arange(count)
  pad = lambda x: jnp.pad(jnp.asarray(x), ((0, 0), (0, branching + 1)))
  is_open, rewards = pad(table.open_mask), pad(table.rewards)
  discounts, values = pad(table.discounts), pad(table.values)
  logits = pad(jnp.where(table.valid_mask, table.prior_logits, -1e9))

  def child_logits(state):
    first = jnp.where(is_open[rows, state], state * branching + 1, sink)
    return logits[rows[:, None], first[:, None] + jnp.arange(branching)[None]]

  def recurrent_fn(params, rng, action, state):
    child = state * branching + 1 + action
    child = jnp.where(is_open[rows, state], child, sink)
    found = mctx.RecurrentFnOutput(
      reward=rewards[rows, child],
      discount=discounts[rows, child],
      prior_logits=child_logits(child),
      value=values[rows, child],
    )
    return found, child

  root = jnp.zeros(count, jnp.int32)
  output = mctx.RootFnOutput(
    prior_logits=child_logits(root), value=values[:, 0], embedding=root
  )
  return policy(
    None, rng, output, recurrent_fn, num_simulations, **options
  ).search_tree
