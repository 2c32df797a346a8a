r"""What may go to math-verify: an allow-list, for sympy is no place to be safe.

sympy's parsers evaluate text, and some inputs take it minutes. So only known
commands, short numbers, single letters and small exponents get there; decimals
go as fractions, so that no rounding decides.
"""

from __future__ import annotations

import re

from reasoning_rl.tasks.mathematics import normalise

MAX_CHARS = 200
MAX_DIGITS = 20  # Of one number.
MAX_EXPONENT = 99
MAX_DEPTH = 8

_COMMANDS = """
  frac sqrt pi cdot sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan
  ln log lg exp infty cup cap in lt gt le ge ne pm binom lfloor rfloor lceil
  rceil alpha beta gamma delta epsilon theta lambda mu nu rho sigma phi omega
  mathbb emptyset setminus left right
""".split()
_ALLOWED = re.compile(
  r"(?:[0-9a-zA-Z+\-*/^(){}\[\]|<>=,!. ]"
  r"|(?<=[a-zA-Z])_(?:[0-9a-z]|\{[0-9a-z]{1,2}\})"
  r"|\\(?:" + "|".join(_COMMANDS) + r")(?![a-zA-Z])"
  r"|\\(?:begin|end)\{[pb]matrix\}|\\\\|&|\\[{}])*"
)
_FUNCTIONS = re.compile(
  r"(?<![\\a-zA-Z])(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp"
  r"|sqrt|pi)(?![a-zA-Z])"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+(?:\{[pb]matrix\})?")
_WORD = re.compile(r"[a-zA-Z]{3,}")
_DECIMAL = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)(?![0-9.])")
_LONG = re.compile(rf"[0-9]{{{MAX_DIGITS + 1},}}")
_EXPONENT = re.compile(r"\^ ?\{? ?-?([0-9]+)")
_TOWER = re.compile(r"\^ ?(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\^|[^{}]\^|\()")
_FACTORIAL = re.compile(r"(?<![0-9])[0-9]{1,2}!(?![!0-9])")
_SIGNED_EXPONENT = re.compile(r"[0-9.][eE][+-][0-9]")
_ASSIGNED = re.compile(r"[a-zA-Z](?:_(?:[0-9a-z]|\{[0-9a-z]{1,2}\}))? ?= ?")


def admit(gold: str, answer: str) -> tuple[str, str] | None:
  """Returns what to send for two answers, None if one must not go.

  An equation may stand on one side alone only if it says what one variable is:
  math-verify would take `5 = 4` for 4.
  """
  sides = _one(gold), _one(answer)
  if sides[0] is None or sides[1] is None:
    return None
  equations = [side.count("=") for side in sides]
  if max(equations) > 1:
    return None
  if equations[0] != equations[1]:
    stripped = tuple(_ASSIGNED.sub("", side, count=1) for side in sides)
    if "=" in stripped[0] + stripped[1]:
      return None
    return stripped
  return sides


def _one(text: str) -> str | None:
  try:
    text = normalise.clean(text)
  except normalise.Malformed:
    return None
  if _SIGNED_EXPONENT.search(text):
    return None  # 2e+3, which may be 2000 and may be a sum.
  text = text.replace(normalise.OPEN_SET, r"\{")
  text = text.replace(normalise.CLOSE_SET, r"\}")
  text = _FUNCTIONS.sub(r"\\\1 ", text)
  text = _DECIMAL.sub(_as_fraction, text)
  if len(text) > MAX_CHARS or not _ALLOWED.fullmatch(text) or "." in text:
    return None
  letters = _COMMAND.sub(" ", text)
  if _WORD.search(letters) or _LONG.search(text) or _TOWER.search(text):
    return None
  if any(int(found) > MAX_EXPONENT for found in _EXPONENT.findall(text)):
    return None
  if "!" in _FACTORIAL.sub("", text) or not _shallow(text):
    return None
  if "[" in text.replace(r"\sqrt[", "") and "," not in text:
    return None  # [5], which is not 5.
  return text


def _as_fraction(match: re.Match[str]) -> str:
  whole, part = match.groups()
  return rf"\frac{{{int(whole + part)}}}{{1{'0' * len(part)}}}"


def _shallow(text: str) -> bool:
  """Returns whether brackets are closed, few, and all commas inside them.

  math-verify takes a bare list for a set.
  """
  depth = 0
  for character in text:
    depth += character in "({["
    depth -= character in ")}]"
    if not 0 <= depth <= MAX_DEPTH or (character == "," and depth == 0):
      return False
  return depth == 0
