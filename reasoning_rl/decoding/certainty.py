"""How sure a policy was of its thoughts, for a thought head that reads it.

A language model is less sure of a step that it gets wrong ("Language Models
(Mostly) Know What They Know", arXiv:2207.05221), and this helps to tell
solutions of one problem apart. In a search the log-probabilities are there
already: they were computed to sample the thought. Elsewhere they cost a pass of
the language head.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl import masking
from reasoning_rl.decoding import decode as decode_lib


def of_thoughts(
  logprobs: Float[Array, "R L"],
  before: Int[Array, " R"],
  end: Int[Array, "R T"],
) -> Float[Array, "R T 2"]:
  """Returns the mean and the least log-probability of each thought's tokens.

  Args:
    logprobs: Of each token under the policy.
    before: Position of the last token before the first thought; -1 if none is.
    end: Position of each thought's last token. One that does not come after
      that of the thought before it has no tokens; its numbers are 0.
  """
  begin = jnp.concatenate([before[:, None], end[:, :-1]], axis=1)
  position = jnp.arange(logprobs.shape[1])[None, None]
  inside = (position > begin[..., None]) & (position <= end[..., None])
  each = jnp.where(inside, logprobs[:, None], 0.0)
  return _numbers(each, inside.sum(axis=-1))


def of_decoded(
  decoded: decode_lib.Decoded,
  parent_logprobs: Float[Array, "R C"],
  parent_length: Int[Array, " R"],
  end_ids: tuple[int, ...],
) -> Float[Array, "R 2"]:
  """Returns the numbers of new thoughts.

  An end token alone belongs to the thought before it, as it does in rollouts
  (`data.thoughts`), where the PRM has learnt what to make of it.

  Args:
    decoded: The thoughts, a row each.
    parent_logprobs: Of the tokens of the thoughts that they follow.
    parent_length: How many these are; 0 after a prompt.
    end_ids: Tokens that end a solution.
  """
  size = decoded.tokens.shape[1]
  real = masking.length_mask(decoded.length, size)
  own = jnp.where(real, decoded.policy_logprobs, 0.0)
  ends = (decoded.length == 1) & jnp.isin(
    decoded.tokens[:, 0], jnp.asarray(end_ids)
  )
  length = jnp.where(ends, parent_length, 0)
  real = masking.length_mask(length, parent_logprobs.shape[1])
  before = jnp.where(real, parent_logprobs, 0.0)
  every = jnp.concatenate([before, own], axis=1)
  return _numbers(every, length + decoded.length)


def joined(
  hidden: Float[Array, "*B D"], numbers: Float[Array, "*B 2"]
) -> Float[Array, "*B _"]:
  """Returns what a thought head reads of thoughts, in float32."""
  return jnp.concatenate([hidden.astype(jnp.float32), numbers], axis=-1)


def _numbers(logprobs, count):
  """Returns the mean and the least of the last axis, whose rest is 0."""
  mean = logprobs.sum(axis=-1) / jnp.maximum(count, 1)
  return jnp.stack([mean, logprobs.min(axis=-1)], axis=-1)
