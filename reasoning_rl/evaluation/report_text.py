"""How the report words numbers; what is undefined is a dash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

UNDEFINED = "–"


def percent(value: float | None) -> str:
  """Returns a fraction as 41.5 %."""
  return UNDEFINED if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
  """Returns a score as 0.873."""
  return UNDEFINED if value is None else f"{value:.3f}"


def bounds(record: Mapping[str, Any]) -> str:
  """Returns the two ends of an interval of fractions."""
  ends = (percent(record[end]).removesuffix(" %") for end in ("low", "high"))
  return f"95 % interval [{', '.join(ends)}]"


def interval(
  record: Mapping[str, Any] | None,
  show: Callable[[float | None], str] = percent,
) -> str:
  """Returns a mean and its interval as 41.5 % [38.0, 45.1]."""
  if not record or record["mean"] is None:
    return UNDEFINED
  ends = (show(record[end]).removesuffix(" %") for end in ("low", "high"))
  return f"{show(record['mean'])} [{', '.join(ends)}]"


def counted(value: int, noun: str) -> str:
  """Returns 1 core, 2 cores."""
  return f"{value:,} {noun}{'' if value == 1 else 's'}"


def count(value: float | None) -> str:
  """Returns a count as 950, 12.3 k, 4.56 M, ..."""
  if value is None:
    return UNDEFINED
  for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"),
                     (1e4, "k")):  # fmt: skip
    if value >= unit:
      scale = 1e3 if name == "k" else unit
      return f"{value / scale:.3g} {name}"
  return f"{value:,.0f}"


def size(value: float | None) -> str:
  """Returns bytes as 512 B, 1.50 MiB, ..."""
  if value is None:
    return UNDEFINED
  for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
    if value >= 1024**power:
      return f"{value / 1024**power:.3g} {name}"
  return f"{value:.0f} B"


def seconds(value: float | None) -> str:
  """Returns a duration as 12 ms, 3.4 s or 8 min 20 s."""
  if value is None:
    return UNDEFINED
  if value < 1:
    return f"{1000 * value:.3g} ms"
  if value < 120:
    return f"{value:.3g} s"
  minutes, rest = divmod(round(value), 60)
  return f"{minutes} min {rest} s"
