"""Honest programs of several lines, each with what its `f` is tested by."""

_SHAPES = """
from typing import List, Optional
from dataclasses import dataclass, field
from functools import total_ordering
@total_ordering
@dataclass
class Node:
  value: int
  children: "List[Node]" = field(default_factory=list)
  def __lt__(self, other): return self.value < other.value
  def total(self): return self.value + sum(c.total() for c in self.children)
"""
# Whole programs, and what f is called with.
WHOLE = {
  "long collections": (
    """
import collections
def f(x):
  d = collections.defaultdict(list)
  d[x].append(1)
  return dict(d)
""",
    "k",
  ),
  "long functools": (
    """
import functools
def f(x):
  g = functools.lru_cache(None)(lambda n: n if n < 2 else g(n - 1) + g(n - 2))
  return g(x)
""",
    60,
  ),
  "long threading": (
    """
import threading
def f(x):
  r = []
  t = threading.Thread(target=r.append, args=(x,))
  t.start()
  t.join()
  return r
""",
    4,
  ),
  "long tempfile": (
    """
import tempfile
def f(x):
  with tempfile.TemporaryFile('w+') as t:
    t.write(x)
    t.seek(0)
    return t.read()
""",
    "scratch",
  ),
  "long pathlib": (
    """
import pathlib
import tempfile
def f(x):
  p = pathlib.Path(tempfile.gettempdir(), 'benign')
  p.write_text(x)
  return p.read_text()
""",
    "q",
  ),
  "long sqlite3": (
    """
import sqlite3
def f(x):
  c = sqlite3.connect(':memory:')
  return c.execute('select ? + 1', (x,)).fetchone()
""",
    4,
  ),
  "long plain 15": (
    """
def f(x):
  exit_code = 0
  try:
    exit()
  except SystemExit:
    exit_code = 1
  return exit_code
""",
    0,
  ),
  "long plain 16": (
    """
def f(x):
  try:
    open('/etc/passwd')
  except OSError:
    pass
  return x
""",
    4,
  ),
  "long plain 17": (
    """
def f(x):
  try:
    import numpy_is_not_here
  except ImportError:
    return x
""",
    4,
  ),
  "long plain 20": (
    """
def f(x):
  return [y for y in range(2, x) if all(y % d for d in range(2, y))]
""",
    40,
  ),
  "long plain 21": (
    """
def f(x):
  return sorted(x, key=lambda w: (len(w), w))
""",
    ["bb", "a", "ccc", "aa"],
  ),
  "tree": (
    _SHAPES + "def f(x):\n  return Node(x, [Node(1), Node(2)]).total()\n",
    3,
  ),
  "order": (_SHAPES + "def f(x):\n  return min([Node(x), Node(1)]).value\n", 3),
  "generator": (
    """
def g(n):
  while n: yield n; n -= 1
def f(x):
  return list(g(x))
""",
    4,
  ),
  "closure": (
    """
def make(n):
  def add(m): return n + m
  return add
def f(x):
  return make(1)(x)
""",
    4,
  ),
  "class": (
    """
class A:
  count = 0
  def __init__(self): A.count += 1
def f(x):
  [A() for _ in range(x)]; return A.count > 0
""",
    4,
  ),
  "recursion": (
    """
def fact(n): return 1 if n < 2 else n * fact(n - 1)
def f(x):
  return fact(x)
""",
    200,
  ),
  "walrus": (
    """
def f(x):
  return [y for n in range(x) if (y := n * n) % 2]
""",
    9,
  ),
  "match": (
    """
def f(x):
  match x:
    case [a, *b]: return a, b
    case _: return None
""",
    [1, 2, 3],
  ),
  "star": (
    """
def g(*a, **k): return a, k
def f(x):
  return g(*x, key=1)
""",
    [1, 2],
  ),
  "exceptions": (
    """
class E(Exception): pass
def f(x):
  try:
    raise E(x)
  except E as e:
    return e.args
""",
    3,
  ),
  "main guard": (
    """
if __name__ == '__main__':
  raise SystemExit
def f(x):
  return x
""",
    3,
  ),
  "matrix": (
    """
def f(x):
  return [list(r) for r in zip(*x)]
""",
    [[1, 2], [3, 4]],
  ),
  "sieve": (
    """
def sieve(n):
  s = [True] * n
  for i in range(2, n):
    for j in range(i * i, n, i): s[j] = False
  return [i for i in range(2, n) if s[i]]
def f(x):
  return sieve(x)
""",
    100,
  ),
  "knapsack": (
    """
def best(items, room):
  t = [0] * (room + 1)
  for w, v in items:
    for r in range(room, w - 1, -1): t[r] = max(t[r], t[r - w] + v)
  return t[room]
def f(x):
  return best(x, 10)
""",
    [[5, 10], [4, 40], [6, 30]],
  ),
  "search": (
    """
from collections import deque
def bfs(g, s):
  d = {s: 0}
  q = deque([s])
  while q:
    u = q.popleft()
    for v in g.get(u, []):
      if v not in d: d[v] = d[u] + 1; q.append(v)
  return d
def f(x):
  return bfs(x, 'a')
""",
    {"a": ["b"], "b": ["c"]},
  ),
}
