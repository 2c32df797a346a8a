"""Honest programs of many kinds, with the calls that they are tested by.

Each `f` is run here as well: what it gives here is what it must give inside.
"""

from __future__ import annotations

import itertools

from tests.tasks.sandbox import benign_algorithms

# What f(x) imports, its body, and what it is called with.
_WITH_MODULES = [
  ("math", "return math.gcd(x, 84), math.isqrt(x), round(math.sqrt(x), 9)", 36),
  ("math", "return [math.comb(x, k) for k in range(x + 1)]", 6),
  ("math", "return math.isclose(math.sin(x) ** 2 + math.cos(x) ** 2, 1)", 2),
  (
    "itertools",
    "return [list(p) for p in itertools.permutations(x)]",
    [1, 2, 3],
  ),
  ("itertools", "return list(itertools.accumulate(x))", [3, 1, 4]),
  (
    "itertools",
    "return [(k, len(list(g))) for k, g in itertools.groupby(x)]",
    "aab",
  ),
  ("collections", "return dict(collections.Counter(x))", "mississippi"),
  (
    "collections",
    "d = collections.deque(x); d.rotate(1); return list(d)",
    [1, 2],
  ),
  (
    "collections",
    "P = collections.namedtuple('P', 'a b'); return P(x, 2).b",
    1,
  ),
  ("re", "return re.findall(r'\\d+', x)", "a1b22c333"),
  ("re", "return re.sub(r'(\\w+) (\\w+)', r'\\2 \\1', x)", "hello world"),
  ("json", "return json.loads(json.dumps(x))", {"a": [1, None, 2.5]}),
  (
    "heapq",
    "h = list(x); heapq.heapify(h); return [heapq.heappop(h) for _ in x]",
    [5, 1, 4],
  ),
  ("heapq", "return heapq.nlargest(2, x)", [5, 1, 4]),
  ("functools", "return functools.reduce(lambda a, b: a * b, x)", [1, 2, 3, 4]),
  (
    "datetime",
    "return (datetime.date(2024, 3, 1) - datetime.date(2024, 2, x)).days",
    1,
  ),
  (
    "datetime",
    "return datetime.datetime.strptime(x, '%Y-%m-%d').strftime('%A')",
    "2024-02-29",
  ),
  (
    "random",
    "random.seed(x); return [random.randint(1, 6) for _ in range(5)]",
    7,
  ),
  (
    "random",
    "r = random.Random(x); a = list(range(9)); r.shuffle(a); return a",
    3,
  ),
  ("typing", "v: typing.List[int] = x; return sorted(v)", [3, 1, 2]),
  ("decimal", "return str(decimal.Decimal(x) / 7)", 22),
  ("fractions", "return str(fractions.Fraction(x, 12))", 8),
  (
    "bisect",
    "return bisect.bisect_left(x, 3), bisect.bisect(x, 3)",
    [1, 3, 3, 5],
  ),
  ("string", "return x in string.ascii_letters, string.digits", "q"),
  ("statistics", "return statistics.median(x), statistics.mean(x)", [1, 2, 10]),
  (
    "operator",
    "return sorted(x, key=operator.itemgetter(1))",
    [(1, 3), (2, 1)],
  ),
  ("copy", "y = copy.deepcopy(x); y[0].append(9); return x, y", [[1], [2]]),
  ("hashlib", "return hashlib.md5(x.encode()).hexdigest()", "Hello world"),
  ("textwrap", "return textwrap.wrap(x, 10)", "the quick brown fox jumps"),
  ("calendar", "return calendar.isleap(x), calendar.monthrange(x, 2)[1]", 2024),
  ("cmath", "return cmath.sqrt(x)", -4),
  ("array", "return list(array.array('i', x))", [1, 2, 3]),
  ("struct", "return struct.unpack('>I', struct.pack('<I', x))[0]", 1),
  ("enum", "C = enum.Enum('C', 'RED BLUE'); return C[x].value", "BLUE"),
  (
    "io",
    "s = io.StringIO(); print(x, file=s, end=''); return s.getvalue()",
    "t",
  ),
  ("unicodedata", "return unicodedata.normalize('NFC', x)", "é"),
  ("base64", "return base64.b64encode(x.encode()).decode()", "sandbox"),
  ("zlib", "return zlib.crc32(x.encode())", "sandbox"),
  ("time", "time.sleep(0.01); return time.monotonic() > x", 0),
  ("queue", "q = queue.Queue(); q.put(x); return q.get()", 5),
  (
    "contextlib",
    "with contextlib.suppress(KeyError):\n    {}[x]\n  return 'kept'",
    1,
  ),
  (
    "dataclasses",
    "D = dataclasses.make_dataclass('D', ['a']); return D(x).a",
    3,
  ),
  ("abc", "return abc.abstractmethod(lambda: x)()", 3),
  ("types", "return types.SimpleNamespace(a=x).a", 3),
  ("secrets", "return len(secrets.token_hex(x))", 4),
  ("csv, io", "return list(csv.reader(io.StringIO(x)))", "a,b\n1,2"),
  ("uuid", "return str(uuid.UUID(int=x))[-4:]", 255),
  ("sys", "sys.setrecursionlimit(5000); return sys.maxsize > x", 3),
  ("os", "return os.path.join(x, 'b'), os.sep", "a"),
  ("numbers", "return isinstance(x, numbers.Integral)", 3),
  ("difflib", "return difflib.SequenceMatcher(None, x, 'abd').ratio()", "abc"),
  ("ast", "return ast.literal_eval(x)", "[1, (2, 3)]"),
  ("inspect", "return list(inspect.signature(lambda a, b: x).parameters)", 1),
  (
    "graphlib",
    "return list(graphlib.TopologicalSorter(x).static_order())",
    {"b": ["a"]},
  ),
  ("multiprocessing.pool", "return x + 1", 1),
  ("asyncio", "return asyncio.iscoroutinefunction(f) or x", 1),
  ("logging", "logging.getLogger('q').debug(x); return x", "m"),
  ("warnings", "warnings.warn('careful'); return x", 1),
]
# The body of f(x), and what it is called with.
_PLAIN = [
  ("return x", None),
  ("return x, -x, x * 1.5, x ** 40, x == 3", 3),
  ("return not x", True),
  ("return x + ' \\u00e9\\u4e2d\\U0001f600'", "text"),
  ("return x[::-1]", [1, "two", 3.0, None, True]),
  ("return tuple(x)", [1, (2, [3, {4: 5}])]),
  ("return {k: v for v, k in x.items()}", {"a": 1, "b": 2}),
  ("return set(x), frozenset(x)", [1, 2, 2, 3]),
  ("return x * (1 + 2j)", 3),
  ("return float('inf') if x else float('-inf')", 1),
  ("return 2 ** x - 1", 5000),
  ("return 'x' * x", 200000),
  ("return list(range(x))", 20000),
  ("print('noise', x); return x", 5),
  ("import builtins; sum = x; return sum", 5),
  ("global counter; counter = x; return counter", 4),
  ("return (lambda n: n * n)(x)", 12),
]


