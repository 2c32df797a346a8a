r"""A worker process of `workers`: math-verify behind two pipes.

Run by path as `python -I math_verify_worker.py PACKAGES BYTES`, never imported:
it needs nothing of this package. A line of JSON comes in, a word goes out:

  {"gold": "\\sin x", "answer": "\\cos x", "seconds": 2.0}  ->  wrong

Whatever raises is undecided. What hangs or eats memory is the parent's to kill;
an alarm ends the process as well, should the parent be gone.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

# Digits to which math-verify compares numbers; floats never get here.
PRECISION = 60
WARM_UP = (
  (r"\sin x", r"\cos x"),
  (r"\frac{1}{2}\log 4", r"\log 2"),
  ("x + y = 3", "2x + 2y = 6"),
  (r"\{1, 2\} \cup \{3\}", r"\{1, 2, 3\}"),
  (r"(1, 2) \cup (3, 4)", r"(3, 4) \cup (1, 2)"),
  (r"1 < x < 2", r"(1, 2)"),
  (r"\sin 2x", r"2 \sin x \cos x"),
  (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",) * 2,
)
# What a verifier has no business doing once it is loaded.
REFUSED = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "winreg.")
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")
# sympy evaluates text for each number that it reads and writes itself the
# arithmetic of monomials; no other text may be evaluated.
EVALUATED = re.compile(
  rb"from sympy import \*"
  rb"|(?:E|I|pi|oo) ?"
  rb"|def monomial_[a-z]+\([ABk, ]+\):\n"
  rb"(?:[abrABk0-9,()=+*<>:\- \n]|if|else|return|None)*"
  rb"|(?:Integer|Float|Symbol) \('?[0-9a-zA-Z_.]{1,40}'? ?\)"
)


def main() -> None:
  """Answers until the input ends."""
  answers = os.dup(1)
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # What libraries print.
  sys.path.append(sys.argv[1])
  judge = load()
  for gold, answer in WARM_UP:
    judge(gold, answer)
  limit(int(sys.argv[2]))
  sys.addaudithook(guard)
  os.write(answers, b"ready\n")
  for line in open(0, "rb", closefd=False):
    request = json.loads(line)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] + 1.0)
    try:
      verdict = judge(request["gold"], request["answer"])
    except Exception:
      verdict = "undecided"
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.write(answers, verdict.encode() + b"\n")


def load() -> Callable[[str, str], str]:
  """Imports math-verify and returns (gold, answer) -> verdict."""
  import math_verify

  logging.disable(logging.CRITICAL)
  config = [math_verify.LatexExtractionConfig()]
  prefer_fast_parsing = parsing_modes()

  @functools.lru_cache(maxsize=256)  # A group of answers has one gold.
  def parsed(text: str) -> list:
    prefer_fast_parsing(True)
    found = parsed_once(text)
    if not found:
      prefer_fast_parsing(False)
      found = parsed_once(text)
    return found

  def parsed_once(text: str) -> list:
    # Each side alone and as one object, so that nothing is merged.
    return math_verify.parse(
      f"${text}$",
      extraction_config=config,
      fallback_mode="no_fallback",
      extraction_mode="first_match",
      parsing_timeout=None,
      raise_on_error=True,
    )

  def judge(gold: str, answer: str) -> str:
    right, given = parsed(gold), parsed(answer)
    if len(right) != 1 or len(given) != 1:
      return "undecided"
    if type(right[0]) is type(given[0]) and right[0] == given[0]:
      return "correct"
    if differ(right[0], given[0]):
      return "wrong"
    same = math_verify.verify(
      right,
      given,
      float_rounding=PRECISION,
      numeric_precision=PRECISION,
      timeout_seconds=None,
      raise_on_error=True,
    )
    return "correct" if same else "wrong"

  return judge


def parsing_modes() -> Callable[[bool], None]:
  """Returns a switch between ANTLR's SLL and LL prediction.

  Where SLL finds a parse, LL finds the same one, five times as slowly
  (T. Parr, S. Harwell, K. Fisher, Adaptive LL(*) Parsing: The Power of Dynamic
  Analysis, 2014).
  """
  from antlr4.atn import ParserATNSimulator
  from antlr4.atn.ParserATNSimulator import PredictionMode

  simulator = ParserATNSimulator.ParserATNSimulator
  original = simulator.__init__
  mode = [PredictionMode.LL]

  def initialise(self: Any, *arguments: Any, **named: Any) -> None:
    original(self, *arguments, **named)
    self.predictionMode = mode[0]

  simulator.__init__ = initialise

  def switch(fast: bool) -> None:
    mode[0] = PredictionMode.SLL if fast else PredictionMode.LL

  return switch


def differ(right: Any, given: Any) -> bool:
  """Returns whether two expressions or equations clearly differ at one point.

  That is cheap, and most wrong answers do; sympy would try to simplify or solve
  for ten times as long. It never shows that two are equal.
  """
  import sympy

  equations = isinstance(right, sympy.Eq) and isinstance(given, sympy.Eq)
  if equations:
    right, given = right.lhs - right.rhs, given.lhs - given.rhs
  if not isinstance(right, sympy.Expr) or not isinstance(given, sympy.Expr):
    return False
  names = sorted(right.free_symbols | given.free_symbols, key=str)
  point = {
    name: sympy.Rational(7 * index + 5, 4 * index + 6)
    for index, name in enumerate(names)
  }
  try:
    if equations and not solve_at(right, point):
      return False
    first, second = number(right, point), number(given, point)
  except (TypeError, ValueError, OverflowError):
    return False  # No number there, so this shows nothing.
  size = abs(first) + abs(second)
  return size < 1e100 and abs(first - second) > 1e-6 * (1 + size)


def solve_at(expression: Any, point: dict) -> bool:
  """Moves a point to a zero of an expression that is linear in a variable."""
  for name in sorted(expression.free_symbols, key=str):
    zero, one, two = (
      number(expression, point | {name: value}) for value in (0, 1, 2)
    )
    slope = one - zero
    if abs(two - one - slope) < 1e-9 and abs(slope) > 1e-3 and not slope.imag:
      point[name] = (-zero / slope).real
      return abs(number(expression, point)) < 1e-9
  return False


def number(expression: Any, point: dict) -> complex:
  """Returns the value of an expression at a point."""
  return complex(expression.evalf(30, subs=point))


def limit(memory_bytes: int) -> None:
  """Bounds memory, and forbids writing files and starting processes."""
  for kind, value in (
    (resource.RLIMIT_AS, memory_bytes),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_CORE, 0),
  ):
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
      value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def guard(event: str, arguments: tuple) -> None:
  """Ends the process at anything that a verifier has no need to do."""
  if event == "open":
    mode = arguments[1]
    if isinstance(mode, str) and set(mode) & set("wax+"):
      os._exit(3)
  elif event == "compile":
    source, filename = arguments
    if str(filename).startswith("<"):
      source = source.encode() if isinstance(source, str) else source
      if not isinstance(source, bytes) or not EVALUATED.fullmatch(source):
        os._exit(3)
  elif event.startswith(REFUSED) and event not in HARMLESS:
    os._exit(3)


if __name__ == "__main__":
  main()
