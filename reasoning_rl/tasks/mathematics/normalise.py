r"""Text of an answer -> ASCII in one spelling, or a refusal.

Look-alikes are dangerous both ways: `int` reads digits of fifty scripts, and
an invisible character makes two answers differ that look the same. So each
character beyond ASCII either stands in the table below or is refused. Refused
are, among others, digits of other scripts, letters of other scripts,
zero-width and direction marks, and combining characters.
"""

from __future__ import annotations

import re

MAX_CHARS = 400  # Longer answers are refused unread.


class Malformed(ValueError):
  """No reading makes this an answer; as a prediction it is wrong."""


class NotCovered(ValueError):
  """The grammar has no reading; the answer may be right or wrong."""


_FULL_WIDTH = "0123456789+-.,()%/="
TABLE = {
  ord(chr(ord(character) - 0x20 + 0xFF00)): character
  for character in _FULL_WIDTH
}
TABLE |= {
  ord(character): spelling
  for character, spelling in {
    "\t": " ",
    "\n": " ",
    "\r": " ",
    "\u00a0": " ",  # No-break space.
    "\u2009": " ",  # Thin space.
    "\u202f": " ",  # Narrow no-break space.
    "\u2212": "-",  # Minus.
    "\u2013": "-",  # En dash.
    "×": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "∙": r"\cdot ",
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "±": r"\pm ",
    "√": r"\surd ",
    "π": r"\pi ",
    "θ": r"\theta ",
    "∞": r"\infty ",
    "°": r"^\circ ",
    "∅": r"\emptyset ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "€": r"\euro ",
    "£": r"\pounds ",
    "²": "^2 ",
    "³": "^3 ",
    "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}",
    "⅛": r"\frac{1}{8}",
    "⅜": r"\frac{3}{8}",
    "⅝": r"\frac{5}{8}",
    "⅞": r"\frac{7}{8}",
    "“": '"',
    "”": '"',
    "’": "'",
  }.items()
}
# Braces that are part of the answer, as single characters.
OPEN_SET, CLOSE_SET = "\x01", "\x02"

_FOREIGN = re.compile(r"[^\x20-\x7e]")
_SPELLINGS = tuple(
  (re.compile(pattern), spelling)
  for pattern, spelling in (
    (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\s*\.?", ""),
    (r"\\(?:displaystyle|textstyle|limits)(?![a-zA-Z])", ""),
    (r"\\(?:\{|lbrace(?![a-zA-Z]))", OPEN_SET),
    (r"\\(?:\}|rbrace(?![a-zA-Z]))", CLOSE_SET),
    (r"\\!|\{\}", ""),
    # Thousands: 12{,}345 and 12\,345. What is no group of three stays a comma
    # or a space.
    (r"(?<=[0-9])(?:\{,\}|\\,)(?=[0-9]{3}(?![0-9]))", ""),
    (r"\{,\}", ","),
    (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])", " "),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\%", "%"),
    (r"\*\*", "^"),
    (r"\\(?:cdot|times|ast)(?![a-zA-Z])", "*"),
    (r"\\div(?![a-zA-Z])", "/"),
    (r"\\(?:leq|leqslant|le)(?![a-zA-Z])", r"\\le "),
    (r"\\(?:geq|geqslant|ge)(?![a-zA-Z])", r"\\ge "),
    (r"\\(?:varnothing|emptyset)(?![a-zA-Z])", OPEN_SET + CLOSE_SET),
    # \frac12, \frac{1}2, \sqrt2: one digit is one argument.
    (r"\\(frac|sqrt|binom)\s*([0-9])", r"\\\1{\2}"),
    (r"\\(frac|binom)\s*(\{[^{}]*\})\s*([0-9])", r"\\\1\2{\3}"),
    (r"\s+", " "),
  )
)
_WRAPPERS = (
  re.compile(r"\*\*([^*]+)\*\*"),
  re.compile(r"\$\$([^$]+)\$\$"),
  re.compile(r"(?<!\\)\$([^$]*[^$\\])\$"),
  re.compile(r"\\\((.+)\\\)"),
  re.compile(r"\\\[(.+)\\\]"),
  re.compile(r"`([^`]+)`"),
  re.compile(r'"([^"]+)"'),
)
# `.` and `?` are not here: a question mark is a hedge, and of full stops only
# one is punctuation.
_PLAIN = re.compile(
  r"(?:[0-9a-zA-Z+\-/.,()=^] ?|\\(?:frac|sqrt)(?=\{)|\\pi(?![a-zA-Z]) ?"
  r"|\{(?![},])|\}(?![0-9]))*"
)


def unwrap(text: str) -> str:
  """Returns the text without what only typesets it: $...$, **...**, a stop."""
  text = text.strip(" ")
  for _ in range(4):
    before = text
    if text.endswith(".") and not text.endswith(".."):
      text = text[:-1].rstrip()
    if text[:1] in '$*\\`"':
      for wrapper in _WRAPPERS:
        match = wrapper.fullmatch(text)
        if match:
          text = match[1].strip()
          break
    if text == before:
      break
  return text


def clean(text: str) -> str:
  """Returns an answer in its one spelling.

  Raises:
    Malformed: If it is empty, too long, or has a character without a place.
  """
  if len(text) > MAX_CHARS:
    raise Malformed("the answer is too long")
  if not text.isascii() or not text.isprintable():
    text = text.translate(TABLE)
    if _FOREIGN.search(text):
      raise Malformed("a character that no answer has")
  text = unwrap(text)
  if not text:
    raise Malformed("the answer is empty")
  if text.startswith("~"):  # Elsewhere it is a space of LaTeX.
    raise Malformed("a hedge")
  if _PLAIN.fullmatch(text):
    return text
  for pattern, spelling in _SPELLINGS:
    text = pattern.sub(spelling, text)
  return text.strip()
