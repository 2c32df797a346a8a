r"""Expressions on a strict grammar -> exact values.

  sum      := term (("+" | "-") term)*
  term     := factor (("*" | "/") factor | primary-that-is-no-number power?)*
  factor   := sign? primary power?
  power    := ("^" exponent)  ("!" | "%")*
  primary  := number | symbol | "(" sum ")" | "{" sum "}"
            | \frac{sum}{sum} | \binom{sum}{sum} | \sqrt[n]{sum} | \pi
            | integer \frac{integer}{integer}           (a mixed number)

What people read in two ways is not covered: 1/2x, 2^3^2, (2)3, and 2e+3, where
e may be a symbol; 2e3 and 1e-3 have one reading. Functions,
absolute values and symbolic exponents are not covered either. Length, depth,
digits, exponents and results are bounded; nothing is evaluated beyond.
"""

from __future__ import annotations

import re
from fractions import Fraction

from reasoning_rl.tasks.mathematics import numbers
from reasoning_rl.tasks.mathematics.normalise import Malformed, NotCovered

MAX_DIGITS = 100  # Of one number.
MAX_DEPTH = 16
MAX_EXPONENT_TEN = 400  # In 1e400.

_TOKEN = re.compile(
  r"(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![0-9"
  r"a-zA-Z.]))?)"
  r"|(?P<command>\\[a-zA-Z]+)"
  r"|(?P<word>(?<![a-zA-Z\\])(?:sqrt|pi)(?![a-zA-Z]))"
  r"|(?P<symbol>[a-zA-Z](?:_(?:[0-9a-z]|\{[0-9a-z]{1,3}\}))?)"
  r"|(?P<operator>[-+*/^(){}\[\]!%])"
)
_SPACE = re.compile(r" *")
# A product with e or E, but for 1e-3: nobody writes a factor of 1.
_SIGNED_EXPONENT = re.compile(r"(?!1[eE])[0-9.]+[eE][+-][0-9]+")
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_DECIMAL = re.compile(r"([+-]?)([0-9]{0,100})\.([0-9]{1,100})")
_QUOTIENT = re.compile(
  r"([+-]?)(?:([0-9]{1,100}) ?/ ?([0-9]{1,100})"
  r"|\\frac\{([0-9]{1,100})\}\{([0-9]{1,100})\})"
)
_MIXED = re.compile(r"([+-]?)([0-9]{1,50}) ([0-9]{1,50})/([0-9]{1,50})")
# Letters side by side are a product only where they cannot be a word.
_LETTERS = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]{2,}")
_COMMANDS = re.compile(r"\\[a-zA-Z]+")
_GREEK = set(
  "alpha beta gamma delta epsilon theta lambda mu nu rho sigma phi"
  " omega".split()
)
_CLOSING = {"(": ")", "{": "}", "[": "]"}


def evaluate(text: str) -> numbers.Value:
  """Returns the value of a cleaned expression.

  Raises:
    Malformed: If it is no expression, or has no value, or is beyond bounds.
    NotCovered: If it may be one that this grammar does not read.
  """
  if _INTEGER.fullmatch(text):
    return int(text)
  match = _QUOTIENT.fullmatch(text)
  if match:
    top, bottom = match[2] or match[4], match[3] or match[5]
    value = numbers.divide(int(top), int(bottom))
    return -value if match[1] == "-" else value
  match = _DECIMAL.fullmatch(text)
  if match:
    value = _decimal(match[2], match[3])
    return -value if match[1] == "-" else value
  match = _MIXED.fullmatch(text)
  if match:
    value = _mixed(int(match[2]), int(match[3]), int(match[4]))
    return -value if match[1] == "-" else value
  _refuse_words(text)
  return _Parser(text).parse()


def _refuse_words(text: str) -> None:
  for letters in _LETTERS.findall(_COMMANDS.sub(" ", text)):
    if letters in ("sqrt", "pi"):
      continue
    if len(letters) > 3:
      raise Malformed("words in an expression")
    if len(letters) == 3 or letters.lower() in ("ln", "lg", "tg", "or", "to"):
      raise NotCovered("letters that may be a word")


def _decimal(whole: str, part: str) -> numbers.Rational:
  if len(whole) + len(part) > MAX_DIGITS:
    raise Malformed("a number of too many digits")
  value = Fraction(int(whole + part), 10 ** len(part))
  return value.numerator if value.denominator == 1 else value


def _mixed(whole: int, top: int, bottom: int) -> numbers.Rational:
  if not 0 < top < bottom:
    raise NotCovered("a number beside a fraction that is not proper")
  return numbers.add(whole, numbers.divide(top, bottom))


def _number(text: str) -> numbers.Rational:
  mantissa, _, exponent = text.replace("E", "e").partition("e")
  whole, _, part = mantissa.partition(".")
  if len(whole) + len(part) > MAX_DIGITS:
    raise Malformed("a number of too many digits")
  value = _decimal(whole, part) if part else int(whole)
  if not exponent:
    return value
  if abs(int(exponent)) > MAX_EXPONENT_TEN:
    raise Malformed("an exponent beyond the bounds")
  return numbers.multiply(value, numbers.power(10, int(exponent)))


