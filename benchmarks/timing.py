"""Timing side by side: warm, interleaved, medians."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

# With these glibc maps big buffers once, on huge pages, instead of giving them
# back and faulting them in again at every call.
ALLOCATOR = {
  "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
  "MALLOC_MMAP_MAX_": "0",
  "MALLOC_TRIM_THRESHOLD_": "8589934592",
  "MALLOC_TOP_PAD_": "67108864",
}


def interleaved_medians(
  functions: Mapping[str, Callable[[], Any]], repetitions: int
) -> dict[str, float]:
  """Returns the median seconds that each function takes.

  Every function is called once to warm up. Then all are called in turn, again
  and again, so that whatever slows the machine down slows all of them.

  Args:
    functions: What to time, by name; results are waited for.
    repetitions: Timed calls of each function.
  """
  for function in functions.values():
    jax.block_until_ready(function())
  seconds: dict[str, list[float]] = {name: [] for name in functions}
  for _ in range(repetitions):
    for name, function in functions.items():
      start = time.perf_counter()
      jax.block_until_ready(function())
      seconds[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in seconds.items()}


def allocator_settings() -> str:
  """Says whether the allocator variables, which save page faults, are set."""
  wrong = [
    name for name, value in ALLOCATOR.items() if os.environ.get(name) != value
  ]
  if not wrong:
    return "set"
  return (
    "not set" if len(wrong) == len(ALLOCATOR) else f"not {', '.join(wrong)}"
  )


def machine() -> str:
  """Names what the figures were measured on."""
  cores = len(os.sched_getaffinity(0))
  device = jax.devices()[0]
  return f"{device.platform} ({device.device_kind}), {cores} cores"
