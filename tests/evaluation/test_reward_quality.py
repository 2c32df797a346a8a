import numpy as np
import pytest

from reasoning_rl.evaluation import reward_quality


def random_scores(seed, rows=40, thoughts=6, levels=None):
  """Random solutions: scores that know something, truths and real lengths."""
  rng = np.random.default_rng(seed)
  correct = rng.random((rows, thoughts)) < 0.8
  mask = np.arange(thoughts) < rng.integers(1, thoughts + 1, rows)[:, None]
  scores = np.clip(0.3 * correct + rng.random((rows, thoughts)) * 0.7, 0, 1)
  if levels:
    scores = np.round(scores * levels) / levels
  return scores, correct, mask


def first_error_reference(scores, correct, mask, threshold):
  """ProcessBench's F1 by walking every solution, -1 for no error."""
  hits = {True: [], False: []}
  for s, c, m in zip(scores, correct, mask, strict=True):
    if not m.any():
      continue
    truth = next((i for i in range(len(s)) if m[i] and not c[i]), -1)
    guess = next((i for i in range(len(s)) if m[i] and s[i] < threshold), -1)
    hits[truth == -1].append(truth == guess)
  wrong, right = np.mean(hits[False]), np.mean(hits[True])
  f1 = 2 * wrong * right / (wrong + right) if wrong + right else 0.0
  return f1, wrong, right


def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_halves():
  for levels in (None, 4):
    scores, correct, mask = random_scores(0, levels=levels)
    scores, correct = scores[mask], correct[mask]
    pairs = scores[correct][:, None] - scores[~correct][None]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert reward_quality.auroc(scores, correct) == pytest.approx(expected)


def test_auroc_by_hand_and_at_its_ends():
  correct = np.array([False, False, True, True])
  # Three of the four pairs are in order: 0.35 does not beat 0.4.
  found = reward_quality.auroc(np.array([0.1, 0.4, 0.35, 0.8]), correct)
  assert found == 0.75
  assert reward_quality.auroc(np.array([0.1, 0.2, 0.3, 0.4]), correct) == 1
  assert reward_quality.auroc(np.full(4, 0.5), correct) == 0.5
  assert np.isnan(reward_quality.auroc(np.ones(4), np.ones(4, bool)))


def test_the_area_under_the_roc_points_is_auroc():
  scores, correct, mask = random_scores(1, levels=10)
  points = reward_quality.roc_points(scores[mask], correct[mask])
  false, true = np.array(points).T
  area = reward_quality.auroc(scores[mask], correct[mask])
  assert np.trapezoid(true, false) == pytest.approx(area)
  assert points[0] == (0, 0) and points[-1] == pytest.approx((1, 1))


def test_right_prefix_counts_up_to_the_first_error():
  correct = np.array([[1, 1, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1]], bool)
  mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
  found = reward_quality.right_prefix(correct, mask)
  # The second row's only error lies under the mask: no error, three thoughts.
  np.testing.assert_array_equal(found, [2, 3, 0])


def test_first_error_f1_by_hand():
  correct = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
  mask = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]], bool)
  scores = np.array(
    [
      [0.9, 0.2, 0.9],  # Found where it is.
      [0.9, 0.2, 0.9],  # Found one thought late.
      [0.9, 0.4, 0.9],  # Seen where there is none.
      [0.9, 0.9, 0.0],  # Passed: the low score is under the mask.
    ]
  )
  found = reward_quality.first_error_score(scores, correct, mask, 0.5)
  assert (found.f1, found.erroneous, found.correct) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.6, 1.1])
