"""What a task is: problems in disjoint splits, and a verifier.

Every task has those. What only some have are protocols of their own, asked for
with `isinstance`: bounds on its texts, demonstrations, an exact oracle, an
alphabet, a verifier that runs on the device.

A completion is text made of thoughts, each ending in a newline; the last
thought of a complete solution carries the answer. The end-of-text token belongs
to the tokenizer and never appears in a text: in a completion's tokens it takes
the place of the last newline, so the text of a completion that ended is its
decoded tokens plus a newline.

Splits are disjoint by construction. What a problem is, up to renaming and
reordering, is hashed to one of ten buckets: eight are train, one is validation,
one is held-out. The bucket does not depend on the seed, so neither does a
problem's split. A problem is drawn from its (seed, split, index) until it falls
into the wanted split. Two indices of one split may by chance hold the same
problem, which `Problem.identity` tells: what is measured is measured on
different ones, see `different`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import typing
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Array, Bool, Int

SPLITS = ("train", "validation", "heldout")

# Stands in a prompt where the tokenizer's end token belongs.
END = "\x03"

# Draws tried before a task counts as having no problem. The rarest split keeps
# one draw in ten, so a healthy task fails with probability 0.9 ** 10000.
MAX_DRAWS = 10_000

# Repeated problems in a row after which a split counts as used up.
MAX_REPEATS = 300


class TaskError(ValueError):
  """A task that cannot be built or has no problem; says what to change."""


@dataclasses.dataclass(frozen=True)
class Problem:
  """One problem, as text.

  Attributes:
    id: The problem's index, unique within its split.
    split: One of `SPLITS`.
    prompt: What the policy reads; ends in a newline. `END` in it is the end
      token.
    answer: The answer in the one form the verifier accepts.
    facts: Plain data that the verifier and the oracle need. Its layout is the
      task's own.
    identity: What the problem is, up to renaming and reordering.
    messages: The turns of a conversation, (role, text) each, that the policy
      reads instead of `prompt`; see `prompts`. Empty: it reads `prompt`.
    question: The problem without instructions and worked examples. Empty: it
      is `prompt`.
  """

  id: int
  split: str
  prompt: str
  answer: str
  facts: tuple[Any, ...]
  identity: str
  messages: tuple[tuple[str, str], ...] = ()
  question: str = ""

  @property
  def shown(self) -> str:
    """What a reader of the report sees of the problem."""
    return (self.question or self.prompt).strip()


# (completion tokens, completion length, answer tokens) -> is it right?
# The length counts the end token, which closes the last thought.
AnswerCheck = Callable[
  [Int[Array, "B L"], Int[Array, " B"], Int[Array, "B La"]], Bool[Array, " B"]
]


@typing.runtime_checkable
class Task(Protocol):
  """A family of problems at one difficulty.

  Attributes:
    name: The task's name in the registry.
    version: Changes whenever the texts or the verdicts change; stored with
      every verdict.
  """

  name: str
  version: str

  def problem(self, split: str, index: int) -> Problem:
    """Returns problem `index` (unlimited, from 0) of a split."""

  def extract_answer(self, completion: str) -> str | None:
    """Returns the final answer to vote with, None if there is none."""

  def verify(self, problem: Problem, completion: str) -> bool:
    """Returns whether a completion solves the problem; fails closed."""


@typing.runtime_checkable
class Bounded(Protocol):
  """What a task has whose texts are of limited size."""

  @property
  def max_prompt_chars(self) -> int:
    """No prompt is longer."""

  @property
  def max_thoughts(self) -> int:
    """Thoughts a completion may hold, the answer's included."""

  @property
  def max_thought_chars(self) -> int:
    """No well-formed thought is longer, its newline included."""


@typing.runtime_checkable
class Demonstrated(Protocol):
  """What a task has that can solve its own problems."""

  def demonstration(self, problem: Problem) -> tuple[str, ...]:
    """Returns the thoughts of a right solution."""


@typing.runtime_checkable
class Oracle(Protocol):
  """What a task has that knows which thoughts are right.

  For measuring only: no training signal may come from it.
  """

  def thought_correct(
    self, problem: Problem, thoughts: Sequence[str]
  ) -> list[bool]:
    """Returns for each thought whether it is right."""

  def reachable(self, problem: Problem, thoughts: Sequence[str]) -> bool:
    """Returns whether the right thoughts can still follow these."""

  def first_error(
    self, problem: Problem, thoughts: Sequence[str]
  ) -> int | None:
    """Returns the first thought after which the goal is out of reach."""


@typing.runtime_checkable
class Lettered(Protocol):
  """What a task has that a character tokenizer can be made for."""

  @property
  def alphabet(self) -> str:
    """Every character that the task's texts can contain, sorted."""

  @property
  def interchangeable(self) -> str:
    """Characters of which any permutation gives an equivalent problem.

    A solution, permuted alike, stays right or wrong in all its thoughts.
    """


