"""Tasks whose problems are given: their splits, prompts and examples.

Each split has a source of its own (see `sources`), or takes its part of the
training source: by a field `split` where the records have one, else by the hash
of what they ask, as `base.split_of` has it. No problem stands in two splits:
one that is also held-out, whatever its blanks and capitals, is left out of the
others, and `notes` says how many were. The same goes for repetitions.

A split goes through its problems in an order drawn from the seed, again and
again: the problem after its last is its first.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from reasoning_rl.tasks import base, prompts, sources, verdicts

# What a field `split` may say.
_SPLIT_NAMES = {
  "train": "train",
  "training": "train",
  "validation": "validation",
  "valid": "validation",
  "val": "validation",
  "dev": "validation",
  "heldout": "heldout",
  "held-out": "heldout",
  "test": "heldout",
}
# A problem that two splits have stays in the first of these.
_PRECEDENCE = ("heldout", "validation", "train")


@dataclasses.dataclass(frozen=True)
class Item:
  """A problem as a schema reads it.

  Attributes:
    question: The problem in words.
    answer: The right answer.
    thoughts: Lines of a solution, the answer's last, each with its newline; ()
      if there is none.
    facts: What the verifier needs besides.
    asks: What makes it the problem it is; "" is its question.
    id: Its id in the source, "" for none.
    where: Names its place in the source.
    split: The split that the source puts it in, "" for none.
  """

  question: str
  answer: str
  thoughts: tuple[str, ...] = ()
  facts: tuple[Any, ...] = ()
  asks: str = ""
  id: str = ""
  where: str = ""
  split: str = ""

  @functools.cached_property
  def identity(self) -> str:
    """What the problem asks, without regard to blanks and capitals."""
    return normalised(self.asks or self.question)


def normalised(text: str) -> str:
  """Returns a text with single blanks, in lower case."""
  return " ".join(text.split()).casefold()


def overlap(train: Iterable[str], heldout: Iterable[str]) -> int:
  """Returns how many of the training questions are held-out ones too.

  Args:
    train: Questions to learn from.
    heldout: Questions to measure on.
  """
  known = set(map(normalised, heldout))
  return sum(normalised(text) in known for text in train)


@dataclasses.dataclass(frozen=True)
class ProblemSet(abc.ABC):
  """The base of tasks whose problems are given.

  A subclass says how a record is read, and judges.

  Attributes:
    seed: Of the order of the problems.
    train: Source of the training problems; "" for none.
    validation: Of the validation problems; "" takes them from `train`.
    heldout: Of the held-out problems; "" takes them from `train`.
    max_question_chars: Longer problems are left out; 0 for none.
    prompt_style: "ended" or "chat"; see `prompts`.
    shots: Worked examples in the prompt, training problems.
    reasoning: "chain", or "none" for the answer alone.
    instructed: Whether an instruction goes before the examples.
    instruction: That instruction; "" is the task's own.
    prompt_seed: Chooses the examples.
  """

  seed: int = 0
  train: str = ""
  validation: str = ""
  heldout: str = ""
  max_question_chars: int = 0
  prompt_style: str = "ended"
  shots: int = 4
  reasoning: str = "chain"
  instructed: bool = False
  instruction: str = ""
  prompt_seed: int = 0

  name: ClassVar[str]
  version: ClassVar[str]

  def __post_init__(self):
    """Raises on options that cannot be; the sources are read at first use."""
    base.check_at_least(
      seed=(self.seed, 0),
      prompt_seed=(self.prompt_seed, 0),
      max_question_chars=(self.max_question_chars, 0),
    )
    if self.reasoning == "least_to_most":
      raise base.TaskError(
        "reasoning is 'least_to_most', which needs smaller questions that the"
        f" problems of {self.name!r} do not have: use 'chain' or 'none'"
      )
    self._prompt  # noqa: B018, it checks itself.
    if not any(self._sources.values()):
      raise base.TaskError(
        f"the task {self.name!r} has no problems: set task.{self.name}.train or"
        f" task.{self.name}.heldout to a file, such as 'problems/train.jsonl'"
      )

  # What a subclass says.

  @abc.abstractmethod
  def extract_answer(self, completion: str) -> str | None:
    """Returns the final answer to vote with, None if there is none."""

  @abc.abstractmethod
  def read(self, record: sources.Record) -> Item:
    """Returns a record's problem."""

  @property
  @abc.abstractmethod
  def told(self) -> str:
    """The task's own instruction."""

  @abc.abstractmethod
  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[verdicts.Verdict]:
    """Returns the verdict on each completion of the problem beside it."""

  # What every such task has.

  def judge(self, problem: base.Problem, completion: str) -> verdicts.Verdict:
    """Returns the verdict on a completion."""
    return self.judge_many([problem], [completion])[0]

  def verify(self, problem: base.Problem, completion: str) -> bool:
    """Returns whether a completion is known to be right."""
    return self.judge(problem, completion).is_correct

  def problem(self, split: str, index: int) -> base.Problem:
    """Returns problem `index` (unlimited, from 0) of a split."""
    items = self.items(split)
    if index < 0:
      raise base.TaskError(f"problem index {index} is negative: count from 0")
    if not items:
      raise base.TaskError(
        f"the task {self.name!r} has no {split} problems: set"
        f" task.{self.name}.{split} to a source of them. It has read:"
        f" {' '.join(self.notes)}"
      )
    item = items[index % len(items)]
    prompt, messages = self._put(item)
    return base.Problem(
      id=index,
      split=split,
      prompt=prompt,
      answer=item.answer,
      facts=(item.thoughts, *item.facts),
      identity=item.identity,
      messages=messages,
      question=item.question,
    )

  def demonstration(self, problem: base.Problem) -> tuple[str, ...]:
    """Returns the lines of the solution that the source has."""
    if not problem.facts[0]:
      raise base.TaskError(
        f"{problem.split} problem {problem.id} of {self.name!r} has no solution"
        " to show: set shots and sft.max_steps to 0"
      )
    return problem.facts[0]

  def items(self, split: str) -> tuple[Item, ...]:
    """Returns all problems of a split, in its order."""
    if split not in base.SPLITS:
      raise base.TaskError(
        f"unknown split {split!r}: use one of {', '.join(base.SPLITS)}"
      )
    return self._loaded[0][split]

  @property
  def notes(self) -> tuple[str, ...]:
    """Sentences on the problems that were left out, and on all there are."""
    return self._loaded[1]

  @property
  def _sources(self) -> dict[str, str]:
    return {split: getattr(self, split) for split in base.SPLITS}

  @functools.cached_property
  def _prompt(self) -> prompts.PromptConfig:
    return prompts.PromptConfig(
      self.prompt_style,
      self.shots,
      self.reasoning,
      self.instructed,
      self.instruction or self.told,
    )

  @functools.cached_property
  def _loaded(self) -> tuple[dict[str, tuple[Item, ...]], tuple[str, ...]]:
    """Reads all sources; the splits, and sentences on what was left out."""
    parts: dict[str, list[Item]] = {split: [] for split in base.SPLITS}
    for split, source in self._sources.items():
      for item in self._read_all(source) if source else ():
        parts[self._split_of(item, split)].append(item)
    parts, notes = _disjoint(self.name, parts)
    parts, more = self._without_contradictions(parts)
    notes += more
    if self.max_question_chars:
      parts, more = _short(self.name, parts, self.max_question_chars)
      notes += more
    shuffled = {
      split: tuple(
        base.Draws(self.seed, base.SPLITS.index(split), 0).shuffled(items)
      )
      for split, items in parts.items()
    }
    sizes = ", ".join(f"{len(shuffled[s])} {s}" for s in base.SPLITS)
    return shuffled, (*notes, f"{self.name}: {sizes} problems.")

  def _without_contradictions(
    self, parts: dict[str, list[Item]]
  ) -> tuple[dict[str, list[Item]], tuple[str, ...]]:
    """Leaves the answer alone of solutions that no verifier could read.

    One that says "the answer is pale blue" before "The answer is (B)." states
    two answers, so who learns to write like it is never right.
    """
    count = 0
    settled: dict[str, list[Item]] = {}
    for split, items in parts.items():
      settled[split] = []
      for item in items:
        last = item.thoughts[-1:]
        if (
          len(item.thoughts) > 1
          and self.extract_answer("".join(item.thoughts)) is None
          and self.extract_answer(last[0]) is not None
        ):
          count += 1
          item = dataclasses.replace(item, thoughts=last)
        settled[split].append(item)
    note = (
      f"{self.name}: {count} solutions state their answer in doubt or another"
      " one, and only their last line is shown."
    )
    return settled, (note,) if count else ()

  def _read_all(self, source: str) -> list[Item]:
    found: list[Item] = []
    ids: dict[str, str] = {}
    for record in sources.read(source):
      item = self.read(record)
      if item.id and item.id in ids:
        raise sources.SourceError(
          f"{record.where}: the id {item.id!r} stands already in"
          f" {ids[item.id]}: give every problem its own"
        )
      ids[item.id] = record.where
      split = record.text("split", default="")
      if split and split.lower() not in _SPLIT_NAMES:
        raise record.fault(
          "split", f"is {split!r}; use one of {', '.join(_SPLIT_NAMES)}"
        )
      found.append(
        dataclasses.replace(
          item,
          where=record.where,
          split=_SPLIT_NAMES.get(split.lower(), ""),
        )
      )
    return found

  def _split_of(self, item: Item, given: str) -> str:
    """Returns the split of an item from the source given for one."""
    if given != "train":
      return given
    if item.split:
      return item.split
    wanted = base.split_of(item.identity)
    return "train" if self._sources[wanted] else wanted

  def _put(self, item: Item) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns the prompt of a problem, and its messages if it is a chat."""
    examples = [e for e in self._examples if e.question != item.question]
    return prompts.make(self._prompt, item.question, examples[: self.shots])

  @functools.cached_property
  def _examples(self) -> tuple[prompts.Example, ...]:
    """Worked training problems: one more than is shown of them.

    A problem is no example before itself.
    """
    if not self.shots:
      return ()
    items = [item for item in self.items("train") if item.thoughts]
    if len(items) <= self.shots:
      raise base.TaskError(
        f"{self.shots} worked examples are wanted of {self.name!r}, and"
        f" {len(items)} training problems have a solution: set"
        f" task.{self.name}.shots to less, or task.{self.name}.train to more"
      )
    rng = base.Draws(self.prompt_seed, 0, 1)
    chosen = rng.shuffled(range(len(items)))[: self.shots + 1]
    return tuple(
      prompts.Example(items[i].question, self._shown(items[i])) for i in chosen
    )

  def _shown(self, item: Item) -> tuple[str, ...]:
    """Returns the lines of an example, its answer alone without reasoning."""
    return item.thoughts[-1:] if self.reasoning == "none" else item.thoughts


def lines(text: str) -> tuple[str, ...]:
  """Returns the lines of a text that are not blank, each with its newline."""
  return tuple(
    f"{line.rstrip()}\n" for line in text.split("\n") if line.strip()
  )


def number_of(identity: str) -> int:
  """Returns a number that is drawn from what a problem is."""
  digest = hashlib.blake2b(identity.encode(), digest_size=6).digest()
  return int.from_bytes(digest, "big")


def _disjoint(
  name: str, parts: dict[str, list[Item]]
) -> tuple[dict[str, list[Item]], tuple[str, ...]]:
  """Leaves out repetitions, and what a split of more precedence has."""
  kept: dict[str, list[Item]] = {}
  owner: dict[str, str] = {}
  notes = []
  for split in _PRECEDENCE:
    kept[split] = []
    left_out = dict.fromkeys(_PRECEDENCE, 0)
    for item in parts[split]:
      if item.identity in owner:
        left_out[owner[item.identity]] += 1
        continue
      owner[item.identity] = split
      kept[split].append(item)
    for other, count in left_out.items():
      if count:
        what = "repeat others" if other == split else f"are {other} ones too"
        notes.append(
          f"{name}: {count} of {len(parts[split])} {split} problems {what} and"
          " are left out."
        )
  return kept, tuple(notes)


def _short(
  name: str, parts: dict[str, list[Item]], most: int
) -> tuple[dict[str, list[Item]], tuple[str, ...]]:
  """Leaves out what is longer than `most` characters."""
  kept = {
    split: [item for item in items if len(item.question) <= most]
    for split, items in parts.items()
  }
  left_out = sum(map(len, parts.values())) - sum(map(len, kept.values()))
  note = (
    f"{name}: {left_out} problems of more than {most} characters are left out."
  )
  return kept, (note,) if left_out else ()
