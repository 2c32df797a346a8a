"""What a verdict on a program costs beyond running the program.

Run: PYTHONPATH=. python benchmarks/sandbox_overhead.py

A program that only adds is judged again and again, each time in a new process:
the time is all overhead. A bare interpreter that does nothing is started in
turn with it, to tell a slow machine from a slow sandbox. The last line printed
is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time

from reasoning_rl.tasks.sandbox import cases, interpreter, programs

_PROGRAM = "def add(a, b):\n  return a + b\n"
_CALLS = cases.CallTests((cases.Call((1, 2), {}, 3), cases.Call((2, 2), {}, 4)))
# A loop: a referee has to run it.
_CHECK = cases.CheckTests(
  "def check(candidate):\n"
  "  for a in range(3):\n"
  "    assert candidate(a, 1) == a + 1\n"
)


def measure(
  repetitions: int = 25, level: str = "confined"
) -> dict[str, object]:
  """Returns the median milliseconds of a verdict, one at a time.

  Args:
    repetitions: Verdicts of each kind, in turn.
    level: The weakest sandbox to put up with; the strongest is taken.
  """
  verifier = programs.ProgramVerifier(level)
  tests = {"sandbox_overhead_ms": _CALLS, "sandbox_referee_overhead_ms": _CHECK}
  took: dict[str, list[float]] = {name: [] for name in tests}
  bare = [interpreter.executable(), "-I", "-S", "-c", "pass"]
  took["bare_interpreter_ms"] = []
  for _ in range(repetitions + 1):
    for name, test in tests.items():
      start = time.perf_counter()
      verdict = verifier.verify(_PROGRAM, "add", test)
      took[name].append(time.perf_counter() - start)
      if verdict.outcome != programs.CORRECT:
        raise RuntimeError(f"a right program is {verdict}")
    start = time.perf_counter()
    subprocess.run(bare, check=True)
    took["bare_interpreter_ms"].append(time.perf_counter() - start)
  # The first of each warms up.
  medians = {
    name: round(1e3 * statistics.median(seconds[1:]), 2)
    for name, seconds in took.items()
  }
  return {**medians, "sandbox_level": verifier.report.level}


def main() -> None:
  """Measures and prints."""
  print(json.dumps(measure()))


if __name__ == "__main__":
  main()
