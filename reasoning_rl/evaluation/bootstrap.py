"""Percentile bootstrap over problems: intervals, differences, verdicts.

The problem is the unit that is drawn again, never the sample: samples, seeds
and thoughts of one problem are not independent. Values are averaged inside a
problem first, then problems are drawn with replacement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 10_000
# "Clearly above" asks for a difference of at least this much (5 points).
CLEAR_DIFFERENCE = 0.05
# Entries of one block of drawn indices: 32 MiB, whatever the problem count.
_BLOCK_ENTRIES = 1 << 22


@dataclasses.dataclass(frozen=True)
class Interval:
  """An estimate and its 95 % interval; NaN where it is undefined."""

  mean: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class Difference:
  """The mean of a − b over problems and its 95 % interval."""

  difference: float
  low: float
  high: float


def mean_interval(
  values: Float[np.ndarray, "*seeds B"],
  *,
  resamples: int = RESAMPLES,
  seed: int = 0,
  confidence: float = 0.95,
) -> Interval:
  """Returns the mean over problems with its percentile bootstrap interval.

  Args:
    values: One value per problem; a leading axis (seeds) is averaged first.
    resamples: Bootstrap draws.
    seed: Of the draws.
    confidence: Mass of the interval.

  Returns:
    Mean, low and high, in the unit of `values`.
  """
  per_problem = _per_problem(values)
  means = np.concatenate(
    [
      per_problem[drawn].mean(axis=1)
      for drawn in _draws(per_problem.size, resamples, seed)
    ]
  )
  low, high = _percentiles(means, confidence)
  return Interval(float(per_problem.mean()), low, high)


def paired_difference(
  a: Float[np.ndarray, "*seeds_a B"],
  b: Float[np.ndarray, "*seeds_b B"],
  *,
  resamples: int = RESAMPLES,
  seed: int = 0,
) -> Difference:
  """Returns how far `a` lies above `b` on the same problems.

  Args:
    a: Accuracy per problem, or per seed and problem.
    b: The same for the other method; its seed count may differ.
    resamples: Bootstrap draws.
    seed: Of the draws.

  Returns:
    The mean difference and its 95 % interval.
  """
  a, b = _per_problem(a), _per_problem(b)
  if a.shape != b.shape:
    raise ValueError(
      "A paired difference needs the same problems on both sides; got "
      f"{a.size} and {b.size}."
    )
  if a.size < 2:
    raise ValueError("A paired difference needs at least two problems.")
  interval = mean_interval(a - b, resamples=resamples, seed=seed)
  return Difference(interval.mean, interval.low, interval.high)


def verdict(difference: Difference) -> str:
  """Says what a difference shows about the claim "a is above b".

  Returns:
    "clearly above" where the interval lies above 0 and the difference is at
    least 5 points, "above" where the interval lies above 0, "reversed" where
    it lies below 0, else "not shown".
  """
  if difference.low > 0:
    # Means of fractions miss 0.05 by rounding; a billionth decides nothing.
    clear = difference.difference >= CLEAR_DIFFERENCE - 1e-9
    return "clearly above" if clear else "above"
  return "reversed" if difference.high < 0 else "not shown"


def clustered_interval(
  statistic: Callable[[Int[np.ndarray, " rows"]], float],
  problem_id: Int[np.ndarray, " rows"],
  *,
  resamples: int = 1000,
  seed: int = 0,
) -> Interval:
  """Returns any statistic of rows with an interval over their problems.

  Args:
    statistic: Maps row indices to a number; NaN where it is undefined, and
      such draws are left out. It is called once per draw.
    problem_id: The problem each row belongs to; its rows are drawn together.
    resamples: Bootstrap draws.
    seed: Of the draws.

  Returns:
    The statistic of all rows, with the percentiles of the draws.
  """
  _, inverse, counts = np.unique(
    problem_id, return_inverse=True, return_counts=True
  )
  order = np.argsort(inverse, kind="stable")
  starts = np.cumsum(counts) - counts
  draws = []
  for block in _draws(counts.size, resamples, seed):
    for problems in block:
      lengths = counts[problems]
      ends = np.cumsum(lengths)
      within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
      rows = order[np.repeat(starts[problems], lengths) + within]
      draws.append(statistic(rows))
  low, high = _percentiles(np.asarray(draws, np.float64), 0.95)
  return Interval(float(statistic(np.arange(inverse.size))), low, high)


def _per_problem(
  values: Float[np.ndarray, "*seeds B"],
) -> Float[np.ndarray, " B"]:
  """Returns one float64 value per problem, seeds averaged."""
  values = np.asarray(values, np.float64)
  if values.ndim not in (1, 2) or values.size == 0:
    raise ValueError(
      "Bootstrap values need the shape [problems] or [seeds, problems], with "
      f"at least one problem; got {values.shape}."
    )
  if not np.all(np.isfinite(values)):
    raise ValueError("A value to bootstrap is not finite.")
  return values if values.ndim == 1 else values.mean(axis=0)


def _draws(
  problems: int, resamples: int, seed: int
) -> Iterator[Int[np.ndarray, "draws problems"]]:
  """Yields blocks of problem indices drawn with replacement."""
  if problems < 1 or resamples < 1:
    raise ValueError("A bootstrap needs at least one problem and one draw.")
  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK_ENTRIES // problems)
  for done in range(0, resamples, block):
    yield rng.integers(0, problems, (min(block, resamples - done), problems))


def _percentiles(
  draws: Float[np.ndarray, " draws"], confidence: float
) -> tuple[float, float]:
  """Returns the two ends of the interval; NaN draws are left out."""
  draws = draws[~np.isnan(draws)]
  if not draws.size:
    return float("nan"), float("nan")
  tail = (1.0 - confidence) / 2.0
  low, high = np.quantile(draws, [tail, 1.0 - tail])
  return float(low), float(high)
