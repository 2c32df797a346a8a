"""Different sequences from one context: sampling without replacement.

Independent samples of a sure policy repeat each other, and a search pays for
every repetition. Here the rows of a group hold different sequences, drawn
without replacement from the policy's distribution over whole sequences by
stochastic beam search (arXiv:1903.06059): a sequence's log-probability is
perturbed by Gumbel noise, top down, so that the perturbed values of what
continues a sequence have its own as their largest, and a group keeps the
sequences with the largest. The first is an ordinary sample.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl.decoding import sampling

# What a place without a sequence has for log-probability; an infinity would
# turn into NaN where two are subtracted.
_NOTHING = sampling.EXCLUDED_LOGIT
_SOMETHING = _NOTHING / 10


@flax.struct.dataclass
class Groups:
  """Which rows share out the sequences of one context.

  Attributes:
    joint: Problems whose rows are one group, since all continue the same
      context; the others' rows fall into groups of `size` neighbours.
    size: Rows of a group, `A`; the B · L rows are problem by problem.
  """

  joint: Bool[Array, " B"]
  size: int = flax.struct.field(pytree_node=False)


class Lanes(NamedTuple):
  """What the rows hold.

  Attributes:
    logprob: Of the row's sequence, under the distribution sampled.
    perturbed: The same with noise; sequences are kept by it.
  """

  logprob: Float[Array, " R"]
  perturbed: Float[Array, " R"]

  @property
  def held_mask(self) -> Bool[Array, " R"]:
    """True where a row holds a sequence; a group may have fewer than rows."""
    return self.perturbed > _SOMETHING


class Drawn(NamedTuple):
  """One more token of every group's sequences.

  Attributes:
    lanes: What the rows hold now.
    source: The row each sequence was in before.
    active: Rows that got a token; not those whose sequence had ended.
    token: Their tokens.
    behavior_logprobs: Of the token under the distribution sampled.
    policy_logprobs: Of the token under the policy.
  """

  lanes: Lanes
  source: Int[Array, " R"]
  active: Bool[Array, " R"]
  token: Int[Array, " R"]
  behavior_logprobs: Float[Array, " R"]
  policy_logprobs: Float[Array, " R"]


def start(groups: Groups, row_mask: Bool[Array, " R"]) -> Lanes:
  """Returns every group with its empty sequence in its first row."""
  rows = jnp.arange(row_mask.shape[0])
  each = row_mask.shape[0] // groups.joint.shape[0]
  joint = jnp.repeat(groups.joint, each)
  first = rows % jnp.where(joint, each, groups.size) == 0
  held = jnp.where(first & row_mask, 0.0, _NOTHING)
  return Lanes(held, held)


def draw(
  rngs: Key[Array, " R"],
  logits: Float[Array, "R V"],
  lanes: Lanes,
  active: Bool[Array, " R"],
  groups: Groups,
  config: sampling.SamplingConfig,
) -> Drawn:
  """Continues the sequences by a token and keeps each group's best.

  Args:
    rngs: A key per row; consumed.
    logits: The policy's logits after each row's sequence.
    lanes: What the rows hold.
    active: Rows whose sequence goes on; the others' have ended, and stay as
      they are or give their place to a better one.
    groups: Which rows share.
    config: Makes the distribution to sample from.
  """
  vocab_size = logits.shape[1]
  behavior = jax.nn.log_softmax(sampling.behavior_logits(logits, config))
  goes_on = active & lanes.held_mask
  longer = jnp.where(
    goes_on[:, None], lanes.logprob[:, None] + behavior, -jnp.inf
  )
  longer = jnp.maximum(longer, _NOTHING)
  perturbed = _perturb(rngs, longer, lanes.perturbed)
  ended = jnp.where(~active & lanes.held_mask, lanes.perturbed, _NOTHING)
  every = jnp.concatenate([perturbed, ended[:, None]], axis=1)
  value, source, token = _largest(every, groups)
  goes_on = (value > _SOMETHING) & (token < vocab_size)
  token = jnp.where(goes_on, token, 0)
  logprob = jnp.where(goes_on, longer[source, token], lanes.logprob[source])
  return Drawn(
    Lanes(logprob, value),
    source,
    goes_on,
    token,
    behavior[source, token],
    jax.nn.log_softmax(logits)[source, token],
  )


def _perturb(rngs, logprob, largest) -> Float[Array, "R V"]:
  """Adds Gumbel noise, given that a row's largest sum is `largest`.

  Equation 9 of the paper in the stable form of its appendix B.3: all sums are
  shifted so that the largest lands on `largest`, and keep their order.
  """
  noise = jax.vmap(lambda rng: jax.random.gumbel(rng, logprob.shape[1:]))(rngs)
  noisy = jnp.where(logprob > _SOMETHING, logprob + noise, _NOTHING)
  below = jnp.minimum(noisy - noisy.max(axis=1, keepdims=True), 0.0)
  shift = largest[:, None] - noisy + jnp.log1p(-jnp.exp(below))
  moved = largest[:, None] - jnp.maximum(shift, 0.0)
  moved -= jnp.log1p(jnp.exp(-jnp.abs(shift)))
  return jnp.where(logprob > _SOMETHING, moved, _NOTHING)


def _largest(every, groups):
  """Returns the largest values of each group, and their rows and tokens."""
  rows, choices = every.shape
  each = rows // groups.joint.shape[0]

  def of_groups(size):
    value, index = jax.lax.top_k(every.reshape(rows // size, -1), size)
    first = jnp.arange(rows // size, dtype=jnp.int32)[:, None] * size
    found = value, first + index // choices, index % choices
    return tuple(x.reshape(-1) for x in found)

  def of_both():
    joint = jnp.repeat(groups.joint, each)
    pairs = zip(of_groups(each), of_groups(groups.size), strict=True)
    return tuple(jnp.where(joint, x, y) for x, y in pairs)

  if each == groups.size:
    return of_groups(each)
  return jax.lax.cond(
    jnp.any(groups.joint), of_both, lambda: of_groups(groups.size)
  )
