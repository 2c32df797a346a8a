"""Trees of random content: what the tests of the tree and its pool grow."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl import tree as tree_lib

B, S, A, C, D = 3, 2, 3, 4, 2
# Two networks with heads of their own; the first has two layers.
HEADS = (({"k": (2, 3), "v": (2, 3)}, {"k": (2, 3)}), {"k": (1, 5)})


def per_head(make):
  is_heads = lambda x: isinstance(x, tuple) and isinstance(x[0], int)
  return jax.tree.map(make, HEADS, is_leaf=is_heads)


def plant(rng, capacity, pool_size, reuse=False):
  prompt = lambda heads: rng.normal(size=(B, heads[0], 2, heads[1]))
  prompts = per_head(lambda x: jnp.asarray(prompt(x), jnp.float32))
  root = tree_lib.Root(
    problem_id=jnp.arange(B) + 10,
    prompt_length=jnp.array([2, 1, 2]),
    hidden=jnp.asarray(rng.normal(size=(B, D)), jnp.float32),
    values=jnp.array([0.25, 0.5, 0.75]),
    prompts=prompts if pool_size else (),
    prm_carry={"sum": jnp.arange(B) + 0.5},
  )
  return tree_lib.plant(root, capacity, C, pool_size, reuse)


def children(rng, leaf, invalid=0.3):
  """Returns random candidates; beyond lengths and masks stands rubbish."""
  shape = (B, S, A)
  floats = lambda *more: rng.normal(size=shape + more).astype(np.float32)
  mask = lambda share: rng.random(shape) < share
  return tree_lib.Children(
    valid_mask=mask(1 - invalid) & (leaf >= 0)[..., None],
    open_mask=mask(0.7),
    terminal_mask=mask(0.3),
    prior_logits=floats(),
    rewards=floats(),
    discounts=floats(),
    values=floats(),
    thought_rewards=floats(),
    tokens=rng.integers(0, 99, (*shape, C), dtype=np.int32),
    lengths=rng.integers(0, C + 1, shape, dtype=np.int32),
    policy_logprobs=floats(C),
    behavior_logprobs=floats(C),
    hidden=floats(D),
    keys_values=per_head(lambda heads: floats(heads[0], C, heads[1])),
    policy_tokens=rng.integers(0, 20, B, dtype=np.int32),
    prm_tokens=rng.integers(0, 20, B, dtype=np.int32),
    prm_carry={"sum": floats()},
  )
