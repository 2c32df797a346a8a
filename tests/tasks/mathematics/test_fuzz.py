"""Random answers: nothing raises, runs, lasts, or is accepted wrongly."""

from __future__ import annotations

import random
import sys
import time
from fractions import Fraction

import pytest

from reasoning_rl.tasks.mathematics import judging, verifier
from reasoning_rl.tasks.mathematics.judging import Verdict

PIECES = (
  list("0123456789.,+-*/^(){}[]%$!=<>|&_~;:?'\"\\ \n\t")
  + [r"\frac", r"\sqrt", r"\pi", r"\infty", r"\text{", r"\boxed{", r"\{", r"\}"]
  + [r"\pm", r"\cdot", r"\begin{pmatrix}", r"\left", r"\right", "^{", "}{"]
  + ["x", "i", "e", "or", "and", "cm", "answer is ", "#### ", "</think>", "1e9"]
  + [
    "__import__('os')",
    "eval(",
    "\u0665",
    "\u200b",
    "５",
    "\x00",
    "9^9^9",
    "…",
  ]
)


@pytest.fixture
def events():
  """Collects what the interpreter is asked to do while a test listens."""
  seen: list[str] = []
  listening = [True]
  watched = ("compile", "exec", "os.", "subprocess.", "socket.", "open")

  def hook(event: str, _: tuple) -> None:
    if listening[0] and event.startswith(watched):
      seen.append(event)

  sys.addaudithook(hook)  # It cannot be removed, only silenced.
  yield seen
  listening[0] = False


def random_tree(rng: random.Random, depth: int) -> tuple[str, Fraction]:
  """Returns an expression in some notation, and its value."""
  if depth == 0 or rng.random() < 0.2:
    n = rng.randint(0, 12)
    return rng.choice(
      [
        (str(n), Fraction(n)),
        (f"{n}.5", Fraction(2 * n + 1, 2)),
        (rf"\frac{{{n}}}{{4}}", Fraction(n, 4)),
        (f"(-{n})", Fraction(-n)),
        (rf"({n}\%)", Fraction(n, 100)),
      ]
    )
  a, left = random_tree(rng, depth - 1)
  b, right = random_tree(rng, depth - 1)
  kind = rng.randrange(5)
  if kind == 0:
    return f"({a}+{b})", left + right
  if kind == 1:
    return f"({a} - {b})", left - right
  if kind == 2:
    return rf"({a} \cdot {b})", left * right
  if kind == 3 and right:
    return rf"\frac{{{a}}}{{{b}}}", left / right
  return f"({a})^{{2}}", left**2


def written(rng: random.Random, value: Fraction) -> str:
  """Returns a rational in one of its notations."""
  top, bottom = value.numerator, value.denominator
  k = rng.randint(2, 5)
  return rng.choice(
    [
      f"{top}/{bottom}",
      rf"\frac{{{top}}}{{{bottom}}}",
      rf"\dfrac{{{k * top}}}{{{k * bottom}}}",
      f"x = {top}/{bottom}",
      f"${top}/{bottom}$",
      f"({top})/({bottom})",
    ]
  )


def test_five_thousand_expressions_are_judged_as_their_values_say():
  rng = random.Random(11)
  right = 0
  for _ in range(5000):
    text, value = random_tree(rng, rng.randint(1, 3))
    other = value
    if rng.random() < 0.5:
      other += rng.choice([1, -1, Fraction(1, 10**6), -2 * value])
    expected = Verdict.CORRECT if value == other else Verdict.WRONG
    verdict = judging.judge(written(rng, other), text)
    assert verdict is expected, (other, text)
    right += verdict is Verdict.CORRECT
  assert right > 2000


def test_five_thousand_pieces_of_noise_are_never_right(events):
  # Noise cannot hold this number: it is never put in.
  gold = "7919368087"
  rng = random.Random(12)
  exact = verifier.MathVerifier(worker_count=0)
  for round_number in range(5000):
    noise = "".join(rng.choices(PIECES, k=rng.randint(1, 12)))
    completion = (noise, rf"\boxed{{{noise}}}", f"#### {noise}")[
      round_number % 3
    ]
    del events[:]
    start = time.process_time()
    for verdict in (
      exact.verify(gold, completion),
      judging.judge(gold, noise),
      judging.judge(noise, gold),
    ):
      assert verdict is not Verdict.CORRECT, completion
    assert time.process_time() - start < 0.5, completion
    assert events == [], completion


def test_a_right_answer_that_is_damaged_is_never_another_right_one(events):
  # One character of a right answer is replaced, taken out or put in. What is
  # accepted must still say the number: checked by taking it apart by hand.
  rng = random.Random(13)
  exact = verifier.MathVerifier(worker_count=0)
  for _ in range(2000):
    number = rng.randint(10**5, 10**6)
    text = rf"\boxed{{{number}}}"
    at = rng.randrange(7, len(text) - 1)
    piece = rng.choice([*"0123456789", "+", "-", ".", "/", "^", "!", "e", "x"])
    damaged = text[:at] + piece + text[at + rng.randint(0, 1) :]
    del events[:]
    verdict = exact.verify(str(number), damaged)
    inner = damaged[7:-1]
    same = inner in (str(number), f"+{number}", f"0{number}", f"{number}.")
    assert (verdict is Verdict.CORRECT) == same, damaged
    assert events == []


def test_bytes_of_any_kind_are_judged_without_an_error(events):
  rng = random.Random(14)
  exact = verifier.MathVerifier(worker_count=0)
  for _ in range(2000):
    noise = rng.randbytes(rng.randint(0, 60)).decode("utf-8", "surrogateescape")
    del events[:]
    for completion in (rf"\boxed{{{noise}}}", noise):
      verdict = exact.verify("7919368087", completion)
      assert verdict is not Verdict.CORRECT
    assert events == []
