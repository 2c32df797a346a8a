"""Assertions are read as calls where they have that form, and never run."""

from __future__ import annotations

import ast
import concurrent.futures
import time
import types

import pytest

from reasoning_rl.tasks.sandbox import asserts, cases, extract

Call = cases.Call


@pytest.mark.parametrize(
  ("source", "call"),
  [
    ("assert f(1, [2]) == (3, None)", Call((1, [2]), {}, (3, None))),
    ("assert 3 == f(1)", Call((1,), {}, 3)),
    ("assert f(a=-1) == {'x': {1}}", Call((), {"a": -1}, {"x": {1}})),
    ("assert f() == 1 + 2j, 'why'", Call((), {}, 1 + 2j)),
    ("assert f(1) == 1 / 4", Call((1,), {}, 0.25)),
    ("assert f('') is None", Call(("",), {}, None)),
    ("assert f(2)", Call((2,), {}, None, cases.TRUE)),
    ("assert not f(2)", Call((2,), {}, None, cases.FALSE)),
    (
      "assert abs(f(2) - 0.5) < 1e-6",
      Call((2,), {}, 0.5, cases.CLOSE, 1e-6),
    ),
    (
      "assert abs(0.5 - f(2)) <= 0.1",
      Call((2,), {}, 0.5, cases.CLOSE, 0.1, True),
    ),
  ],
)
def test_assertions_are_read(source, call):
  assert asserts.read_assert(source, "f") == (call,)


@pytest.mark.parametrize(
  "source",
  [
    "assert f(x) == 1",
    "assert f(1) == g(1)",
    "assert f(1) != 2",
    "assert f(1) in (1, 2)",
    "assert 0 < f(1) < 2",
    "assert f(*[1]) == 2",
    "assert f(**{}) == 2",
    "assert f(1) is True",
    "assert f(f(1)) == 1",
    "assert f(1).real == 1",
    "assert all([f(1) == 1])",
    "for x in [1]:\n  assert f(x) == 1",
    "import os\nassert f(1) == 1",
    "assert f(1) == 1e999 - 1e999",
    "assert f(1) == 1 / 0",
    "assert abs(f(1) - 'x') < 1",
    "assert max(f(1) - 1) < 1",
    "assert __import__('os').system('true') == f(1)",
    "assert f(1) == [x for x in (1,)]",
    "assert f(1) == " + "(" * 300 + ")" * 300,
    "assert f(",
    "pass",
    "",
  ],
)
def test_other_forms_are_left_to_a_referee(source):
  assert asserts.read_assert(source, "f") is None


CHECK = """
METADATA = {"author": "x"}
def check(candidate):
  "The tests."
  assert True, "always"
  assert candidate(2) == 4
  assert candidate(3) == 9, "three"
"""


def test_a_check_function_is_read():
  assert asserts.read_check(CHECK) == (Call((2,), {}, 4), Call((3,), {}, 9))
  # Whatever could change what the assertions mean makes it unreadable.
  for addition in (
    "  x = 1\n",
    "import os\n",
    "def other(): pass\n",
    "candidate = 1\n",
    "  candidate = abs\n",
  ):
    assert asserts.read_check(CHECK + addition) is None
  assert asserts.read_check("def check(candidate):\n  assert True\n") is None


def test_the_tested_name_is_the_first_that_nobody_else_defines():
  texts = ("assert set(f(h(1))) == {1}",)
  assert asserts.tested_name(texts, "") == "f"
  assert asserts.tested_name(("assert h(f(1)) == 1",), "def h(x): ...") == "f"
  assert asserts.tested_name(("assert len([]) == 0",), "") is None
  assert asserts.tested_name(("assert (",), "") is None


