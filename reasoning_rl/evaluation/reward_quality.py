"""How good a process reward model is: AUROC, first-error F1, calibration.

Scores and truths are per thought, `[B, T]`, under a mask. The truth comes from
an oracle or a human and only measures; it is never trained on. Where the first
error lies is stated as the number of right thoughts before it, so "no error"
is the thought count and needs no sentinel.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from reasoning_rl.evaluation import bootstrap

CALIBRATION_BINS = 15


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
  """One bin of a reliability diagram."""

  confidence: float
  frequency: float
  count: int


@dataclasses.dataclass(frozen=True)
class FirstErrorScore:
  """ProcessBench's three numbers; NaN where no solution of a kind exists.

  Attributes:
    f1: Harmonic mean of the two accuracies.
    erroneous: Share of wrong solutions whose first error is found exactly.
    correct: Share of right solutions in which no error is seen.
  """

  f1: float
  erroneous: float
  correct: float


@dataclasses.dataclass(frozen=True)
class RewardQuality:
  """What the report shows of one reward model, as in results.json."""

  name: str
  solutions: int
  thoughts: int
  auroc: bootstrap.Interval
  first_error_f1: bootstrap.Interval
  first_error_threshold: float
  erroneous_accuracy: float
  correct_accuracy: float
  calibration_error: bootstrap.Interval
  reliability: tuple[ReliabilityBin, ...]
  roc: tuple[tuple[float, float], ...]


def auroc(
  scores: Float[np.ndarray, " thoughts"], correct: Bool[np.ndarray, " thoughts"]
) -> float:
  """Returns the chance that a right thought outscores a wrong one.

  Mann-Whitney: ties count one half. NaN where only one kind is present.
  """
  positives = int(correct.sum())
  negatives = correct.size - positives
  if not positives or not negatives:
    return float("nan")
  _, inverse, counts = np.unique(
    scores, return_inverse=True, return_counts=True
  )
  # Tied scores share the mean of the ranks they span.
  ranks = np.cumsum(counts) - (counts - 1) / 2
  rank_sum = float(ranks[inverse][correct].sum())
  wins = rank_sum - positives * (positives + 1) / 2
  return wins / (positives * negatives)


def roc_points(
  scores: Float[np.ndarray, " thoughts"],
  correct: Bool[np.ndarray, " thoughts"],
  points: int = 64,
) -> tuple[tuple[float, float], ...]:
  """Returns (false, true) positive rates from (0, 0) to (1, 1), thinned."""
  positives = max(1, int(correct.sum()))
  negatives = max(1, int((~correct).sum()))
  _, inverse = np.unique(-scores, return_inverse=True)
  right = np.cumsum(np.bincount(inverse, weights=correct)) / positives
  wrong = np.cumsum(np.bincount(inverse, weights=~correct)) / negatives
  keep = np.unique(
    np.linspace(0, right.size - 1, min(points, right.size)).astype(int)
  )
  pairs = zip(wrong[keep].tolist(), right[keep].tolist(), strict=True)
  return ((0.0, 0.0), *pairs)


def right_prefix(
  correct: Bool[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]
) -> Int[np.ndarray, " B"]:
  """Returns how many right thoughts stand before each row's first error.

  A row without an error gives its thought count. Masked thoughts may lie
  anywhere and are not counted.
  """
  unbroken = np.logical_and.accumulate(correct | ~mask, axis=1)
  return (unbroken & mask).sum(axis=1)


def first_error_score(
  scores: Float[np.ndarray, "B T"],
  correct: Bool[np.ndarray, "B T"],
  mask: Bool[np.ndarray, "B T"],
  threshold: float,
) -> FirstErrorScore:
  """Scores the localisation of first errors (ProcessBench, 2412.06559).

  The predicted first error is the first thought whose score lies below the
  threshold. A wrong solution counts when that is exactly its first error; a
  right one counts when there is none.

  Args:
    scores: PRM score of each thought.
    correct: Whether the thought is right.
    mask: True at real thoughts. Rows without one are left out.
    threshold: From `choose_threshold` on validation problems.

  Returns:
    F1 and the two accuracies behind it.
  """
  # In float64: a threshold between two neighbouring float32 scores stays there.
  predicted = right_prefix(scores.astype(np.float64) >= threshold, mask)
  truth = right_prefix(correct, mask)
  length = mask.sum(axis=1)
  wrong = truth < length
  right = (truth == length) & (length > 0)
  hit = predicted == truth
  erroneous = float(hit[wrong].mean()) if wrong.any() else float("nan")
  clean = float(hit[right].mean()) if right.any() else float("nan")
  return FirstErrorScore(_harmonic_mean(erroneous, clean), erroneous, clean)


def choose_threshold(
  scores: Float[np.ndarray, "B T"],
  correct: Bool[np.ndarray, "B T"],
  mask: Bool[np.ndarray, "B T"],
) -> float:
  """Returns the threshold with the best first-error F1, exactly.

  A wrong solution is located by every threshold in (score of its first error,
  least score before it]; a right one is passed by every threshold up to its
  least score. F1 rises with either count, so the best threshold is the upper
  end of one of these intervals; the middle of the plateau below it is given.

  Args:
    scores: PRM scores on validation problems.
    correct: Whether each thought is right.
    mask: True at real thoughts.

  Returns:
    A threshold on the score.
  """
  low, high, wrong, right = _hit_intervals(scores, correct, mask)
  if not wrong.any() or not right.any():
    raise ValueError(
      "A first-error threshold needs right and wrong solutions; use more "
      "validation problems."
    )
  # An interval that reaches infinity ends at the largest score seen.
  top = scores[mask].max()
  usable = low < high
  ends = np.unique(np.append(np.minimum(high[usable], top), top))
  counts = [
    _covering(low[kind & usable], high[kind & usable], ends) / kind.sum()
    for kind in (wrong, right)
  ]
  f1 = [_harmonic_mean(a, b) for a, b in zip(*counts, strict=True)]
  best = float(ends[int(np.argmax(f1))])
  breaks = np.concatenate([low, high])
  below = breaks[breaks < best]
  floor = float(below.max()) if np.isfinite(below).any() else best
  middle = (floor + best) / 2
  return middle if floor < middle else best


def reliability(
  scores: Float[np.ndarray, " thoughts"],
  correct: Bool[np.ndarray, " thoughts"],
  bins: int = CALIBRATION_BINS,
) -> tuple[ReliabilityBin, ...]:
  """Returns bins of equal mass, in order of rising confidence.

  Equal scores carry their common frequency into whichever bin they fall, so
  the result does not depend on the order of the thoughts.
  """
  values, inverse, counts = np.unique(
    scores, return_inverse=True, return_counts=True
  )
  frequency = np.bincount(inverse, weights=correct) / counts
  bins = min(bins, inverse.size)
  if not bins:
    return ()
  # As equal as whole thoughts allow: sizes differ by one at most.
  edges = np.arange(bins + 1) * inverse.size // bins
  sizes = np.diff(edges)
  confidence, frequency = (
    np.add.reduceat(np.repeat(column, counts), edges[:-1]) / sizes
    for column in (values.astype(np.float64), frequency)
  )
  columns = (confidence.tolist(), frequency.tolist(), sizes.tolist())
  return tuple(ReliabilityBin(*row) for row in zip(*columns, strict=True))


def calibration_error(
  scores: Float[np.ndarray, " thoughts"],
  correct: Bool[np.ndarray, " thoughts"],
  bins: int = CALIBRATION_BINS,
) -> float:
  """Returns the mean |confidence − frequency| over bins of equal mass."""
  parts = reliability(scores, correct, bins)
  total = sum(part.count for part in parts)
  if not total:
    return float("nan")
  return (
    sum(abs(part.confidence - part.frequency) * part.count for part in parts)
    / total
  )


def measure(
  name: str,
  scores: Float[np.ndarray, "B T"],
  correct: Bool[np.ndarray, "B T"],
  mask: Bool[np.ndarray, "B T"],
  problem_id: Int[np.ndarray, " B"],
  threshold: float,
  *,
  resamples: int = 1000,
  seed: int = 0,
) -> RewardQuality:
  """Measures a reward model, with 95 % intervals over problems.

  The calibration error of a resample is biased upwards (drawing twice adds
  noise inside a bin): its interval is a little high, not too narrow.

  Args:
    name: What the report calls the model.
    scores: PRM score of each thought, in [0, 1].
    correct: Whether the thought is right.
    mask: True at real thoughts.
    problem_id: The problem of each row.
    threshold: From `choose_threshold` on validation problems.
    resamples: Bootstrap draws.
    seed: Of the draws.

  Returns:
    Everything the report shows.
  """
  if not mask.any():
    raise ValueError("A reward model is measured on at least one thought.")

  def interval(statistic):
    return bootstrap.clustered_interval(
      statistic, problem_id, resamples=resamples, seed=seed
    )

  def of_thoughts(function):
    return lambda rows: function(
      scores[rows][mask[rows]], correct[rows][mask[rows]]
    )

  errors = first_error_score(scores, correct, mask, threshold)
  return RewardQuality(
    name=name,
    solutions=int(mask.any(axis=1).sum()),
    thoughts=int(mask.sum()),
    auroc=interval(of_thoughts(auroc)),
    first_error_f1=interval(
      lambda rows: (
        first_error_score(scores[rows], correct[rows], mask[rows], threshold).f1
      )
    ),
    first_error_threshold=float(threshold),
    erroneous_accuracy=errors.erroneous,
    correct_accuracy=errors.correct,
    calibration_error=interval(of_thoughts(calibration_error)),
    reliability=reliability(scores[mask], correct[mask]),
    roc=roc_points(scores[mask], correct[mask]),
  )


def _harmonic_mean(a: float, b: float) -> float:
  return float(2 * a * b / (a + b)) if a + b != 0 else 0.0


def _hit_intervals(
  scores: Float[np.ndarray, "B T"],
  correct: Bool[np.ndarray, "B T"],
  mask: Bool[np.ndarray, "B T"],
) -> tuple[
  Float[np.ndarray, " B"],
  Float[np.ndarray, " B"],
  Bool[np.ndarray, " B"],
  Bool[np.ndarray, " B"],
]:
  """Returns (low, high] of the thresholds that judge each row exactly.

  Also which rows are wrong, and which are right.
  """
  unbroken = np.logical_and.accumulate(correct | ~mask, axis=1)
  wrong = ~unbroken[:, -1]
  right = ~wrong & mask.any(axis=1)
  before = np.where(unbroken & mask, scores, np.inf)
  high = before.min(axis=1).astype(np.float64)
  first = np.argmin(unbroken, axis=1)
  at_error = scores[np.arange(scores.shape[0]), first]
  low = np.where(wrong, at_error, -np.inf).astype(np.float64)
  return low, high, wrong, right


def _covering(
  low: Float[np.ndarray, " rows"],
  high: Float[np.ndarray, " rows"],
  thresholds: Float[np.ndarray, " ends"],
) -> Int[np.ndarray, " ends"]:
  """Counts the intervals (low, high] that hold each threshold."""
  begun = np.searchsorted(np.sort(low), thresholds, side="left")
  ended = np.searchsorted(np.sort(high), thresholds, side="left")
  return begun - ended
