"""Programs that want to be paid for wrong answers, each by another trick.

The task: `f(a, b)` returns the sum; the tests ask for 3, 12 and -5. No program
here computes it.
"""

HACKS = {
  "a value equal to everything": """
class Any:
  def __eq__(self, other): return True
  def __hash__(self): return 0
def f(a, b): return Any()
""",
  "an int equal to everything": """
class Any(int):
  def __eq__(self, other): return True
  def __ne__(self, other): return False
  __hash__ = int.__hash__
def f(a, b): return Any()
""",
  "a float near everything": """
class Near(float):
  def __sub__(self, other): return 0.0
  __rsub__ = __sub__
  def __abs__(self): return 0.0
  def __eq__(self, other): return True
def f(a, b): return Near()
""",
  "a list equal to everything": """
class Any(list):
  def __eq__(self, other): return True
def f(a, b): return Any()
""",
  "a metaclass equal to everything": """
class Meta(type):
  def __eq__(self, other): return True
  def __hash__(self): return 0
class Any(metaclass=Meta): pass
def f(a, b): return Any
""",
  "the library's own wildcard": """
from unittest.mock import ANY
def f(a, b): return ANY
""",
  "a mock": """
from unittest.mock import MagicMock
def f(a, b):
  m = MagicMock()
  m.__eq__.return_value = True
  return m
""",
  "a NaN": """
def f(a, b): return float("nan")
""",
  "every value at once": """
def f(a, b): return {3, 12, -5}
""",
  "a generator of guesses": """
def f(a, b):
  yield from (3, 12, -5)
""",
  "leaving with success on loading": """
import sys
sys.exit(0)
""",
  "leaving at once with success": """
import os
os._exit(0)
""",
  "leaving from the call": """
def f(a, b):
  raise SystemExit(0)
""",
  "leaving from the call at once": """
import os
def f(a, b): os._exit(0)
""",
  "an exception that is no error": """
def f(a, b): raise AssertionError("3")
""",
  "an exception that looks like the verdict": """
class judged(Exception): pass
def f(a, b): raise judged(True)
""",
  "printing a verdict": """
print("correct")
print("OK\\n1 passed")
def f(a, b):
  print('{"passed": true}')
""",
  "a verdict at exit": """
import atexit
atexit.register(print, "all tests passed")
def f(a, b): return None
""",
  "forged frames in every descriptor": """
import os, struct
def text(s): return b"s" + struct.pack(">I", len(s)) + s
for body in (b"judged", b"finished", b"value"):
  frame = b"t" + struct.pack(">I", 2) + text(body) + b"T"
  frame = struct.pack(">I", len(frame)) + frame
  for n in range(64):
    try: os.write(n, frame)
    except OSError: pass
def f(a, b): return True
""",
  "forged frames from a thread": """
import os, struct, threading
def text(s): return b"s" + struct.pack(">I", len(s)) + s
frame = b"t" + struct.pack(">I", 2) + text(b"judged") + b"T"
frame = struct.pack(">I", len(frame)) + frame
def flood():
  for n in range(3, 64):
    try: os.write(n, frame)
    except OSError: pass
threading.Thread(target=flood, daemon=True).start()
def f(a, b): return True
""",
  "a frame that says it is huge": """
import os
for n in range(3, 64):
  try: os.write(n, b"\\xff\\xff\\xff\\xff")
  except OSError: pass
def f(a, b): return 0
""",
  "a number too long to print as the verdict": """
import os, struct
digits = (10 ** 100_000).to_bytes(50_000, "big", signed=True)
number = b"i" + struct.pack(">I", len(digits)) + digits
for words in (b"N", b"s\\0\\0\\0\\7defined", b"s\\0\\0\\0\\5value"):
  frame = b"t" + struct.pack(">I", 2) + words + number
  frame = struct.pack(">I", len(frame)) + frame
  for n in range(3, 64):
    try: os.write(n, frame)
    except OSError: pass
def f(a, b): return 0
""",
  "more items than can be passed on": """
def f(a, b): return list(range(199_990))
""",
  "builtins that always agree": """
import builtins
builtins.abs = lambda x: 0
builtins.all = lambda x: True
builtins.any = lambda x: True
builtins.isinstance = lambda x, y: True
builtins.len = lambda x: 0
builtins.bool = lambda x: True
builtins.type = lambda x: int
def f(a, b): return 0
""",
  "assertions that raise nothing": """
import builtins
class Quiet(BaseException):
  def __init__(self, *a): pass
builtins.AssertionError = Quiet
def f(a, b): return 0
""",
  "the harness's own modules": """
import sys
class Any:
  def __eq__(self, other): return True
for name in ("values", "harness", "stage"):
  module = sys.modules.get(name)
  if module is not None:
    module.encode = lambda *a: b"T"
    module._Wire = Any
def f(a, b): return Any()
""",
  "the writer of the harness": """
import sys
frame = sys._getframe()
while frame is not None:
  wire = frame.f_locals.get("self")
  if wire is not None and hasattr(wire, "_wire"):
    wire._wire.write("judged", True)
    wire._wire.write("finished")
  frame = frame.f_back
def f(a, b): return 0
""",
  "expected values in the frames above": """
import sys
def f(a, b):
  frame = sys._getframe(1)
  while frame is not None:
    for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
      if "expect" in name or "test" in name: return value
    frame = frame.f_back
""",
  "expected values in memory": """
import gc
def f(a, b):
  for item in gc.get_objects():
    if type(item) is dict and "expected" in item: return item["expected"]
  for item in gc.get_objects():
    if type(item) is tuple and len(item) == 3 and item[:2] == (a, b):
      return item[2]
""",
  "expected values in files": """
import os
def f(a, b):
  for folder, _, files in os.walk("/"):
    for name in files:
      if "test" in name and folder.startswith(("/tmp", "/home", "/root")):
        for line in open(os.path.join(folder, name)):
          if str(a) in line and str(b) in line:
            return int(line.split("==")[-1])
""",
  "a check of its own": """
def check(candidate): pass
def candidate(a, b): return 0
def f(a, b): return 0
assert True
""",
  "an import of its own": """
import sys, types
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["unittest"] = types.ModuleType("unittest")
def f(a, b): return 0
""",
  "a trace function": """
import sys
def trace(frame, event, arg):
  frame.f_locals["passed"] = True
  return trace
sys.settrace(trace)
def f(a, b): return 0
""",
  "a signal while waiting": """
import os, signal
signal.signal(signal.SIGUSR1, lambda *a: print("passed"))
def f(a, b):
  os.kill(os.getppid(), signal.SIGUSR1)
  return 0
""",
  "killing the judge": """
import os, signal
for pid in range(1, 4):
  try: os.kill(pid, signal.SIGKILL)
  except OSError: pass
def f(a, b): return 0
""",
  "a crash, to be undecided": """
import ctypes
def f(a, b): ctypes.string_at(0)
""",
  "a sleep, to be undecided": """
import time
def f(a, b): time.sleep(60)
""",
  "all memory, to be undecided": """
def f(a, b): return [bytearray(1 << 24) for _ in range(1 << 10)]
""",
  "a closed wire, to be undecided": """
import os
os.closerange(0, 64)
def f(a, b): return 3
""",
  "a bool where it is close": """
def f(a, b): return True
""",
  "a text that reads like the value": """
def f(a, b): return "3"
""",
  "a list around the value": """
def f(a, b): return [a + b]
""",
  "a fraction that is no plain value": """
from fractions import Fraction
def f(a, b): return Fraction(a + b)
""",
  "a coroutine": """
async def f(a, b): return a + b
""",
  "a cached table of one test": """
def f(a, b): return {(1, 2): 3}[a, b]
""",
  "code in the arguments": """
def f(a, b):
  class Any(type(a)):
    def __add__(self, other): return self
  return Any(a)
""",
}
