"""What a PRM makes of thoughts that a search has just decoded.

A head on the policy reads the policy's own pass; a separate PRM reads the new
tokens and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl import masking
from reasoning_rl.decoding import certainty, scoring
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib


class PRMCarry(NamedTuple):
  """What an implicit PRM needs of a node to score the thoughts after it.

  Attributes:
    hidden: Its trunk's output at the node's last token.
    logprob: Its log-probability of the path.
  """

  hidden: Float[Array, "*B D"]
  logprob: Float[Array, " *B"]


class Scored(NamedTuple):
  """What the PRM makes of `R` decoded thoughts.

  Attributes:
    score: Of each thought, in [0, 1].
    keys_values: Of each network of its own: none or one.
    carry: For the thoughts that follow; () without an implicit PRM.
    length: Tokens that a separate PRM read.
  """

  score: Float[Array, " R"]
  keys_values: tuple[attention_lib.KeysValues, ...]
  carry: PRMCarry | tuple[()]
  length: Int[Array, " R"]


def of_policy(
  policy: network_lib.Network,
  params: network_lib.Params,
  decoded: decode_lib.Decoded,
  before: tuple[Float[Array, "R C"], Int[Array, " R"]],
  end_ids: tuple[int, ...],
) -> Scored:
  """Scores by the thought head on the policy's own pass, if it has one.

  Args:
    policy: The policy.
    params: Its parameters.
    decoded: The thoughts.
    before: Log-probabilities of the tokens of the thoughts that they follow,
      and how many these are.
    end_ids: Tokens that end a solution.
  """
  nothing_read = jnp.zeros_like(decoded.length)
  scores = jnp.zeros(decoded.length.shape, jnp.float32)
  if "thought" in policy.config.heads:
    states = decoded.hidden
    if policy.config.certainty:
      numbers = certainty.of_decoded(decoded, *before, end_ids)
      states = certainty.joined(states, numbers)
    logits = policy.scalar(params, states, "thought")
    scores = jax.nn.sigmoid(logits)
  return Scored(scores, (), (), nothing_read)


def read(
  prm: network_lib.Network,
  params: network_lib.Params,
  carry: PRMCarry | tuple[()],
  decoded: decode_lib.Decoded,
  segments: tuple[attention_lib.Segment, ...],
  position: Int[Array, " R"],
) -> Scored:
  """Has a separate PRM read the tokens of new thoughts, and nothing else.

  Args:
    prm: The PRM.
    params: Its parameters.
    carry: Of the node before each thought; () of other than implicit PRMs.
    decoded: The thoughts.
    segments: The PRM's keys and values of all that comes before.
    position: Position of each thought's first token.
  """
  offset = jnp.arange(decoded.tokens.shape[1])[None]
  hidden, keys_values = prm.apply(
    params, decoded.tokens, position[:, None] + offset, segments
  )
  rows = jnp.arange(hidden.shape[0])
  last = hidden[rows, jnp.maximum(decoded.length - 1, 0)]
  if "implicit" in prm.config.heads:
    before = scoring.shifted(carry.hidden, hidden)
    each = scoring.token_logprobs(prm, params, before, decoded.tokens)
    real = masking.length_mask(decoded.length, decoded.tokens.shape[1])
    logprob = carry.logprob + jnp.where(real, each, 0.0).sum(axis=1)
    logits, carry = prm.implicit(params, logprob), PRMCarry(last, logprob)
  else:
    logits = prm.scalar(params, last, "thought")
  return Scored(
    jax.nn.sigmoid(logits),
    (keys_values,),
    carry,
    decoded.length,
  )
