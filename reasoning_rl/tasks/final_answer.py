r"""The number that free text gives as its final answer; None in doubt.

What counts is the last line that is not blank, and it must state one number:

  The answer is 7.     So the final answer is: $7     #### 7     \boxed{7}

A sentence may stand before the statement on its line, and a known unit after
the number. An earlier line that speaks of the answer without a digit states
nothing. Commas group thousands, and zeros that end a decimal mean nothing:
"1,200.0 grams" is "1200". Everything else gives None: an answer that is stated
twice and differently, or hedged, or denied; two numbers, an equation, a
fraction, a percentage, a number in words; a comma out of place; text after the
statement. After `</think>` only what follows it counts, and thinking that does
not end gives no answer.

This reads numbers only; it computes nothing and simplifies nothing.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Collection

# Longer texts of numbers are no answers.
MAX_NUMBER_CHARS = 30

_NUMBER = r"(?:[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)"
_SUBJECT = r"(?:the )?(?:final |correct )?answer"
# Where an answer seems to be stated; it has to be a statement there.
_MENTION = re.compile(rf"{_SUBJECT}|####|\\f?box", re.I | re.A)
_STATEMENT = re.compile(
  rf"(?:(?:{_SUBJECT}(?: is:?|:) |#### ?)"
  rf"(?:(?P<currency>\$?)(?P<plain>{_NUMBER})(?P<unit>(?: [a-z]+){{0,3}})"
  rf"|(?P<dollar>\$?)\\boxed\{{(?P<boxed>{_NUMBER})\}}(?P=dollar))"
  rf"|(?P<only>\$?)\\boxed\{{(?P<alone>{_NUMBER})\}}(?P=only))\.?",
  re.I | re.A,
)
# What may stand before it on its line.
_BEFORE = re.compile(
  r"(?:.*[.!?] )?(?:(?:so|thus|hence|therefore|and),? )?", re.I | re.A
)
# A line without one ("To find the answer, we add.") states nothing.
_DIGIT = re.compile(r"\d")
_OPEN, _CLOSE = "<think>", "</think>"


def extract(text: str, units: Collection[str] = ()) -> str | None:
  """Returns the final answer in its one form, None if there is none.

  Args:
    text: What a model wrote.
    units: Words that may follow the number, in lower case. "dollars" among
      them allows a leading "$" too.

  Returns:
    Digits, with a minus sign and a decimal part where there is need of one.
  """
  text = text.rpartition(_CLOSE)[2]
  if _OPEN in text:
    return None
  lines = [line.strip(" ") for line in text.split("\n") if line.strip(" ")]
  if not lines or not _MENTION.search(lines[-1]):
    return None
  stated = [
    _stated(line, units)
    for line in lines
    if _MENTION.search(line) and (line is lines[-1] or _DIGIT.search(line))
  ]
  return stated[0] if len(set(stated)) == 1 else None


def mentions(text: str) -> bool:
  """Returns whether a text seems to state an answer, right or not."""
  return bool(_MENTION.search(text))


def canonical(number: str) -> str | None:
  """Returns a number's one form, None for what is not written like one."""
  if not re.fullmatch(_NUMBER, number) or len(number) > MAX_NUMBER_CHARS:
    return None
  plain = number.replace(",", "").removeprefix("+")
  if re.match(r"-?0[0-9]", plain):  # Leading zeros: a code, not a number.
    return None
  value = decimal.Decimal(plain)
  whole = value == value.to_integral_value()
  text = f"{value:f}".partition(".")[0] if whole else f"{value:f}".rstrip("0")
  return "0" if text == "-0" else text


def _stated(line: str, units: Collection[str]) -> str | None:
  """Returns the number that a line states, None if it does not do so."""
  start = _MENTION.search(line).start()
  if line[:start].endswith("$"):
    start -= 1
  match = _STATEMENT.fullmatch(line, start)
  if match is None or not _BEFORE.fullmatch(line, 0, start):
    return None
  if any(word not in units for word in (match["unit"] or "").lower().split()):
    return None
  if match["currency"] and "dollars" not in units:
    return None
  return canonical(match["plain"] or match["boxed"] or match["alone"])
