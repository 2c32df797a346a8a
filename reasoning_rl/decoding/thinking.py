"""How long a row thinks: budget forcing in the decoding loop.

A reasoning model thinks until it says a delimiter, and answers then. Budget
forcing (s1, arXiv:2501.19393, section 3.1) changes what is said, not the model:

* Where thinking has taken all its tokens, the delimiter is inserted, so that
  the answer must follow.
* Where the model would end its thinking too early, the token that would have
  ended it is not said, and "Wait" is appended instead.

A row thinks from its first token on. A delimiter of several tokens is there
with its last one: an extension replaces that one, and what has been said of it
before stays. Where the cap falls into a delimiter, only what it lacks is
inserted. No token of a "Wait" that was inserted belongs to a delimiter, and the
cap cuts a "Wait" off: thinking never takes more than its most tokens.

A forced token costs a decoded position like any other. It was not chosen, so
its probability under the distribution sampled is 1, and a learner leaves it out
of its loss by `forced_mask`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from reasoning_rl import masking


@dataclasses.dataclass(frozen=True)
class ThinkingConfig:
  """How much is thought.

  Attributes:
    end_ids: The delimiter that ends thinking.
    wait_ids: What is said instead, where it comes too early.
    min_tokens: Thinking of fewer tokens, the delimiter not counted, is too
      short. `max_tokens`, with few waits, is the paper's way to extend: the
      next `max_waits` ends are ignored.
    max_tokens: Most tokens of thinking, the delimiter not counted.
    max_waits: Most times that thinking is extended.
  """

  end_ids: tuple[int, ...]
  wait_ids: tuple[int, ...]
  min_tokens: int
  max_tokens: int
  max_waits: int

  def __post_init__(self):
    """Refuses values that cannot work."""
    if not self.end_ids:
      raise ValueError("end_ids is empty; name the tokens that end thinking.")
    for name in ("min_tokens", "max_waits"):
      if getattr(self, name) < 0:
        raise ValueError(f"{name} is {getattr(self, name)}; use 0 or more.")
    if self.min_tokens > self.max_tokens:
      raise ValueError(
        f"min_tokens is {self.min_tokens} and max_tokens {self.max_tokens};"
        " thinking cannot take more tokens than it may: lower the first."
      )
    if self.max_waits and not self.wait_ids:
      raise ValueError("wait_ids is empty; name the tokens of a wait.")
    if self.min_tokens and not self.max_waits:
      raise ValueError(
        f"min_tokens is {self.min_tokens} and max_waits 0: thinking is"
        " extended by waits, so allow some."
      )


class Thinking(NamedTuple):
  """Where each row is in its thinking.

  Attributes:
    open_mask: Rows that think.
    count: Tokens said in thinking, those of a delimiter too.
    matched: Of the delimiter, how many tokens the last ones said are.
    waits: Times that thinking was extended.
    waiting: Tokens said of a wait that is being inserted; 0: none is.
  """

  open_mask: Bool[Array, "*R"]
  count: Int[Array, "*R"]
  matched: Int[Array, "*R"]
  waits: Int[Array, "*R"]
  waiting: Int[Array, "*R"]


class Forced(NamedTuple):
  """What a row says next.

  Attributes:
    token: The token sampled, or the one that takes its place.
    forced_mask: Rows in which another takes its place.
    thinking: The rows after it.
  """

  token: Int[Array, " R"]
  forced_mask: Bool[Array, " R"]
  thinking: Thinking


def start(row_mask: Bool[Array, " R"]) -> Thinking:
  """Returns rows that begin to think."""
  none = jnp.zeros(row_mask.shape, jnp.int32)
  return Thinking(row_mask, none, none, none, none)


def force(
  config: ThinkingConfig,
  stop_ids: tuple[int, ...],
  now: Thinking,
  active: Bool[Array, " R"],
  sampled: Int[Array, " R"],
) -> Forced:
  """Returns what the rows say where `sampled` is what they would.

  Args:
    config: How much is thought.
    stop_ids: Tokens that end a row; in thinking they end that as well.
    now: The rows before the token.
    active: Rows that say something.
    sampled: Their tokens.
  """
  size = len(config.end_ids)
  thinks = now.open_mask & active
  capped = thinks & (now.count >= config.max_tokens)
  free = thinks & ~capped
  insert_mask = jnp.zeros(active.shape, bool)
  instead = jnp.asarray(config.end_ids)[jnp.minimum(now.matched, size - 1)]
  if config.max_waits:
    completes = _matched(config.end_ids, now.matched, sampled) == size
    said = now.count - jnp.where(completes, size - 1, 0)
    early = (said < config.min_tokens) & (now.waits < config.max_waits)
    ends = completes | jnp.isin(sampled, jnp.asarray(stop_ids))
    begins = free & (now.waiting == 0) & ends & early
    insert_mask = begins | (free & (now.waiting > 0))
    wait = jnp.asarray(config.wait_ids)[now.waiting]
    instead = jnp.where(insert_mask, wait, instead)
  forced = capped | insert_mask
  token = jnp.where(forced, instead, sampled)
  return Forced(token, forced, _after(config, now, thinks, token, insert_mask))


def replay(
  config: ThinkingConfig,
  tokens: Int[Array, "R L"],
  length: Int[Array, " R"],
  forced_mask: Bool[Array, "R L"],
) -> Thinking:
  """Returns the rows after each of the tokens that they have said, [R, L].

  Args:
    config: What controlled them.
    tokens: From the first token of thinking on, right-padded.
    length: Real tokens.
    forced_mask: True at tokens that `force` put there.
  """

  def step(now, said):
    token, real, forced = said
    thinks = now.open_mask & real
    insert_mask = thinks & forced & (now.count < config.max_tokens)
    after = _after(config, now, thinks, token, insert_mask)
    return after, after

  real = masking.length_mask(length, tokens.shape[1])
  said = tokens.T, real.T, jnp.asarray(forced_mask).T
  _, after = jax.lax.scan(step, start(length >= 0), said)
  return jax.tree.map(jnp.transpose, after)


def _after(config, now, thinks, token, insert_mask) -> Thinking:
  """Returns the rows after a token, given which say a token of a wait."""
  matched = _matched(config.end_ids, now.matched, token)
  matched = jnp.where(insert_mask, 0, matched)
  waiting = (now.waiting + 1) % max(1, len(config.wait_ids))
  return Thinking(
    open_mask=now.open_mask & ~(thinks & (matched == len(config.end_ids))),
    count=now.count + thinks,
    matched=jnp.where(thinks, matched, now.matched),
    waits=now.waits + (insert_mask & (now.waiting == 0)),
    waiting=jnp.where(insert_mask, waiting, 0),
  )


def length(
  config: ThinkingConfig, end: Thinking, stopped: Bool[Array, " R"]
) -> Int[Array, " R"]:
  """Returns the tokens that rows have thought, without what ended it.

  Args:
    config: How much is thought.
    end: The rows after their last tokens.
    stopped: Rows that a stop token ended.
  """
  closed = end.count - len(config.end_ids)
  return jnp.where(end.open_mask, end.count - stopped, jnp.maximum(closed, 0))


def _matched(
  pattern: tuple[int, ...], matched: Int[Array, " R"], token: Int[Array, " R"]
) -> Int[Array, " R"]:
  """Returns how much of `pattern` is there after one more token.

  The longest beginning of the pattern that what was said ends with; which one
  depends on the last such length and the token alone (Knuth, Morris, Pratt).
  """
  found = jnp.zeros_like(matched)
  for before in range(len(pattern)):
    for new in set(pattern):
      said = (*pattern[:before], new)
      sizes = range(len(said), 0, -1)
      longest = next((n for n in sizes if said[-n:] == pattern[:n]), 0)
      here = (matched == before) & (token == new)
      found = jnp.where(here, longest, found)
  return found
