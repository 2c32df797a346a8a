r"""Where the answer of a completion stands: one object, or none.

An answer is marked by \boxed{...}, "#### x", "the (final) answer is x" or
"Answer: x". What counts is the last segment, behind the last </think>; all the
answers marked there must agree. Whatever leaves a doubt gives no answer, and
never the reading that suits best: different answers, a hedge before or behind,
a retraction after, a box that is not closed or that is part of an expression,
a number that may have been cut off.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reasoning_rl.tasks.mathematics import answers, judging, normalise, reading

MAX_SEGMENT = 200_000  # Characters; a longer one has no answer.
MAX_MARKS = 64  # Phrases that only lead to a box count too.
MAX_PHRASE = 2000  # Characters behind "the answer is"; no answer is as long.
MIN_ECHO = 20  # A shorter prompt may by chance be part of an answer.


class Mark(NamedTuple):
  """One place where an answer is marked.

  Attributes:
    text: The answer as written.
    start: Where the mark begins in the segment.
    end: Where the answer ends.
    closed: Whether it cannot go on behind its end.
  """

  text: str
  start: int
  end: int
  closed: bool


_SPACE = " \t\r\n"
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_HASH = re.compile(r"^[ \t]*####(?!#)[ \t]*(.*)", re.MULTILINE)
_HEADING = re.compile(r"[*\s]*[a-zA-Z]{3,}[*]*[ :]")
_PHRASE = re.compile(
  r"\banswer\b(?:\*\*|[ \t])*(?:\bis\b|:|=)(?:\*\*(?=\s)|\s|:)*",
  re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=[*_$\s]|$)|\n|!(?=\s|$)")
_PROSE = re.compile(r"[^0-9\\$]*")
# Hedges right before a mark, in its own sentence.
_BEFORE_CHARS = 28
_BEFORE_SENTENCE = re.compile(r".*[.\n](?=\s|$)", re.DOTALL)
_BEFORE_WORD = re.compile(r"[a-z]+(?:['’]t)?|[≈~]")
_BEFORE = frozenset(
  "either neither not cannot never maybe perhaps possibly probably approx"
  " approximately about roughly around almost nearly between guess guessing"
  " guessed unsure wrong incorrect might could unlikely isn't wasn't aren't"
  " can't won't doesn't isn’t wasn’t aren’t can’t won’t doesn’t ≈ ~".split()
)
_BEHIND = re.compile(
  r"(?:[\s$*)\]}.,]|\\[)\]])*(?:(?:or|and|maybe|perhaps|possibly|but|unless|not"
  r"|if|thousand|million|billion|trillion|hundred|dozen|hundreds|thousands)\b"
  r"|[?]|±)|[\s$]*[,;][\s$]*[-0-9]",
  re.IGNORECASE,
)
_RETRACTION = re.compile(
  r"\b(?:actually|wait|correction|instead|rather|mistake|mistaken|oops|sorry"
  r"|wrong|incorrect|on second thought|scratch that|i mean|no,|let me re\w*"
  r"|alternatively|however)(?![a-z])|####",
  re.IGNORECASE,
)
_PERCENT = re.compile(r"\s*(?:\\?%|percent\b)")
# What may touch a box without changing what it says.
_JOINED_BEFORE = re.compile(r"(?:[-+*/^0-9a-zA-Z!%_()\[\]{}]|\\[,;])[ ]?\Z")
_FREE_BEFORE = re.compile(
  r"(?:\*\*|\\[(\[]|(?<![^\s(])[a-zA-Z]+(?= )|\\text\{[^{}]*\}|[.,;:]"
  r"|\\(?:q?quad|[,;]|Rightarrow|rightarrow|implies|therefore|to))[ ]?\Z"
)
_JOINED_BEHIND = re.compile(
  r" ?(?:[-+/^0-9!_({]|\*(?!\*)"
  r"|\\(?!%|\)|\]|,|;|!|quad|qquad|text|mathrm|\\| ))"
)


def extract(
  completion: str, prompt: str = "", truncated: bool = False
) -> str | None:
  """Returns the one final answer of a completion, None if there is none.

  Args:
    completion: What the policy wrote.
    prompt: What it read; an echo of it is not searched.
    truncated: Whether the completion ran out of tokens: an answer that nothing
      closes may then be cut off.
  """
  segment = last_segment(completion, prompt)
  if segment is None:
    return None
  marks = _marks(segment)
  if not marks:
    return None
  last = marks[-1]
  if truncated and not last.closed and not segment[last.end :].strip(" *$"):
    if "\n" not in segment[last.end :]:
      return None
  for mark in marks:
    if _hedged(segment, mark) or _BEHIND.match(segment, mark.end):
      return None
  if _RETRACTION.search(segment, last.end):
    return None
  if not all(_agree(mark.text, last.text) for mark in marks[:-1]):
    return None
  return last.text


def last_segment(completion: str, prompt: str = "") -> str | None:
  """Returns what stands behind the thinking, None if it never ended."""
  echo = prompt.strip()
  if len(echo) >= MIN_ECHO and echo in completion:
    completion = completion.replace(echo, "\n")
  elif echo and completion.startswith(prompt):
    completion = completion[len(prompt) :]
  segment = completion.rpartition("</think>")[2]
  if "<think>" in segment or len(segment) > MAX_SEGMENT:
    return None
  return segment


def _hedged(segment: str, mark: Mark) -> bool:
  before = segment[max(0, mark.start - _BEFORE_CHARS) : mark.start]
  before = _BEFORE_SENTENCE.sub("", before).lower()
  return not _BEFORE.isdisjoint(_BEFORE_WORD.findall(before))


def _marks(segment: str) -> list[Mark] | None:
  """Returns the marked answers by position, None if one is no answer."""
  marks = _boxes(segment)
  if marks is None:
    return None
  boxes = list(marks)
  for match in _HASH.finditer(segment):
    if _HEADING.match(match[1]):
      continue
    start, end = match.span(1)
    if not _restates(segment, start, end, boxes):
      marks.append(Mark(match[1].strip(_SPACE), match.start(), end, False))
    if len(marks) > MAX_MARKS:
      return None
  for count, match in enumerate(_PHRASE.finditer(segment), start=1):
    if count > MAX_MARKS:
      return None
    mark = _phrase(segment, match, boxes)
    if mark is not None:
      marks.append(mark)
  marks.sort(key=lambda mark: mark.end)
  # A sentence about the answer is none, unless it has the last word.
  marks = [
    mark
    for mark in marks
    if mark is marks[-1] or mark in boxes or not _is_prose(mark.text)
  ]
  if any(not mark.text for mark in marks) or len(marks) > MAX_MARKS:
    return None
  return marks


def _boxes(segment: str) -> list[Mark] | None:
  marks: list[Mark] = []
  if "\\boxed" not in segment and "\\fbox" not in segment:
    return marks
  for match in _BOX.finditer(segment):
    end = _closing(segment, match.end())
    if end is None or len(marks) == MAX_MARKS:
      return None
    text = segment[match.end() + 1 : end - 1]
    before = segment[max(0, match.start() - 40) : match.start()]
    if _BOX.search(text) or _JOINED_BEHIND.match(segment, end):
      return None
    if _JOINED_BEFORE.search(before) and not _FREE_BEFORE.search(before):
      return None
    percent = _PERCENT.match(segment, end)
    if percent:
      text, end = text + "%", percent.end()
    marks.append(Mark(text.strip(_SPACE), match.start(), end, True))
  return marks


def _closing(text: str, start: int) -> int | None:
  """Returns the place behind the brace that closes the one at `start`."""
  if text[start : start + 1] != "{":
    return None
  depth, at = 0, start
  end = min(len(text), start + normalise.MAX_CHARS + 2)
  while at < end:
    character = text[at]
    if character == "\\":
      at += 1  # An escaped brace is no brace.
    elif character == "{":
      depth += 1
    elif character == "}":
      depth -= 1
      if depth == 0:
        return at + 1
    at += 1
  return None


def _phrase(
  segment: str, match: re.Match[str], boxes: list[Mark]
) -> Mark | None:
  """Returns the answer behind "the answer is", None if it is a box's."""
  start = match.end()
  limit = start + MAX_PHRASE
  stop = _SENTENCE_END.search(segment, start, limit)
  end = stop.start() if stop else min(len(segment), limit)
  closed = stop is not None
  if _restates(segment, start, end, boxes):
    return None
  if limit < len(segment) and end >= limit - 1:  # Cut off: read as no answer.
    return Mark(segment[start:limit], match.start(), limit, True)
  text = segment[start:end].strip(_SPACE)
  if text.startswith("**"):
    text = text[2:].strip(_SPACE)
  if text.endswith("**"):
    text = text[:-2].strip(_SPACE)
  return Mark(text, match.start(), end, closed)


def _restates(segment: str, start: int, end: int, boxes: list[Mark]) -> bool:
  """Returns whether a mark's text is a box with nothing to weigh before it."""
  return any(
    start <= box.start <= end
    and re.search("[0-9]", segment[start : box.start]) is None
    for box in boxes
  )


def _is_prose(text: str) -> bool:
  if not text or not _PROSE.fullmatch(text):
    return False
  found = reading.read(text)
  if isinstance(found, answers.Unread):
    return found.malformed
  return found.kind == "word" and " " in str(found.value)


def _agree(first: str, last: str) -> bool:
  if first == last:
    return True
  return judging.judge(last, first) is judging.Verdict.CORRECT