class _Parser:
  """Reads and evaluates one expression by recursive descent."""

  def __init__(self, text: str):
    self._tokens = self._read(text)
    self._tokens.append(("end", ""))
    self._at = 0
    self._depth = 0

  def parse(self) -> numbers.Value:
    value = self._sum()
    if self._tokens[self._at][0] != "end":
      raise Malformed("something after the expression")
    return value

  @staticmethod
  def _read(text: str) -> list[tuple[str, str]]:
    tokens = []
    position = 0
    while position < len(text):
      position = _SPACE.match(text, position).end()
      if position == len(text):
        break
      match = _TOKEN.match(text, position)
      if match is None:
        if text[position] in "|<>=&_,;:'\\" or text[position:][:3] == "...":
          raise NotCovered(f"the sign {text[position]}")
        raise Malformed("a sign that no expression has")
      kind = match.lastgroup
      token = match.group()
      if kind == "number" and _SIGNED_EXPONENT.fullmatch(token):
        raise NotCovered("an exponent with a sign, or a sum with e")
      if kind == "operator":
        kind = token
      elif kind == "word":
        kind, token = "command", "\\" + token
      tokens.append((kind, token))
      position = match.end()
    return tokens

  def _take(self, kind: str) -> bool:
    if self._tokens[self._at][0] == kind:
      self._at += 1
      return True
    return False

  def _expect(self, kind: str) -> None:
    if not self._take(kind):
      raise Malformed(f"a missing {kind}")

  def _sum(self) -> numbers.Value:
    self._depth += 1
    if self._depth > MAX_DEPTH:
      raise Malformed("an expression nested too deeply")
    value = self._term()
    while True:
      if self._take("+"):
        value = numbers.add(value, self._term())
      elif self._take("-"):
        value = numbers.add(value, numbers.negate(self._term()))
      else:
        self._depth -= 1
        return value

  def _term(self) -> numbers.Value:
    value = self._factor()
    divided = False
    while True:
      kind = self._tokens[self._at][0]
      if kind == "*":
        self._at += 1
        value, divided = numbers.multiply(value, self._factor()), False
      elif kind == "/":
        self._at += 1
        value, divided = numbers.divide(value, self._factor()), True
      elif kind in ("command", "symbol", "(", "{"):
        if divided:
          raise NotCovered("a product after a quotient, as in 1/2x")
        value = numbers.multiply(value, self._powered())
      elif kind == "number":
        if self._tokens[self._at - 1][0] == "number":
          raise Malformed("two numbers side by side")
        raise NotCovered("a number behind what it multiplies")
      else:
        return value

  def _factor(self) -> numbers.Value:
    signs = 0
    negative = False
    while self._tokens[self._at][0] in "+-":
      negative ^= self._tokens[self._at][0] == "-"
      self._at += 1
      signs += 1
    if signs > 2:
      raise Malformed("too many signs")
    value = self._powered()
    return numbers.negate(value) if negative else value

  def _powered(self) -> numbers.Value:
    value = self._primary()
    while True:
      if self._take("^"):
        exponent = self._exponent()
        if self._tokens[self._at][0] == "^":
          raise Malformed("a tower of powers")
        value = numbers.power(value, exponent)
      elif self._take("!"):
        value = numbers.factorial(value)
      elif self._take("%"):
        value = numbers.divide(value, 100)
      else:
        return value

  def _exponent(self) -> numbers.Value:
    kind = self._tokens[self._at][0]
    if kind in "({":
      return self._bracketed()
    negative = self._take("-")
    kind, token = self._tokens[self._at]
    if kind not in ("number", "symbol", "command"):
      raise Malformed("an exponent is missing")
    if kind == "command" and token != "\\pi":
      raise NotCovered(f"the exponent {token}")
    value = self._primary()
    return numbers.negate(value) if negative else value

  def _bracketed(self) -> numbers.Value:
    kind = self._tokens[self._at][0]
    if kind not in _CLOSING:
      raise Malformed("a missing bracket")
    self._at += 1
    value = self._sum()
    self._expect(_CLOSING[kind])
    return value

  def _primary(self) -> numbers.Value:
    kind, token = self._tokens[self._at]
    if kind in ("(", "{"):
      return self._bracketed()
    if kind == "[":
      raise NotCovered("square brackets around an expression")
    self._at += 1
    if kind == "number":
      return self._whole(token)
    if kind == "symbol":
      return numbers.symbol(token.replace("{", "").replace("}", ""))
    if kind == "command":
      return self._command(token[1:])
    raise Malformed("an operand is missing")

  def _whole(self, token: str) -> numbers.Value:
    """Reads a number, and a mixed one to its end."""
    value = _number(token)
    if self._tokens[self._at] != ("command", "\\frac"):
      return value
    shape = [kind for kind, _ in self._tokens[self._at + 1 : self._at + 7]]
    plain = shape == ["{", "number", "}", "{", "number", "}"]
    if not plain:  # 2\frac{x}{3} is a product.
      return value
    top, bottom = self._tokens[self._at + 2][1], self._tokens[self._at + 5][1]
    if not (token.isdigit() and top.isdigit() and bottom.isdigit()):
      raise NotCovered("a decimal beside a fraction")
    self._at += 7
    return _mixed(value, _number(top), _number(bottom))

  def _command(self, name: str) -> numbers.Value:
    if name == "frac":
      top = self._bracketed()
      return numbers.divide(top, self._bracketed())
    if name == "binom":
      top = self._bracketed()
      return numbers.binomial(top, self._bracketed())
    if name == "sqrt":
      degree: numbers.Value = 2
      if self._take("["):
        degree = self._sum()
        self._expect("]")
      return numbers.root(self._radicand(), degree)
    if name == "surd":
      return numbers.root(self._radicand(), 2)
    if name == "pi":
      return numbers.symbol("π")
    if name in _GREEK:
      return numbers.symbol("\\" + name)
    raise NotCovered(f"the command {name}")

  def _radicand(self) -> numbers.Value:
    if self._tokens[self._at][0] == "number":
      self._at += 1
      return _number(self._tokens[self._at - 1][1])
    return self._bracketed()