@pytest.mark.parametrize(
  ("call", "value", "right"),
  [
    (Call((), {}, 1), 1, True),
    (Call((), {}, 1), 1.0, True),
    (Call((), {}, [1]), (1,), False),
    (Call((), {}, float("nan")), float("nan"), False),
    (Call((), {}, 1.0, cases.CLOSE, 0.5), 1.49, True),
    (Call((), {}, 1.0, cases.CLOSE, 0.5), 1.5, False),
    (Call((), {}, 1.0, cases.CLOSE, 0.5, True), 1.5, True),
    (Call((), {}, 1.0, cases.CLOSE, 0.5), float("nan"), False),
    (Call((), {}, 1.0, cases.CLOSE, 0.5), "1.0", False),
    (Call((), {}, 1.0, cases.CLOSE, 0.5), 10**400, False),
    (Call((), {}, None, cases.TRUE), [0], True),
    (Call((), {}, None, cases.FALSE), [], True),
  ],
)
def test_values_are_compared_as_python_compares(call, value, right):
  assert cases.holds(call, value) is right


@pytest.mark.parametrize(
  ("printed", "expected", "same"),
  [
    ("1\n2\n", "1\n2", True),
    ("1 \n2\n\n", "1\n2\n", True),
    ("1\n\n2", "1\n2", False),
    (" 1", "1", False),
    ("1.0", "1", False),
    ("", "1", False),
  ],
)
def test_printed_lines_are_compared(printed, expected, same):
  assert cases.same_text(printed, expected) is same


def test_nan_is_found_wherever_it_hides():
  nan = float("nan")
  for value in (nan, [1, (nan,)], {"a": nan}, {nan: 1}, complex(0, nan)):
    assert cases.contains_nan(value)
  assert not cases.contains_nan([1, "nan", {2.0: None}])


BLOCK = "```python\ndef f():\n  return 1\n```\n"


@pytest.mark.parametrize(
  ("text", "program"),
  [
    (BLOCK, "def f():\n  return 1\n"),
    ("Sure!\n" + BLOCK + "That is it.", "def f():\n  return 1\n"),
    ("```\nx = 1\n```\nthen\n```py\nx = 2\n```", "x = 2\n"),
    (BLOCK + "```\nnever closed", None),
    (BLOCK + "```text\n1\n```", None),
    ("```python\nx = 1\n", None),
    ("no code at all", None),
    ("", None),
  ],
)
def test_the_last_block_counts_or_none(text, program):
  assert extract.program_of(text) == program


def test_a_completion_continues_the_prompt_up_to_the_next_thing():
  prompt = "import math\n\ndef f(x):\n"
  text = "  y = x\n\n  return y\n\nprint(f(1))\ndef g():\n  pass\n"
  assert extract.program_of(text, prompt, "f") == prompt + (
    "  y = x\n\n  return y\n"
  )
  # Fences behind the function are not the function's, as little as prose.
  talk = "\n  y = x\n  return y\n\n# Test it\n```\n\nThis function ...\n"
  assert extract.program_of(talk, prompt, "f") == (
    prompt + "\n  y = x\n  return y\n"
  )
  assert not extract.continues("  ```python\nx = 1\n```\n")
  assert not extract.continues(" \n") and not extract.continues("Sure.\n  x")
  # A block comes after the prompt's imports and helpers, not its function.
  assert extract.program_of(BLOCK, prompt, "f") == (
    "import math\n\ndef f():\n  return 1\n"
  )


def test_threads_parse_one_after_the_other(monkeypatch):
  inside, most = [], []

  def parse(source):
    inside.append(source)
    most.append(len(inside))
    time.sleep(0.01)
    inside.remove(source)
    return ast.parse(source)

  own = types.SimpleNamespace(**(vars(ast) | {"parse": parse}))
  monkeypatch.setattr(asserts, "ast", own)
  texts = [f"assert f({i}) == {i}" for i in range(16)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda text: asserts.read_assert(text, "f"), texts))
  assert [calls[0].expected for calls in found] == list(range(16))
  assert max(most) == 1