@typing.runtime_checkable
class DeviceVerified(Protocol):
  """What a task has whose verifier may run on the device."""

  def make_answer_check(
    self, encode: Callable[[str], list[int]], end_id: int
  ) -> AnswerCheck | None:
    """Returns an on-device verifier, None if the task allows none."""


class Draws:
  """Random integers from raw generator bits.

  NumPy promises never to change the raw stream of a bit generator; it promises
  no such thing of `Generator`'s methods. So a problem stays the same problem
  whatever the version.
  """

  def __init__(self, *entropy: int):
    """Starts the stream that belongs to `entropy`, non-negative integers."""
    self._bits = np.random.PCG64(np.random.SeedSequence(entropy))
    self._buffer: list[int] = []

  def below(self, size: int) -> int:
    """Returns an integer in [0, size), uniform up to size / 2⁶⁴."""
    if not self._buffer:
      self._buffer = self._bits.random_raw(64).tolist()
    return self._buffer.pop() % size

  def choice(self, items: Sequence[Any]) -> Any:
    """Returns one of `items`."""
    return items[self.below(len(items))]

  def shuffled(self, items: Sequence[Any]) -> list[Any]:
    """Returns `items` in random order (Fisher-Yates)."""
    items = list(items)
    for last in range(len(items) - 1, 0, -1):
      other = self.below(last + 1)
      items[last], items[other] = items[other], items[last]
    return items


def split_of(identity: str) -> str:
  """Returns the split that a problem with this identity belongs to."""
  digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
  bucket = int.from_bytes(digest, "big") % 10
  return SPLITS[max(0, bucket - 7)]


def draw(
  seed: int,
  split: str,
  index: int,
  propose: Callable[[Draws], tuple[str, Any] | None],
  advice: str,
) -> tuple[str, Any, Draws]:
  """Draws the content of one problem.

  Args:
    seed: The task's seed.
    split: The split wanted.
    index: The problem's index in the split.
    propose: Draws (identity, content), or None where a draw leads nowhere.
      Problems that count as the same share their identity.
    advice: What to change if no problem is found, completing a sentence.

  Returns:
    The identity, the content, and its stream of draws for whatever else is
    random.
  """
  if split not in SPLITS:
    raise TaskError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
  if index < 0:
    raise TaskError(f"problem index {index} is negative: count from 0")
  rng = Draws(seed, SPLITS.index(split), index)
  for _ in range(MAX_DRAWS):
    proposal = propose(rng)
    if proposal is not None and split_of(proposal[0]) == split:
      return *proposal, rng
  raise TaskError(
    f"a task with no solvable problem: {MAX_DRAWS} draws gave none for the "
    f"{split} split; {advice}"
  )


def different(
  task: Task,
  split: str,
  start: int,
  count: int,
  advice: str = "ask for fewer, or widen the task",
) -> tuple[Problem, ...]:
  """Returns `count` problems of a split from `start` on, no two the same.

  An interval over problems that repeat each other would be too narrow.

  Args:
    task: The task.
    split: One of `SPLITS`.
    start: Index of the first.
    count: How many.
    advice: What to change if there are fewer, completing a sentence.

  Raises:
    TaskError: If the split is too small to find as many.
  """
  found: dict[str, Problem] = {}
  index, fruitless = start, 0
  while len(found) < count:
    problem = task.problem(split, index)
    fruitless = fruitless + 1 if problem.identity in found else 0
    found.setdefault(problem.identity, problem)
    index += 1
    if fruitless > MAX_REPEATS:
      raise TaskError(
        f"{count} different problems are wanted and the {split} split has"
        f" hardly more than {len(found)}: {advice}"
      )
  return tuple(found.values())


def check_at_least(**minimum: tuple[int, int]) -> None:
  """Raises unless every `key=(value, minimum)` holds."""
  for key, (value, least) in minimum.items():
    if value < least:
      raise TaskError(f"{key} is {value}: set it to {least} or more")


def split_thoughts(completion: str) -> list[str] | None:
  """Returns the thoughts of a completion, None if its last one is unfinished.

  Only a newline ends a thought: `str.splitlines` also breaks at form feeds and
  Unicode separators, which a strict verifier must see as what they are.
  """
  if not completion.endswith("\n"):
    return None
  return [line + "\n" for line in completion[:-1].split("\n")]


def first_unreachable(
  reachable: Callable[[Problem, Sequence[str]], bool],
  problem: Problem,
  thoughts: Sequence[str],
) -> int | None:
  """Returns the first thought after which the goal is out of reach."""
  for count in range(1, len(thoughts) + 1):
    if not reachable(problem, thoughts[:count]):
      return count - 1
  return None
