"""Verdicts per second of mathematics, and what a verdict on a program costs.

  PYTHONPATH=. python benchmarks/verifiers.py

Completions have the length and the kinds of answers of school and competition
problems, half of them wrong, and no two are the same, so that no cache of texts
helps; `exact_repeated_per_s` is the same with each answer given eight times,
as in a group of rollouts. Seconds of the processor count, which are those of a
core that nobody else uses; `*_wall_per_s` are by the clock. The sandbox's
figures are milliseconds by the clock, see `sandbox_overhead`. The last line
printed is one JSON object.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import sandbox_overhead

from reasoning_rl.tasks.mathematics import admission, reading, verifier, workers
from reasoning_rl.tasks.mathematics.judging import Verdict

SOLUTION = (
  "Each box holds a dozen, so {a} boxes hold 12 * {a} of them. Taking away"
  " those that were sold leaves what was asked for. We check the result by"
  " adding both parts, which gives the number that we began with.\n"
)
ENDS = ("#### {}", r"So it is $\boxed{{{}}}$.", "The answer is {}.")


def exact_cases(count: int, seed: int) -> tuple[list[str], list[str]]:
  """Returns gold answers and completions that the grammar covers."""
  rng = random.Random(seed)
  golds, completions = [], []
  for _ in range(count):
    n, a, b = rng.randrange(10**6), rng.randint(2, 999), rng.randint(2, 99)
    gold, answer = rng.choices(
      [
        (str(n), str(n)),
        (str(n), f"{n:,}"),
        (f"{n / 100}", f"${n / 100}"),
        (rf"\frac{{{n}}}{{{a}}}", rf"\frac{{{n}}}{{{a}}}"),
        (f"{n}/{a}", rf"\dfrac{{{n}}}{{{a}}}"),
        (rf"{a}\sqrt{{{b}}}", rf"{a}\sqrt{{{b}}}"),
        (f"({n}, {a})", f"({n},{a})"),
        (rf"{n} \text{{ cm}}", f"{n} cm"),
        (f"{a}x + {n}", f"{n} + {a}x"),
        (rf"{n}\%", f"{n}%"),
      ],
      weights=[60, 4, 6, 8, 2, 6, 4, 4, 3, 3],
    )[0]
    if rng.random() < 0.5:
      answer = answer.replace(answer.strip("$(")[0], "7", 1)
    golds.append(gold)
    end = rng.choices(ENDS, weights=[4, 4, 2])[0].format(answer)
    completions.append(SOLUTION.format(a=a) + end)
  return golds, completions


def open_pairs(count: int) -> list[tuple[str, str]]:
  """Returns pairs beyond the grammar: eight to a gold answer, half wrong."""
  pairs = []
  for index in range(count):
    a = index // 8 + 2
    b = a + index % 2  # Every other one is wrong.
    k = index % 8 + 1
    gold, answer = (
      (rf"\log {a}", rf"{k}\log {b} - {k - 1}\log {b}"),
      (f"x + y = {a}", f"y + x + {k} = {b + k}"),
      (rf"\sin {a}", rf"\sin({b + k} - {k})"),
      (f"2^x + {a}", f"{b + k} + 2^x - {k}"),
      (f"{a}", f"|{k} - {b + k}|"),
    )[index // 8 % 5]
    pairs.append(admission.admit(gold, answer))
  return pairs


def rate(work: Callable[[], int], repetitions: int) -> dict[str, float]:
  """Returns median verdicts per second, by the processor and by the clock."""
  cpu, wall = [], []
  for _ in range(repetitions):
    start = time.process_time(), time.perf_counter()
    count = work()
    cpu.append(count / (time.process_time() - start[0]))
    wall.append(count / (time.perf_counter() - start[1]))
  return {"cpu": statistics.median(cpu), "wall": statistics.median(wall)}


def exact_rates(count: int = 4000, repetitions: int = 5) -> dict[str, float]:
  """Returns verdicts per second of one core on the exact path."""
  exact = verifier.MathVerifier(worker_count=0)
  batches = iter(
    [exact_cases(count, seed) for seed in range(2 * repetitions + 1)]
  )

  def distinct() -> int:
    return len(exact.verify_many(*next(batches)))

  distinct()  # Warm.
  fresh = rate(distinct, repetitions)

  def repeated() -> int:
    golds, completions = next(batches)
    reading._read.cache_clear()
    eighth = len(golds) // 8
    return len(exact.verify_many(golds[:eighth] * 8, completions[:eighth] * 8))

  again = rate(repeated, repetitions)
  undecided = sum(
    number for path, number in exact.statistics().items() if "undecided" in path
  )
  return {
    "exact_per_s": fresh["cpu"],
    "exact_wall_per_s": fresh["wall"],
    "exact_repeated_per_s": again["cpu"],
    "exact_undecided": undecided,
  }


def math_verify_rates(count: int = 400) -> dict[str, float]:
  """Returns verdicts per second of one warm worker."""
  pairs = open_pairs(count)
  with workers.WorkerPool(1, deadline=30.0) as pool:
    pool.start()
    pool.judge_many(pairs[:40])  # Warm.
    pid = pool._workers[0].process.pid
    start = processor_seconds(pid), time.perf_counter()
    outcomes = pool.judge_many(pairs)
    cpu = processor_seconds(pid) - start[0]
    wall = time.perf_counter() - start[1]
  undecided = [o for o in outcomes if o.verdict is Verdict.UNDECIDED]
  return {
    "math_verify_per_s": count / cpu,
    "math_verify_wall_per_s": count / wall,
    "math_verify_undecided": len(undecided),
  }


def processor_seconds(pid: int) -> float:
  """Returns the processor time of a process, of Linux."""
  with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
    return int(file.read().split()[0]) / 1e9


# Each gives figures by name.
MEASURES = (exact_rates, math_verify_rates, sandbox_overhead.measure)


def main() -> None:
  """Prints the figures, one JSON object last."""
  found: dict[str, Any] = {}
  for measure in MEASURES:
    found |= measure()
  plain = {
    name: value if isinstance(value, str) else round(value, 1)
    for name, value in found.items()
  }
  for name, value in plain.items():
    shown = value if isinstance(value, str) else f"{value:,.1f}"
    print(f"{name:28} {shown:>14}")
  print(json.dumps(plain))


if __name__ == "__main__":
  main()
