import numpy as np
import pytest

from reasoning_rl.evaluation import bootstrap


def test_the_interval_of_a_mean_is_the_normal_one_for_many_problems():
  values = np.random.default_rng(0).normal(3.0, 2.0, 400)
  found = bootstrap.mean_interval(values)
  error = values.std() / np.sqrt(values.size)
  assert found.mean == pytest.approx(values.mean(), abs=1e-12)
  # 10,000 draws place a percentile within about 2 % of a standard error.
  assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.08 * error)
  assert found.high == pytest.approx(
    found.mean + 1.96 * error, abs=0.08 * error
  )


def test_the_interval_covers_the_truth_about_95_times_in_100():
  rng = np.random.default_rng(1)
  hits = 0
  for seed in range(200):
    values = (rng.random(100) < 0.4).astype(float)
    found = bootstrap.mean_interval(values, resamples=400, seed=seed)
    hits += found.low <= 0.4 <= found.high
  # Binomial with p = 0.95: three standard deviations are nine.
  assert 180 <= hits <= 199


def test_seeds_are_averaged_inside_a_problem_and_add_no_certainty():
  values = np.random.default_rng(2).random(60)
  once = bootstrap.mean_interval(values)
  thrice = bootstrap.mean_interval(np.stack([values] * 3))
  assert thrice.mean == pytest.approx(once.mean)
  assert thrice.low == pytest.approx(once.low)
  assert thrice.high == pytest.approx(once.high)


def test_draws_do_not_depend_on_the_block_size(monkeypatch):
  values = np.random.default_rng(3).random(17)
  whole = bootstrap.mean_interval(values, resamples=500)
  monkeypatch.setattr(bootstrap, "_BLOCK_ENTRIES", 40)
  assert bootstrap.mean_interval(values, resamples=500) == whole


def test_a_paired_difference_cancels_what_the_problems_share():
  rng = np.random.default_rng(4)
  difficulty = rng.random(200)
  better = difficulty + 0.02
  found = bootstrap.paired_difference(better, difficulty)
  assert found.difference == pytest.approx(0.02)
  assert found.low == pytest.approx(0.02)
  assert found.high == pytest.approx(0.02)


def test_swapping_the_sides_mirrors_the_difference():
  rng = np.random.default_rng(5)
  a, b = rng.random((3, 40)), rng.random((2, 40))
  there = bootstrap.paired_difference(a, b)
  back = bootstrap.paired_difference(b, a)
  assert back.difference == pytest.approx(-there.difference)
  assert back.low == pytest.approx(-there.high)
  assert back.high == pytest.approx(-there.low)


@pytest.mark.parametrize(
  ("difference", "low", "high", "expected"),
  [
    (0.08, 0.01, 0.15, "clearly above"),
    (0.05, 0.01, 0.09, "clearly above"),
    (0.3 - 0.25, 0.01, 0.09, "clearly above"),  # 0.04999999999999999
    (0.04, 0.01, 0.07, "above"),
    (0.08, -0.01, 0.17, "not shown"),
    (0.08, 0.0, 0.16, "not shown"),
    (0.0, 0.0, 0.0, "not shown"),
    (-0.02, -0.05, 0.01, "not shown"),
    (-0.06, -0.09, -0.03, "reversed"),
  ],
)
def test_verdicts_follow_the_interval(difference, low, high, expected):
  found = bootstrap.verdict(bootstrap.Difference(difference, low, high))
  assert found == expected


def test_a_clustered_mean_of_single_rows_is_the_mean_interval():
  values = np.random.default_rng(6).random(25)
  rows = bootstrap.clustered_interval(
    lambda picked: float(values[picked].mean()), np.arange(25), resamples=300
  )
  plain = bootstrap.mean_interval(values, resamples=300)
  assert rows.mean == pytest.approx(plain.mean)
  assert rows.low == pytest.approx(plain.low)
  assert rows.high == pytest.approx(plain.high)


def test_rows_of_one_problem_are_drawn_together():
  problem = np.array([3, 1, 3, 1, 1, 8])
  sizes = {3: 2, 1: 3, 8: 1}
  seen = []

  def statistic(rows):
    ids, counts = np.unique(problem[rows], return_counts=True)
    seen.extend((int(i), int(c)) for i, c in zip(ids, counts, strict=True))
    return 0.0

  bootstrap.clustered_interval(statistic, problem, resamples=50)
  assert {i for i, _ in seen} == set(sizes)
  assert all(count % sizes[i] == 0 for i, count in seen)


def test_repeating_every_row_does_not_narrow_a_clustered_interval():
  values = np.random.default_rng(7).random(30)

  def interval(copies):
    rows = np.repeat(values, copies)
    return bootstrap.clustered_interval(
      lambda picked: float(rows[picked].mean()),
      np.repeat(np.arange(30), copies),
      resamples=300,
    )

  assert interval(5).low == pytest.approx(interval(1).low)
  assert interval(5).high == pytest.approx(interval(1).high)


def test_undefined_draws_are_left_out_and_all_undefined_is_nan():
  values = np.array([1.0, np.nan])
  found = bootstrap.clustered_interval(
    lambda rows: float(values[rows].mean()), np.arange(2), resamples=64
  )
  assert (found.low, found.high) == (1.0, 1.0)
  nothing = bootstrap.clustered_interval(
    lambda rows: float("nan"), np.arange(2), resamples=8
  )
  assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_what_cannot_be_compared_is_refused():
  # With checked annotations the shapes themselves are refused first.
  with pytest.raises((ValueError, TypeError)):
    bootstrap.paired_difference(np.zeros(3), np.zeros(4))
  with pytest.raises(ValueError, match="at least two"):
    bootstrap.paired_difference(np.zeros(1), np.zeros(1))
  with pytest.raises(ValueError, match="at least one problem"):
    bootstrap.mean_interval(np.zeros(0))
  with pytest.raises(ValueError, match="finite"):
    bootstrap.mean_interval(np.array([np.nan, 1.0]))
