"""Accuracy of sampled answers: pass@k, votes, best-of-N, by budget.

A voting rule takes the answers of one problem (canonical text, None where a
sample gave none) and their scores, and returns the answer it settles on. None
never wins unless every answer is None. Ties go to the answer seen first, so a
rule needs no randomness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

Answers = Sequence[str | None]
Scores = Sequence[float] | Float[np.ndarray, " G"]
VotingRule = Callable[[Answers, Scores], str | None]


def pass_at_k(
  correct_counts: Int[np.ndarray, " B"], n: int, k: int
) -> Float[np.ndarray, " B"]:
  """Returns the unbiased chance that one of k samples is right.

  "Evaluating Large Language Models Trained on Code" (2107.03374), equation 1:
  1 − C(n − c, k) / C(n, k) for c right samples among n. Integers until the
  last division, so the result is the nearest float at any n.

  Args:
    correct_counts: Right samples of each problem, 0 to n.
    n: Samples per problem.
    k: Samples allowed, 1 to n.

  Returns:
    One probability per problem.
  """
  if not 1 <= k <= n:
    raise ValueError(
      f"pass@k needs 1 <= k <= n; got k={k} with n={n}: lower k or sample more."
    )
  counts = np.asarray(correct_counts)
  if counts.size and (counts.min() < 0 or counts.max() > n):
    raise ValueError(f"Counts of right samples must lie between 0 and n={n}.")
  subsets = math.comb(n, k)
  values, inverse = np.unique(counts, return_inverse=True)
  chances = [
    (subsets - math.comb(n - int(count), k)) / subsets for count in values
  ]
  return np.asarray(chances, np.float64)[inverse]


def majority_vote(answers: Answers, scores: Scores = ()) -> str | None:
  """Returns the most frequent answer (self-consistency, 2203.11171).

  Args:
    answers: One per sample, None where a sample gave none.
    scores: Not used; voting rules share one signature.

  Returns:
    The winner, or None where no sample gave an answer.
  """
  del scores
  return weighted_vote(answers, [1.0] * len(answers))


def weighted_vote(answers: Answers, scores: Scores) -> str | None:
  """Returns argmaxₐ Σᵢ 1[aᵢ = a] · scoreᵢ (2206.02336: weighted best-of-N).

  Args:
    answers: One per sample, None where a sample gave none.
    scores: Aggregated reward of each sample, at least 0: a negative score
      would make an answer worse for being found again.

  Returns:
    The winner, or None where no sample gave an answer.
  """
  _check_scores(answers, scores)
  if any(score < 0 for score in scores):
    raise ValueError(
      "Weighted votes need scores of at least 0: pass probabilities, not "
      "logits."
    )
  totals: dict[str, float] = {}
  for answer, score in zip(answers, scores, strict=True):
    if answer is not None:
      totals[answer] = totals.get(answer, 0.0) + float(score)
  # max() keeps the first of equals and a dict keeps the order of arrival.
  return max(totals, key=totals.__getitem__) if totals else None


def best_of_n(answers: Answers, scores: Scores) -> str | None:
  """Returns the answer of the sample with the highest score.

  Args:
    answers: One per sample, None where a sample gave none.
    scores: Aggregated reward of each sample.

  Returns:
    The winner, or None where no sample gave an answer.
  """
  _check_scores(answers, scores)
  given = [i for i, answer in enumerate(answers) if answer is not None]
  return answers[max(given, key=lambda i: scores[i])] if given else None


def budgets_up_to(n: int) -> tuple[int, ...]:
  """Returns 1, 2, 4, ... and last n itself."""
  if n < 1:
    raise ValueError(f"A budget is at least one sample; got {n}.")
  return (*(2**i for i in range(n.bit_length()) if 2**i < n), n)


def accuracy_at_budget(
  answers: Sequence[Answers],
  correct: Bool[np.ndarray, "B G"],
  budget: int,
  rule: VotingRule,
  scores: Float[np.ndarray, "B G"] | None = None,
  *,
  subsets: int = 0,
  seed: int = 0,
) -> Float[np.ndarray, " B"]:
  """Returns each problem's accuracy when `rule` sees `budget` of its samples.

  The accuracy of a problem is the mean over subsets of its samples; the
  problem stays the unit, so that intervals can be clustered by problem.

  Args:
    answers: `G` answers per problem.
    correct: The verifier's verdict on each of them.
    budget: Samples the rule may see, 1 to G.
    rule: `majority_vote`, `weighted_vote`, `best_of_n` or the like.
    scores: Reward of each sample; None counts every sample alike.
    subsets: 0 cuts the samples into disjoint blocks in their order (a
      remainder is left out); otherwise the number of random subsets.
    seed: Of the random subsets. A problem's subsets depend on its row only.

  Returns:
    Accuracies in [0, 1].
  """
  problems, group = correct.shape
  if not 1 <= budget <= group:
    raise ValueError(
      f"A budget of {budget} samples needs between 1 and {group}, the samples "
      "there are: lower it or sample more."
    )
  if len(answers) != problems or any(len(row) != group for row in answers):
    raise ValueError(
      f"`answers` must hold {group} answers for each of {problems} problems."
    )
  if scores is None:
    scores = np.ones(correct.shape)
  accuracy = np.zeros(problems)
  for row in range(problems):
    picks = _subsets(group, budget, subsets, (seed, row, budget))
    accuracy[row] = np.mean(
      [
        _is_right(answers[row], correct[row], scores[row], p, rule)
        for p in picks
      ]
    )
  return accuracy


def _check_scores(answers: Answers, scores: Scores) -> None:
  """Raises where the scores do not belong to the answers or are not numbers."""
  if len(answers) != len(scores):
    raise ValueError(
      f"Every answer needs a score; got {len(answers)} answers and "
      f"{len(scores)} scores."
    )
  if not len(answers):
    raise ValueError("A vote needs at least one answer.")
  if not np.all(np.isfinite(np.asarray(scores, np.float64))):
    raise ValueError("A score is not finite: check the reward model's output.")


def _subsets(
  group: int, budget: int, subsets: int, seed: tuple[int, ...]
) -> Int[np.ndarray, "subsets budget"]:
  """Returns sample indices: disjoint blocks, or random draws without return."""
  if not subsets:
    blocks = group // budget
    return np.arange(blocks * budget).reshape(blocks, budget)
  rng = np.random.default_rng(seed)
  order = np.tile(np.arange(group), (subsets, 1))
  return rng.permuted(order, axis=1)[:, :budget]


def _is_right(
  answers: Answers,
  correct: Bool[np.ndarray, " G"],
  scores: Float[np.ndarray, " G"],
  picks: Int[np.ndarray, " budget"],
  rule: VotingRule,
) -> bool:
  """Returns whether the answer that `rule` settles on is right."""
  subset = [answers[i] for i in picks]
  winner = rule(subset, scores[picks])
  return winner is not None and bool(correct[picks[subset.index(winner)]])
