"""Mutated bytes, and what a reader may do with them: be right, or refuse."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from reasoning_rl.models.pretrained import source as source_lib

MAX_SECONDS = 2.0
# Objects of Python, a NumPy temporary and the text of an error.
SPARE_BYTES = 1 << 20
TIMES_FILE = 40
EDGES = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]


def mutations(
  originals: Sequence[bytes], count: int, seed: int
) -> Iterator[bytes]:
  """Yields damaged copies: flipped bits, cuts, splices, numbers at the edge."""
  rng = np.random.default_rng(seed)
  for turn in range(count):
    data = bytearray(originals[turn % len(originals)])
    # Most of the mutations hit the header, which stands at the start.
    reach = len(data) if rng.random() < 0.3 else min(len(data), 600)
    for _ in range(int(rng.integers(1, 4))):
      at = int(rng.integers(reach))
      kind = int(rng.integers(6))
      if kind == 0 and at < len(data):
        data[at] ^= 1 << int(rng.integers(8))
      elif kind == 1 and at < len(data):
        data[at] = EDGES[int(rng.integers(len(EDGES)))]
      elif kind == 2:
        width = int(2 ** rng.integers(4))
        data[at : at + width] = bytes([255 * int(rng.integers(2))]) * width
      elif kind == 3:
        longest = 40 if rng.random() < 0.5 else len(data) + 2
        del data[at : at + int(rng.integers(1, longest))]
      elif kind == 4:
        other = originals[int(rng.integers(len(originals)))]
        start = int(rng.integers(len(other)))
        data[at:at] = other[start : start + int(rng.integers(1, 60))]
      else:
        width = int(rng.integers(1, 12))
        start = int(rng.integers(reach))
        data[at : at + width] = data[start : start + width]
    yield bytes(data)


def refused(read: Callable[[], object], size: int) -> str | None:
  """Returns the refusal of a reader, or None where it has read; times both.

  Args:
    read: Reads everything there is.
    size: The bytes of the file.
  """
  # Tracing slows what allocates much: such files are timed without it.
  seconds = _timed(read)[0] if size > 1 << 16 else 0.0
  tracemalloc.start()
  try:
    traced_seconds, message = _timed(read)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert (seconds or traced_seconds) < MAX_SECONDS
  assert peak < SPARE_BYTES + TIMES_FILE * size
  return message


def _timed(read: Callable[[], object]) -> tuple[float, str | None]:
  start = time.process_time()
  message = None
  try:
    read()
  except source_lib.PretrainedError as error:
    message = str(error)
  return time.process_time() - start, message