def programs() -> dict[str, tuple[str, object]]:
  """Returns name -> (program, the argument that f is tested with)."""
  found = {}
  for number, (modules, body, argument) in enumerate(_WITH_MODULES):
    name = f"{modules} {number}"
    found[name] = (f"import {modules}\ndef f(x):\n  {body}\n", argument)
  for number, (body, argument) in enumerate(_PLAIN):
    found[f"plain {number}"] = (f"def f(x):\n  {body}\n", argument)
  return found | benign_algorithms.WHOLE


def scripts() -> dict[str, tuple[str, str, str]]:
  """Returns name -> (program, standard input, standard output)."""
  readers = {
    "input": "n = int(input())\na = list(map(int, input().split()))\n",
    "sys.stdin": "import sys\nn, *a = map(int, sys.stdin.read().split())\n",
    "readline": "import sys\nr = sys.stdin.readline\nn = int(r())\n"
    "a = list(map(int, r().split()))\n",
    "lines": "import sys\nn, a = [[*map(int, l.split())] for l in sys.stdin]\n",
    "buffer": "import sys\nn, *a = map(int, sys.stdin.buffer.read().split())\n",
    "open(0)": "n, *a = map(int, open(0).read().split())\n",
    "os.read": "import os\nn, *a = map(int, os.read(0, 1 << 20).split())\n",
  }
  writers = {
    "print": "print(sum(a))\nprint(*sorted(a))\n",
    "sys.stdout": "import sys\nsys.stdout.write(f'{sum(a)}\\n')\n"
    "sys.stdout.write(' '.join(map(str, sorted(a))) + ' \\n\\n')\n",
    "main": "def main():\n  print(sum(a))\n  print(*sorted(a))\n"
    "if __name__ == '__main__':\n  main()\n  exit()\n",
  }
  return {
    f"{reader} {writer}": (
      readers[reader] + writers[writer],
      "3\n5 1 4\n",
      "10\n1 4 5\n",
    )
    for reader, writer in itertools.product(readers, writers)
  }
