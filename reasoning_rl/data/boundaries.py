"""Where a thought ends, as patterns of token ids.

A pattern is a sequence of ids, and a thought ends with the first token that
completes one: with the newline, with the second of two newlines, or with an id
that stands for a full stop and both. Or it ends after a fixed number of tokens.
Only tokens of the thought itself are compared, so a pattern never reaches over
a thought's beginning: not into the prompt, nor into the thought before. With
the pattern (n, n):

  prompt ... n | n x n n | n n | n y      the bars are boundaries

This is decided token by token and never taken back, so a thought that is
decoded alone ends where a walk over the finished completion puts its end, and
nothing is decoded to text and encoded again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from reasoning_rl.data import tokenizers

KINDS = ("newline", "paragraph", "step", "every-N")
_MARKER = "Step"
_NO_TOKEN = -1
# The texts of ids: what the newline or the blank line is followed by.
_NEWLINE = re.compile(r"\n[ \t]*\Z")
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n[ \t]*\Z")


@dataclasses.dataclass(frozen=True)
class Boundary:
  """What ends a thought.

  Attributes:
    patterns: Id sequences; each is the end of the thought that it ends.
    every: A thought of so many tokens ends too; 0: no such limit.
  """

  patterns: tuple[tuple[int, ...], ...]
  every: int = 0

  def __post_init__(self):
    """Refuses what ends no thought."""
    if self.every < 0:
      raise ValueError(f"every is {self.every}; use 0 (no limit) or more.")
    if not self.patterns and not self.every:
      raise ValueError("a boundary needs a pattern, or `every` above 0.")
    if any(not p or min(p) < 0 for p in self.patterns):
      raise ValueError(
        "every pattern of a boundary needs at least one id, and no id is"
        " negative."
      )

  @property
  def single_ids(self) -> tuple[int, ...]:
    """The ids that end a thought whatever stands before them."""
    return tuple(p[0] for p in self.patterns if len(p) == 1)

  @property
  def is_simple(self) -> bool:
    """Whether a thought's end depends on its last token alone."""
    return not self.every and len(self.single_ids) == len(self.patterns)

  @property
  def memory(self) -> int:
    """Tokens of a thought to remember, one less than the longest pattern."""
    return max([len(p) for p in self.patterns], default=1) - 1

  def by_length(self) -> dict[int, list[tuple[int, ...]]]:
    """Returns the patterns by their number of ids."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for pattern in self.patterns:
      found.setdefault(len(pattern), []).append(pattern)
    return found


class Progress(NamedTuple):
  """How far each of `R` rows is in its thought.

  Attributes:
    length: Tokens of the thought so far.
    recent: The last of them, -1 where the thought had not begun.
  """

  length: Int[Array, " R"]
  recent: Int[Array, "R _"]


def single(*ids: int) -> Boundary:
  """Returns the boundary of thoughts that end with any of some ids."""
  return Boundary(tuple((i,) for i in ids))


def start(boundary: Boundary | None, rows: int) -> Progress:
  """Returns the progress of `rows` thoughts without a token."""
  memory = 0 if boundary is None else boundary.memory
  return Progress(
    jnp.zeros(rows, jnp.int32), jnp.full((rows, memory), _NO_TOKEN, jnp.int32)
  )


def start_where(mask: Bool[Array, " R"], progress: Progress) -> Progress:
  """Returns `progress` with a new thought in the rows of `mask`."""
  return Progress(
    jnp.where(mask, 0, progress.length),
    jnp.where(mask[:, None], _NO_TOKEN, progress.recent),
  )


def advance(
  boundary: Boundary, progress: Progress, token: Int[Array, " R"]
) -> tuple[Bool[Array, " R"], Progress]:
  """Returns which thoughts `token` ends, and how far the rows are after it."""
  length = progress.length + 1
  window = jnp.concatenate([progress.recent, token[:, None]], axis=1)
  ended = jnp.zeros(token.shape, bool)
  for size, patterns in boundary.by_length().items():
    if size == 1:
      ended |= jnp.isin(token, jnp.asarray(boundary.single_ids))
      continue
    same = window[:, None, -size:] == jnp.asarray(patterns)[None]
    ended |= jnp.any(jnp.all(same, axis=-1), axis=-1)
  if boundary.every:
    ended |= length >= boundary.every
  return ended, start_where(ended, Progress(length, window[:, 1:]))


def ends(boundary: Boundary, tokens: Int[Array, "B L"]) -> Bool[Array, "B L"]:
  """Returns where thoughts end in whole completions, padding included."""
  if boundary.is_simple:
    return jnp.isin(tokens, jnp.asarray(boundary.single_ids))

  def walk(progress, token):
    ended, progress = advance(boundary, progress, token)
    return progress, ended

  first = start(boundary, tokens.shape[0])
  return jax.lax.scan(walk, first, tokens.T)[1].T


def boundary(tokenizer: tokenizers.Tokenizer, kind: str) -> Boundary:
  r"""Returns the boundary of a kind in a tokenizer's ids.

  "newline": every id whose text ends with a newline. "paragraph": every id
  whose text ends with two, and an id that ends with one before the newline.
  Blanks may follow a newline in its id, as GPT-2's vocabulary has them.
  "step": the word "Step" at the beginning of a line. What ends the thought is
  the marker, newline and word, since nothing can be known of a word before it
  is there: the thought after it begins with the step's number, and a "Step"
  that opens the completion ends nothing. "every-N": N tokens.

  Args:
    tokenizer: Gives every id's text.
    kind: One of `KINDS`, with a number for N.
  """
  every = re.fullmatch(r"every-([1-9][0-9]*)", kind)
  if every:
    return Boundary((), int(every[1]))
  if kind not in KINDS[:3]:
    raise ValueError(
      f"unknown kind of thought {kind!r}; use one of {', '.join(KINDS)}, such"
      " as every-64."
    )
  text_of = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
  found = _patterns(tokenizer, kind, text_of)
  if not found:
    raise ValueError(f"no ids of this tokenizer end a thought of kind {kind!r}")
  return Boundary(tuple(found))


def _patterns(tokenizer, kind, text_of) -> list[tuple[int, ...]]:
  """Returns all patterns of a kind, for the text of each id."""
  that = lambda test: [i for i, text in enumerate(text_of) if test(text)]
  newline = that(lambda text: text.endswith("\n"))
  if kind == "newline":
    return [(i,) for i in that(_NEWLINE.search)]
  if kind == "paragraph":
    double = that(_PARAGRAPH.search)
    plain = that(_NEWLINE.match)
    first = [i for i in newline if i not in set(double)]
    return [(i,) for i in double] + [(i, j) for i in first for j in plain]
  whole = that(lambda text: text.endswith("\n" + _MARKER))
  word = _marker_ids(tokenizer)
  return [(i,) for i in whole] + [(i, *word) for i in newline if word]


def _marker_ids(tokenizer) -> tuple[int, ...]:
  """Returns the ids of the marker after a newline; () if they merge."""
  ids: Sequence[int] = tokenizer.encode("\n" + _MARKER)
  for first in range(len(ids) - 1, 0, -1):
    if tokenizer.decode(ids[first:]) == _MARKER:
      return tuple(ids[first:])
  return ()
