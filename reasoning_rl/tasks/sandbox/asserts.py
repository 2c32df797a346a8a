"""Reads assertions as calls and expected values, where they have that form.

`assert f(1, 2) == 3`, `assert f([]) is None`, `assert not f("x")` and
`assert abs(f(2) - 0.5) < 1e-6` are read, never run. Whatever has any other form
makes the whole text unreadable: then a referee runs it, see `programs`.
"""

from __future__ import annotations

import ast
import builtins
import operator
import threading

from reasoning_rl.tasks.sandbox import cases

_OPERATIONS = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
}
_MAX_SOURCE = 1 << 20


class UnreadFault(ValueError):
  """An assertion of a form that is not read."""


def read_check(source: str) -> tuple[cases.Call, ...] | None:
  """Returns the calls in HumanEval's `check(candidate)`, None if unreadable."""
  try:
    body = _parse(source)
    checks = [node for node in body if isinstance(node, ast.FunctionDef)]
    rest = [node for node in body if node not in checks]
    if (
      len(checks) != 1 or checks[0].name != "check" or checks[0].decorator_list
    ):
      return None
    if not all(_is_inert(node) or _is_metadata(node) for node in rest):
      return None
    parameters = checks[0].args
    names = [argument.arg for argument in parameters.args]
    if len(names) != 1 or parameters.vararg or parameters.kwonlyargs:
      return None
    return _read_all(checks[0].body, names[0])
  except UnreadFault:
    return None


def read_assert(source: str, name: str) -> tuple[cases.Call, ...] | None:
  """Returns the calls in an assertion, or several; None if unreadable.

  Args:
    source: The assertion.
    name: The tested function's name in it.
  """
  try:
    return _read_all(_parse(source), name)
  except UnreadFault:
    return None


def tested_name(asserts: tuple[str, ...], setup: str) -> str | None:
  """Returns which function MBPP's assertions test, None if that is unclear."""
  try:
    defined = {
      node.name
      for node in _parse(setup)
      if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    for source in asserts:
      for statement in _parse(source):
        for node in ast.walk(statement):
          if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name not in defined and not hasattr(builtins, name):
              return name
  except UnreadFault:
    pass
  return None


# Python 3.11 counts the depth of all threads' trees as one, and gives up with a
# SystemError when two of them parse at once (python/cpython#106905).
_PARSING = threading.Lock()


def _parse(source: str) -> list[ast.stmt]:
  if len(source) > _MAX_SOURCE:
    raise UnreadFault("the tests are too long")
  try:
    with _PARSING:
      return ast.parse(source).body
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    raise UnreadFault("the tests are no Python") from error


def _is_inert(node: ast.stmt) -> bool:
  """Returns whether a statement does nothing: a text, pass, assert True."""
  if isinstance(node, ast.Assert):
    return isinstance(node.test, ast.Constant) and node.test.value is True
  inert = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
  return inert or isinstance(node, ast.Pass)


def _is_metadata(node: ast.stmt) -> bool:
  if not isinstance(node, ast.Assign) or len(node.targets) != 1:
    return False
  target = node.targets[0]
  if not isinstance(target, ast.Name) or target.id != "METADATA":
    return False
  _value(node.value)
  return True


def _read_all(body: list[ast.stmt], name: str) -> tuple[cases.Call, ...] | None:
  calls = [_read(node, name) for node in body if not _is_inert(node)]
  return tuple(calls) or None


def _read(node: ast.stmt, name: str) -> cases.Call:
  if not isinstance(node, ast.Assert):
    raise UnreadFault("no assertion")
  test = node.test
  if _is_call(test, name):
    return _call(test, None, cases.TRUE)
  if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
    return _call(test.operand, None, cases.FALSE, name=name)
  if not isinstance(test, ast.Compare) or len(test.ops) != 1:
    raise UnreadFault("no comparison of two")
  left, relation, right = test.left, test.ops[0], test.comparators[0]
  if isinstance(relation, ast.Is):
    # Only what Python has one of: other values need not be the same object.
    if not isinstance(right, ast.Constant) or right.value is not None:
      raise UnreadFault("an `is` of a value")
    return _call(left, None, cases.EQUAL, name=name)
  if isinstance(relation, ast.Eq):
    if _is_call(right, name):
      left, right = right, left
    return _call(left, _value(right), cases.EQUAL, name=name)
  if isinstance(relation, ast.Lt | ast.LtE):
    return _distance(left, right, isinstance(relation, ast.LtE), name)
  raise UnreadFault("another comparison")


def _distance(
  left: ast.expr, right: ast.expr, inclusive: bool, name: str
) -> cases.Call:
  """Reads `abs(f(...) - expected) < tolerance`, either way round."""
  if not _is_call(left, "abs") or len(left.args) != 1 or left.keywords:
    raise UnreadFault("no distance")
  inside, tolerance = left.args[0], _value(right)
  if not isinstance(inside, ast.BinOp) or not isinstance(inside.op, ast.Sub):
    raise UnreadFault("no difference")
  first, second = inside.left, inside.right
  if _is_call(second, name):
    first, second = second, first
  expected = _value(second)
  if type(tolerance) not in (int, float):
    raise UnreadFault("a tolerance that is no number")
  if type(expected) not in (int, float, complex):
    raise UnreadFault("a distance from what is no number")
  call = _call(first, expected, cases.CLOSE, name=name)
  return cases.Call(
    call.arguments,
    call.keywords,
    expected,
    cases.CLOSE,
    float(tolerance),
    inclusive,
  )


def _is_call(node: ast.expr, name: str) -> bool:
  return (
    isinstance(node, ast.Call)
    and isinstance(node.func, ast.Name)
    and node.func.id == name
  )


def _call(
  node: ast.expr, expected: object, relation: str, name: str = ""
) -> cases.Call:
  if name and not _is_call(node, name):
    raise UnreadFault("no call of the tested function")
  if any(keyword.arg is None for keyword in node.keywords):
    raise UnreadFault("a call with **")
  arguments = tuple(_value(argument) for argument in node.args)
  keywords = {keyword.arg: _value(keyword.value) for keyword in node.keywords}
  return cases.Call(arguments, keywords, expected, relation)


def _value(node: ast.expr) -> object:
  """Returns the value of a literal, small arithmetic on numbers included."""
  if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
    left, right = _value(node.left), _value(node.right)
    if {type(left), type(right)} <= {int, float, complex}:
      try:
        value = _OPERATIONS[type(node.op)](left, right)
      except ArithmeticError as error:
        raise UnreadFault("arithmetic that fails") from error
      return _without_nan(value)
  try:
    return _without_nan(ast.literal_eval(node))
  except (ValueError, TypeError, SyntaxError, RecursionError) as error:
    raise UnreadFault("no literal") from error


def _without_nan(value: object) -> object:
  if cases.contains_nan(value):
    raise UnreadFault("a NaN")
  return value