def test_first_error_score_equals_the_walk_over_solutions(threshold):
  scores, correct, mask = random_scores(2)
  mask[5] = False
  found = reward_quality.first_error_score(scores, correct, mask, threshold)
  expected = first_error_reference(scores, correct, mask, threshold)
  assert (found.f1, found.erroneous, found.correct) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_threshold_beats_the_chosen_one(levels, dtype):
  for seed in range(8):
    scores, correct, mask = random_scores(seed, rows=25, levels=levels)
    scores = scores.astype(dtype)
    chosen = reward_quality.choose_threshold(scores, correct, mask)
    found = reward_quality.first_error_score(scores, correct, mask, chosen).f1
    best = max(
      first_error_reference(scores.astype(float), correct, mask, t)[0]
      for t in [*np.unique(scores.astype(float)), 2.0]
    )
    assert found == pytest.approx(best)
    assert found > 0


def test_choosing_a_threshold_needs_right_and_wrong_solutions():
  scores, correct, mask = random_scores(3)
  with pytest.raises(ValueError, match="right and wrong solutions"):
    reward_quality.choose_threshold(scores, np.ones_like(correct), mask)


def test_calibration_error_by_hand():
  scores = np.array([0.1, 0.3, 0.8, 0.9])
  correct = np.array([False, True, True, True])
  # Bins (0.1, 0.3) and (0.8, 0.9): |0.2 − 0.5| and |0.85 − 1|, equal mass.
  found = reward_quality.calibration_error(scores, correct, bins=2)
  assert found == pytest.approx((0.3 + 0.15) / 2)


def test_bins_hold_equal_mass_and_every_thought():
  scores, correct, mask = random_scores(4, rows=47)
  bins = reward_quality.reliability(scores[mask], correct[mask])
  sizes = [part.count for part in bins]
  assert len(bins) == 15 and sum(sizes) == mask.sum()
  assert max(sizes) - min(sizes) <= 1
  mean = sum(p.frequency * p.count for p in bins) / mask.sum()
  assert mean == pytest.approx(correct[mask].mean())


def test_calibration_error_does_not_depend_on_the_order_of_ties():
  rng = np.random.default_rng(5)
  scores, correct, mask = random_scores(5, levels=3)
  scores, correct = scores[mask], correct[mask]
  expected = reward_quality.calibration_error(scores, correct)
  for _ in range(5):
    order = rng.permutation(scores.size)
    found = reward_quality.calibration_error(scores[order], correct[order])
    assert found == pytest.approx(expected)


def test_a_calibrated_model_has_a_small_error_and_a_shifted_one_the_shift():
  rng = np.random.default_rng(6)
  truth = rng.random(60_000) * 0.5
  correct = rng.random(truth.size) < truth
  assert reward_quality.calibration_error(truth, correct) < 0.01
  shifted = reward_quality.calibration_error(truth + 0.3, correct)
  assert shifted == pytest.approx(0.3, abs=0.01)


def test_measure_gathers_the_numbers_and_ignores_what_is_masked():
  scores, correct, mask = random_scores(7)
  problem_id = np.repeat(np.arange(10), 4)

  def run(scores, correct):
    return reward_quality.measure(
      "PRM", scores, correct, mask, problem_id, 0.4, resamples=50
    )

  found = run(scores, correct)
  assert found == run(np.where(mask, scores, 7.0), correct & mask)
  assert found.thoughts == mask.sum() and found.solutions == 40
  assert found.auroc.mean == reward_quality.auroc(scores[mask], correct[mask])
  assert found.auroc.low < found.auroc.mean < found.auroc.high
  f1, wrong, right = first_error_reference(scores, correct, mask, 0.4)
  assert found.first_error_f1.mean == pytest.approx(f1)
  assert found.erroneous_accuracy == pytest.approx(wrong)
  assert found.correct_accuracy == pytest.approx(right)


def test_measure_survives_a_test_set_without_errors():
  found = reward_quality.measure(
    "PRM",
    np.full((3, 2), 0.9),
    np.ones((3, 2), bool),
    np.ones((3, 2), bool),
    np.arange(3),
    0.5,
    resamples=10,
  )
  assert np.isnan(found.auroc.mean) and np.isnan(found.first_error_f1.low)
  assert found.calibration_error.mean == pytest.approx(0.1)
