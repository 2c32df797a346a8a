import itertools

import numpy as np
import pytest

from reasoning_rl.evaluation import accuracy


def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample():
  n = 6
  for count, k in itertools.product(range(n + 1), range(1, n + 1)):
    samples = [i < count for i in range(n)]
    subsets = list(itertools.combinations(samples, k))
    expected = sum(map(any, subsets)) / len(subsets)
    [found] = accuracy.pass_at_k(np.array([count]), n, k)
    assert found == pytest.approx(expected, abs=1e-15)


def test_pass_at_k_is_exact_where_factorials_overflow_a_float():
  found = accuracy.pass_at_k(np.array([0, 1, 512, 1024]), 1024, 512)
  # With one right sample the chance is k / n; C(512, 512) / C(1024, 512) is
  # below the last bit of 1.
  np.testing.assert_array_equal(found, [0.0, 0.5, 1.0, 1.0])


def test_pass_at_1_is_the_share_of_right_samples():
  counts = np.arange(8)
  np.testing.assert_array_equal(accuracy.pass_at_k(counts, 7, 1), counts / 7)


@pytest.mark.parametrize(("n", "k", "count"), [(4, 5, 1), (4, 0, 1), (4, 2, 5)])
def test_pass_at_k_refuses_what_cannot_be(n, k, count):
  with pytest.raises(ValueError):
    accuracy.pass_at_k(np.array([count]), n, k)


def test_majority_vote_gives_ties_to_the_first_answer():
  assert accuracy.majority_vote(["7", "12", "12", "7"]) == "7"
  assert accuracy.majority_vote(["7", "12", "12"]) == "12"


def test_no_answer_wins_only_where_there_is_none():
  answers = [None, None, None, "3"]
  scores = [0.9, 0.9, 0.9, 0.1]
  assert accuracy.majority_vote(answers) == "3"
  assert accuracy.weighted_vote(answers, scores) == "3"
  assert accuracy.best_of_n(answers, scores) == "3"
  assert accuracy.majority_vote([None, None]) is None
  assert accuracy.best_of_n([None, None], [0.2, 0.1]) is None


def test_weighted_vote_sums_the_scores_of_equal_answers():
  answers = ["1", "2", "2", "3"]
  # Sums are 0.5, 0.6 and 0.4: neither the majority of weight nor the best one.
  assert accuracy.weighted_vote(answers, [0.5, 0.3, 0.3, 0.4]) == "2"
  assert accuracy.best_of_n(answers, [0.5, 0.3, 0.3, 0.4]) == "1"


def test_weighted_vote_with_equal_scores_is_the_majority_vote():
  rng = np.random.default_rng(0)
  for _ in range(50):
    answers = [str(a) for a in rng.integers(0, 4, 9)]
    found = accuracy.weighted_vote(answers, np.full(9, 0.25))
    assert found == accuracy.majority_vote(answers)


def test_votes_refuse_scores_that_mean_nothing():
  with pytest.raises(ValueError, match="not logits"):
    accuracy.weighted_vote(["1"], [-2.0])
  with pytest.raises(ValueError, match="not finite"):
    accuracy.best_of_n(["1", "2"], [0.1, float("nan")])
  with pytest.raises(ValueError, match="2 answers and 1 scores"):
    accuracy.best_of_n(["1", "2"], [0.1])


def test_budgets_double_and_end_at_the_samples_there_are():
  assert accuracy.budgets_up_to(1) == (1,)
  assert accuracy.budgets_up_to(16) == (1, 2, 4, 8, 16)
  assert accuracy.budgets_up_to(12) == (1, 2, 4, 8, 12)


def test_accuracy_at_a_budget_averages_over_disjoint_blocks():
  answers = [["5", "5", "8", "8"], ["1", "2", "2", "2"]]
  correct = np.array([[True, True, False, False], [False, True, True, True]])
  found = accuracy.accuracy_at_budget(
    answers, correct, 2, accuracy.majority_vote
  )
  # Blocks (5 5), (8 8) and (1 2), (2 2): the tie goes to the wrong 1.
  np.testing.assert_array_equal(found, [0.5, 0.5])
  everything = accuracy.accuracy_at_budget(
    answers, correct, 4, accuracy.majority_vote
  )
  np.testing.assert_array_equal(everything, [1.0, 1.0])


def test_a_budget_of_one_is_pass_at_1_for_every_rule():
  rng = np.random.default_rng(1)
  values = rng.integers(0, 3, (5, 8))
  answers = [[str(v) for v in row] for row in values]
  scores = rng.random((5, 8))
  for rule in (
    accuracy.majority_vote,
    accuracy.weighted_vote,
    accuracy.best_of_n,
  ):
    found = accuracy.accuracy_at_budget(answers, values == 0, 1, rule, scores)
    np.testing.assert_allclose(found, (values == 0).mean(axis=1))


def test_random_subsets_approach_the_mean_over_all_subsets():
  answers = [["1", "2", "2", "3", "2"]]
  correct = np.array([[False, True, True, False, True]])
  scores = np.array([[0.9, 0.2, 0.8, 0.1, 0.3]])
  exact = np.mean(
    [
      correct[0][max(pick, key=lambda i: scores[0][i])]
      for pick in itertools.combinations(range(5), 2)
    ]
  )
  [found] = accuracy.accuracy_at_budget(
    answers, correct, 2, accuracy.best_of_n, scores, subsets=1500
  )
  assert found == pytest.approx(exact, abs=0.05)


def test_a_problems_subsets_do_not_depend_on_its_neighbours():
  rng = np.random.default_rng(2)
  values = rng.integers(0, 3, (4, 8))
  answers = [[str(v) for v in row] for row in values]

  def run(rows):
    return accuracy.accuracy_at_budget(
      answers[:rows],
      values[:rows] == 0,
      3,
      accuracy.majority_vote,
      subsets=5,
      seed=7,
    )

  np.testing.assert_array_equal(run(4)[:2], run(2))


def test_a_budget_above_the_samples_is_refused():
  with pytest.raises(ValueError, match="sample more"):
    accuracy.accuracy_at_budget(
      [["1"]], np.array([[True]]), 2, accuracy.majority_vote
    )
