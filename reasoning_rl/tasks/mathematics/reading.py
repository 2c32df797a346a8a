r"""Text -> answer, by the rules of `answers`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from reasoning_rl.tasks.mathematics import (
  answers,
  grammar,
  normalise,
  numbers,
  units,
)
from reasoning_rl.tasks.mathematics.answers import Answer, Unread
from reasoning_rl.tasks.mathematics.normalise import Malformed, NotCovered

MAX_ITEMS = 32

_HEDGE = re.compile(
  r"\b(?:or|either|neither|maybe|perhaps|possibly|probably|likely|unlikely"
  r"|approximately|approx|about|around|roughly|almost|nearly|not|isn't|never"
  r"|guess|unsure|between|least|most|unless|if|but|any|some)\b"
  r"|[?]|\\(?:approx|sim|simeq|cong|lor|vee|neq?)(?![a-zA-Z])|!=|~",
  re.IGNORECASE,
)
_FAST = re.compile(r"[-+]?[0-9.]+|-?[0-9]+/[0-9]+|-?\\frac\{[0-9]+\}\{[0-9]+\}")
_THOUSANDS = re.compile(
  r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])"
)
_CHOICE = re.compile(r"\(?([A-J])[).]?")
_TEXT = re.compile(
  r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|rm|bf|operatorname)"
  r"(?:\{([^{}]*)\}| ([a-zA-Z]+))"
)
_WORDS = re.compile(r"[a-zA-Z]+(?:[ '-][a-zA-Z]+){0,5}")
_SHORT_WORDS = set("yes no true false none odd even".split())
_NUMBER_WORDS = dict(
  (word, number)
  for number, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven"
    " twelve".split()
  )
)
_INFINITY = re.compile(r"([+-]?)\s*\\infty")
_DEGREES = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)\s*")
_MONEY = re.compile(r"(-?)\s*(?:\\?\$|\\(euro|pounds)\s)\s*(.+)")
_UNIT_COMMAND = re.compile(
  r"(.*[0-9)}!%\]])\s*" + _TEXT.pattern + r"(\s*\^\s*\{?\s*[1-9]\s*\}?)?"
)
_UNIT_WORDS = re.compile(
  r"(.*[0-9)}%\]])(\s*)([a-zA-Z][a-zA-Z ]*(?:\^\{?[1-9]\}?)?"
  r"(?:/[a-zA-Z]+(?:\^\{?[1-9]\}?)?)?)\.?"
)
_BARE_NUMBER = re.compile(r"[-+]?[0-9][0-9,./ ]*")
_PLAIN_NUMBER = re.compile(
  r"[-+]?(?:(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?: ?%)?"
  r"|(?P<fraction>[0-9]+ ?/ ?[0-9]+|\\frac\{[-+]?[0-9]+\}\{[0-9]+\})"
  r"|[0-9]+ [0-9]+/[0-9]+|[0-9]+ ?\\frac\{[0-9]+\}\{[0-9]+\})"
)
_VARIABLE = re.compile(
  r"[a-zA-Z](?:_(?:[0-9a-zA-Z]|\{[0-9a-zA-Z]{1,3}\}))?'?(?:\([a-z]\))?"
  r"|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|angle [A-Z]{1,3})"
  r"|\([a-z](?:, ?[a-z])+\)"
)
_VALUE_OF = re.compile(rf"({_VARIABLE.pattern})\s*(?:=|\\in(?![a-zA-Z]))")


def read(text: str) -> Answer | Unread:
  """Returns the answer that a text states, or why it states none."""
  if len(text) > normalise.MAX_CHARS:  # No long text in the cache.
    return Unread(True, "the answer is too long")
  return _read(text)


def is_plain_number(text: str) -> bool:
  """Returns whether a text is a number that needs no working out.

  That is an integer, a decimal, a fraction that is not whole, a mixed number or
  a percentage, in brackets or not; a unit and a variable may stand beside it.
  """
  found = read(text)
  if not isinstance(found, Answer) or found.kind != "number":
    return False
  text = normalise.clean(text)
  if _word(text) is not None:
    return True
  text = _THOUSANDS.sub(lambda group: group[0].replace(",", ""), text)
  if found.variable:
    text = text.partition("=")[2].strip()
  text = _without_unit(text)[0].strip()
  if text.startswith("(") and text.endswith(")"):
    text = text[1:-1].strip()
  match = _PLAIN_NUMBER.fullmatch(text)
  if match is None:
    return False
  return match["fraction"] is None or not isinstance(found.value, int)


@functools.lru_cache(maxsize=1 << 14)
def _read(text: str) -> Answer | Unread:
  try:
    cleaned = normalise.clean(text)
    if _FAST.fullmatch(cleaned):
      return Answer("number", grammar.evaluate(cleaned))
    word = _word(cleaned)
    if word is not None:
      return word
    if _HEDGE.search(cleaned):
      raise Malformed("a hedge")
    if "\\begin" in cleaned:
      raise NotCovered("an environment")
    _check_balance(cleaned)
    return _whole(cleaned)
  except Malformed as error:
    return Unread(True, str(error))
  except NotCovered as error:
    return Unread(False, str(error))


def _check_balance(text: str) -> None:
  """Raises unless braces are balanced; intervals may mix ( and ]."""
  depth = 0
  for character in text:
    if character in "{([" + normalise.OPEN_SET:
      depth += 1
    elif character in "})]" + normalise.CLOSE_SET:
      depth -= 1
      if depth < 0:
        raise Malformed("a bracket too many")
  if depth:
    raise Malformed("a bracket is not closed")


def _whole(text: str) -> Answer:
  match = _CHOICE.fullmatch(_TEXT.sub(r"\1\2", text).strip())
  if match:
    return Answer("choice", match[1])
  match = _VALUE_OF.match(text)
  if match:
    variable, rest = match[1].replace(" ", ""), text[match.end() :].strip()
    if _closes(rest) and len(_split(rest[1:-1])) > 1:
      return _collection(rest)._replace(variable=variable)
  if _closes(text):
    if text[0] == normalise.OPEN_SET or len(_split(text[1:-1])) > 1:
      return _collection(text)
  if "(" not in text and "[" not in text and normalise.OPEN_SET not in text:
    text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
  parts = [
    part
    for piece in _split(text)
    for part in re.split(r"\band\b|\\text\s*\{\s*and\s*\}", piece)
  ]
  parts = [part.strip() for part in parts]
  if len(parts) > 2 and not parts[-2]:  # 1, 2, and 3
    del parts[-2]
  if len(parts) == 1:
    return _single(parts[0])
  return Answer("list", items=_items(parts))


def _word(text: str) -> Answer | None:
  inner = _TEXT.fullmatch(text)
  plain = (inner[1] or inner[2]).strip() if inner else text
  plain = plain.rstrip(".!")
  if not _WORDS.fullmatch(plain):
    return None
  lower = " ".join(plain.casefold().split())
  if lower in _NUMBER_WORDS:
    return Answer("number", _NUMBER_WORDS[lower])
  if inner is None and lower not in _SHORT_WORDS:
    if len(plain) < 4 or max(map(len, lower.split())) < 3:
      return None  # A product of variables, perhaps.
  if inner is not None and len(lower) == 1:
    return None
  return Answer("word", lower)


def _closes(text: str) -> bool:
  """Returns whether the first bracket closes at the very end."""
  if text[:1] not in ("(", "[", "{", normalise.OPEN_SET):
    return False
  depth = 0
  for at, character in enumerate(text):
    depth += character in "([{" + normalise.OPEN_SET
    depth -= character in ")]}" + normalise.CLOSE_SET
    if depth == 0:
      return at == len(text) - 1
  return False


def _split(text: str) -> list[str]:
  """Splits at the commas and semicolons outside brackets."""
  if "," not in text and ";" not in text:
    return [text]
  parts, depth, start = [], 0, 0
  for at, character in enumerate(text):
    if character in "([{" + normalise.OPEN_SET:
      depth += 1
    elif character in ")]}" + normalise.CLOSE_SET:
      depth -= 1
    elif character in ",;" and depth == 0:
      parts.append(text[start:at])
      start = at + 1
  return [part.strip() for part in [*parts, text[start:]]]


def _collection(text: str) -> Answer:
  """Reads a tuple, an interval or a set."""
  opening, inner, closing = text[0], text[1:-1].strip(), text[-1]
  if opening in (normalise.OPEN_SET, "{"):
    if closing != {"{": "}"}.get(opening, normalise.CLOSE_SET):
      raise Malformed("a set that closes with another bracket")
    return Answer("set", items=_items(_split(inner)) if inner else ())
  if closing not in (")", "]"):
    raise Malformed("brackets that do not match")
  return Answer(
    "bracket", items=_items(_split(inner)), brackets=opening + closing
  )


def _items(parts: Sequence[str]) -> tuple[Answer, ...]:
  if len(parts) > MAX_ITEMS:
    raise Malformed("too many items")
  return tuple(
    _collection(part)
    if _closes(part) and len(_split(part[1:-1])) > 1
    else (_word(part) or _single(part))
    for part in parts
  )


def _single(text: str) -> Answer:
  """Reads a number with what stands around it."""
  if not text:
    raise Malformed("an item is missing")
  parts = re.split(r"(?<![<>!:\\])=", text)
  variable = ""
  if len(parts) > 1 and _VARIABLE.fullmatch(parts[0].strip()):
    variable = parts.pop(0).strip().replace(" ", "")
  sides = [_quantity(part.strip()) for part in parts]
  first = sides[-1]
  for other in sides[:-1]:
    # 2 + 3 = 5 holds, 5 = 4 does not, and 2x = 6 is for others to solve.
    if not answers.same(first, other):
      if any(
        numbers.symbols(a.value) - {"π", "e", "i"}
        for a in (first, other)
        if isinstance(a.value, numbers.Ratio)
      ):
        raise NotCovered("an equation")
      raise Malformed("an equation that does not hold")
  return first._replace(variable=variable)


def _quantity(text: str) -> Answer:
  """Reads a value with its unit."""
  if not text:
    raise Malformed("a side of an equation is missing")
  match = _INFINITY.fullmatch(text)
  if match:
    return Answer("infinity", -1 if match[1] == "-" else 1)
  text, unit = _without_unit(text)
  if "\\pm" in text:
    if text.count("\\pm") > 1:
      raise NotCovered("two signs of plus or minus")
    both = (
      Answer("number", grammar.evaluate(text.replace("\\pm", sign)), unit=unit)
      for sign in "+-"
    )
    return Answer("set", items=tuple(both))
  return Answer("number", grammar.evaluate(text.strip()), unit=unit)


def _without_unit(text: str) -> tuple[str, units.Unit | None]:
  """Splits a unit from what stands before or behind it."""
  match = _MONEY.fullmatch(text)
  if match:
    name = {None: "dollars", "euro": "euros", "pounds": "pounds_sterling"}
    rest, other = _without_unit(match[3])
    unit = units.read(name[match[2]])
    if other is not None and other != unit:
      raise Malformed("two units")
    return match[1] + rest, unit
  match = _DEGREES.search(text)
  if match and match.end() == len(text):
    return text[: match.start()], units.read("degrees")
  match = _UNIT_COMMAND.fullmatch(text)
  if match:
    name = (match[2] or match[3] or "").strip()
    if re.fullmatch("percent", name):
      return match[1] + "%", None
    unit = units.read(name + (match[4] or "").replace(" ", ""))
    if unit is None:
      raise NotCovered("a unit that is not in the table")
    return match[1], unit
  match = _UNIT_WORDS.fullmatch(text)
  if match:
    return _without_words(text, match)
  return text, None


def _without_words(
  text: str, match: re.Match[str]
) -> tuple[str, units.Unit | None]:
  """Splits a unit written in plain letters from the number before it."""
  name = match[3].strip()
  bare = _BARE_NUMBER.fullmatch(match[1]) is not None
  if name in ("percent", "per cent"):
    return match[1] + "%", None
  # One letter close to a number, or behind an expression, is a variable.
  if len(name) > 1 or (bare and match[2]):
    unit = units.read(name)
    if unit is not None:
      return match[1], unit
    if bare and len(name) > 3 and name.isalpha():
      raise NotCovered("a word beside a number")
  return text, None
