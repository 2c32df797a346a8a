"""Tests of the countdown task."""

import functools
import itertools

import numpy as np
import pytest

from reasoning_rl.tasks import base, countdown

_TASK = countdown.Countdown()


def _problem(numbers, target):
  return base.Problem(
    id=0,
    split="train",
    prompt=f"{' '.join(map(str, numbers))}={target}\n",
    answer=str(target),
    facts=(tuple(numbers), target),
    identity="",
  )


# By hand: 7 * 4 = 28 leaves 3 25 28; 25 - 3 = 22 leaves 28 22; 28 + 22 = 50.
_PROBLEM = _problem((3, 7, 25, 4), 50)
_FIRST, _SECOND, _LAST = "7*4=28 3 25 28\n", "25-3=22 28 22\n", "28+22=50 50\n"
_SOLUTION = (_FIRST, _SECOND, _LAST)


def test_the_hand_worked_solution_verifies():
  assert _TASK.verify(_PROBLEM, "".join(_SOLUTION))
  assert _TASK.extract_answer("".join(_SOLUTION)) == "50"
  assert _TASK.thought_correct(_PROBLEM, _SOLUTION) == [True, True, True]
  assert _TASK.first_error(_PROBLEM, _SOLUTION) is None
  # The operands of + and * may come in either order.
  swapped = (_FIRST, _SECOND, "22+28=50 50\n")
  assert _TASK.verify(_PROBLEM, "".join(swapped))


def test_the_target_on_the_way_is_not_the_end():
  problem = _problem((3, 7, 25, 4), 28)
  assert _TASK.legal(problem, [_FIRST]) == [True]
  assert not _TASK.verify(problem, _FIRST)
  assert _TASK.extract_answer(_FIRST) is None


def test_results_beyond_the_limit_are_illegal_whatever_their_width():
  task = countdown.Countdown(target_max=27, max_value=27)
  assert task.legal(_PROBLEM, ["7*4=28 3 25 28\n"]) == [False]
  task = countdown.Countdown(target_max=28, max_value=28)
  assert task.legal(_PROBLEM, ["7*4=28 3 25 28\n"]) == [True]


def test_of_equal_numbers_the_first_copy_is_used():
  task = countdown.Countdown()
  problem = _problem((3, 7, 3, 5), 15)
  assert task.legal(problem, ["3+5=8 7 3 8\n"]) == [True]
  assert task.legal(problem, ["3+5=8 3 7 8\n"]) == [False]
  assert task.legal(problem, ["3+3=6 7 5 6\n"]) == [True]
  assert task.legal(problem, ["7+7=14 3 3 5 14\n"]) == [False]


_DIFFICULTIES = [
  {},
  {"numbers": 3, "max_number": 9, "target_min": 1},
  {"numbers": 5, "max_number": 50, "target_max": 200, "max_value": 999},
  {"numbers": 2, "max_number": 99},
]


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_demonstrations_verify_and_satisfy_the_oracle(options):
  task = countdown.Countdown(**options)
  for index in range(15):
    problem = task.problem("validation", index)
    numbers, target = problem.facts
    assert problem.prompt == f"{' '.join(map(str, numbers))}={target}\n"
    assert len(numbers) == task.numbers and max(numbers) <= task.max_number
    assert task.target_min <= target <= task.target_max
    assert problem.answer == str(target)
    thoughts = task.demonstration(problem)
    assert len(thoughts) == task.max_thoughts
    assert len(problem.prompt) <= task.max_prompt_chars
    assert max(map(len, thoughts)) <= task.max_thought_chars
    assert task.verify(problem, "".join(thoughts))
    assert task.thought_correct(problem, thoughts) == [True] * len(thoughts)
    assert task.legal(problem, thoughts) == [True] * len(thoughts)
    assert task.extract_answer("".join(thoughts)) == problem.answer


def test_problems_and_demonstrations_are_deterministic():
  # Pinned: a change of this text is a change of every stored problem, and
  # needs a new `version`.
  problem = _TASK.problem("train", 0)
  again = countdown.Countdown()
  again.problem("heldout", 7)
  assert again.problem("train", 0) == problem
  assert problem.prompt == "20 17 9 12=58\n"
  assert again.demonstration(problem) == _TASK.demonstration(problem)
  assert countdown.Countdown(seed=1).problem("train", 0) != problem


def test_no_two_splits_share_a_problem_even_reordered_or_reseeded():
  # A space of a few dozen problems, so that draws do coincide.
  problems = {
    split: [
      countdown.Countdown(
        seed=seed, numbers=2, max_number=4, target_min=1
      ).problem(split, index)
      for seed in (0, 1)
      for index in range(50)
    ]
    for split in base.SPLITS
  }
  train, validation, heldout = (
    {(tuple(sorted(p.facts[0])), p.facts[1]) for p in split}
    for split in problems.values()
  )
  assert len(train) < 50
  assert not (train & validation or train & heldout or validation & heldout)


def _brute_force(numbers, max_value):
  """Returns every value that all the numbers make, by trees over subsets.

  Independent of the package: it combines subsets, not what is left.
  """

  @functools.cache
  def values(subset):
    if len(subset) == 1:
      return {numbers[subset[0]]}
    found = set()
    for size in range(1, len(subset)):
      for left in itertools.combinations(subset, size):
        right = tuple(i for i in subset if i not in left)
        for a, b in itertools.product(values(left), values(right)):
          found |= {a + b, a - b, a * b}
          if a % b == 0:
            found.add(a // b)
    return {value for value in found if 1 <= value <= max_value}

  return values(tuple(range(len(numbers))))


@pytest.mark.parametrize(("count", "cases"), [(2, 30), (3, 30), (4, 8)])
def test_the_oracle_agrees_with_brute_force(count, cases):
  rng = np.random.default_rng(count)
  task = countdown.Countdown(numbers=count)
  for _ in range(cases):
    numbers = tuple(int(x) for x in rng.integers(1, 21, count))
    reachable = {
      target
      for target in range(1, 100)
      if task.reachable(_problem(numbers, target), [])
    }
    assert reachable == _brute_force(numbers, 99)


def test_a_legal_thought_into_a_dead_end_is_the_first_error():
  rng = np.random.default_rng(0)
  dead_ends = 0
  for index in range(150):
    problem = _TASK.problem("train", index)
    left, target = list(problem.facts[0]), problem.facts[1]
    i, j = sorted(int(x) for x in rng.choice(4, 2, replace=False))
    result = left[i] + left[j]
    after = [left[k] for k in range(4) if k not in (i, j)] + [result]
    if len(set(left)) < 4 or result > 99:
      continue
    thought = f"{left[i]}+{left[j]}={result} {' '.join(map(str, after))}\n"
    alive = target in _brute_force(after, 99)
    dead_ends += not alive
    assert _TASK.legal(problem, [thought]) == [True]
    assert _TASK.reachable(problem, [thought]) == alive
    assert _TASK.first_error(problem, [thought]) == (None if alive else 0)
  assert dead_ends > 20


@pytest.mark.parametrize(
  ("place", "thought"),
  [
    (0, "7*4=27 3 25 27\n"),  # Wrong product.
    (0, "7*4=28 25 3 28\n"),  # Wrong order of what is left.
    (0, "7*4=28 3 25\n"),
    (0, "7*4=28 3 25 28 28\n"),
    (0, "7*5=35 3 25 35\n"),  # No 5 is given.
    (1, "3-25=-22 28 -22\n"),
    (1, "25-4=21 28 21\n"),  # The 4 is used up.
    (1, "28/3=9 25 9\n"),  # Inexact.
    (1, "25*28=700 3 700\n"),  # Beyond max_value.
    (1, "28-28=0 3 0\n"),
    (2, "28+22=50 50 50\n"),
    (2, "28+22=50\n"),
    (2, "28-22=6 50\n"),  # The result is not what is left.
    (2, "28-22=6 6\n"),  # Legal, but not the target.
  ],
)
def test_a_corrupted_thought_is_found_exactly(place, thought):
  thoughts = list(_SOLUTION)
  thoughts[place] = thought
  assert _TASK.first_error(_PROBLEM, thoughts) == place
  assert _TASK.thought_correct(_PROBLEM, thoughts) == [
    i < place for i in range(3)
  ]
  assert not _TASK.verify(_PROBLEM, "".join(thoughts))
  legal = _TASK.legal(_PROBLEM, thoughts)
  assert legal[place] == (thought == "28-22=6 6\n")


_GOOD = "7*4=28 3 25 28\n25-3=22 28 22\n"


@pytest.mark.parametrize(
  "completion",
  [
    "",
    "\n",
    "50",
    "50\n",
    "=50\n",
    "=50 50\n",
    "50=50 50\n",
    _GOOD,
    _GOOD + "50\n",
    _GOOD + "=50\n",
    _GOOD + "28+22=50 50",
    _GOOD + "28+22=50 50\r\n",
    _GOOD + "28+22=50 50\n\n",
    _GOOD + "\n28+22=50 50\n",
    _GOOD + "28+22=50 50 \n",
    _GOOD + "28+22=50  50\n",
    _GOOD + "28+22=50\t50\n",
    _GOOD + " 28+22=50 50\n",
    _GOOD + "28 + 22 = 50 50\n",
    _GOOD + "28+22=050 050\n",
    _GOOD + "28+22=50 050\n",
    _GOOD + "028+22=50 50\n",
    _GOOD + "28+22=50.0 50.0\n",
    _GOOD + "28+22=+50 50\n",
    _GOOD + "28+22=5０ 5０\n",
    _GOOD + "28+22=50 50\x00\n",
    _GOOD + "28+22=50 50\u2028",
    _GOOD + "28+22=50 50\n50+0=50 50\n",
    _GOOD + "28+22=50 50\n28+22=50 50\n",
    _GOOD + "28+22=50 50\ndone\n",
    _GOOD + "28+22=50 28 22 50\n",
    _GOOD + "28**22=50 50\n",
    _GOOD + "28^22=50 50\n",
    _GOOD + "28//22=50 50\n",
    "28+22=50 50\n",
    "25+25=50 50\n",
    _GOOD.replace("\n", ";") + "28+22=50 50\n",
    _GOOD.replace("\n", "\x0b") + "28+22=50 50\n",
    _GOOD + "28+22=50 " + "9" * 5000 + "\n",
    "9" * 5000 + "\n",
    (_GOOD + "28+22=50 50\n") * 500,
  ],
)
def test_a_malformed_completion_is_rejected(completion):
  assert not _TASK.verify(_PROBLEM, completion)
  assert _TASK.extract_answer(completion) is None


def test_a_well_formed_lie_has_an_answer_but_does_not_verify():
  lie = "7*4=28 3 25 28\n25-3=22 28 22\n28-22=50 50\n"
  assert _TASK.extract_answer(lie) == "50"
  assert not _TASK.verify(_PROBLEM, lie)


def test_there_is_no_on_device_check():
  assert _TASK.make_answer_check(lambda text: [0], 0) is None


def test_a_demonstration_of_an_unsolvable_problem_is_refused():
  with pytest.raises(base.TaskError, match="'1 1 1 1=99' has no solution"):
    _TASK.demonstration(_problem((1, 1, 1, 1), 99))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"numbers": 1}, "numbers is 1: set it to 2 or more"),
    ({"numbers": 7}, "numbers is 7: set it to 6 or less"),
    ({"max_number": 0}, "max_number is 0"),
    ({"target_min": 0}, "target_min is 0"),
    ({"target_max": 9}, "target_max is 9: set it to 10 or more"),
    ({"max_value": 98}, "max_value is 98: set it to 99 or more"),
    ({"max_number": 100}, "max_value is 99: set it to 100 or more"),
    ({"seed": -1}, "seed is -1"),
  ],
)
def test_an_impossible_difficulty_is_refused_with_its_key(options, message):
  with pytest.raises(base.TaskError, match=message):
    countdown.Countdown(**options)


def test_a_difficulty_without_problems_says_so(monkeypatch):
  # Two numbers of at most 3 make at most 9.
  task = countdown.Countdown(numbers=2, max_number=3)
  monkeypatch.setattr(base, "MAX_DRAWS", 200)
  with pytest.raises(base.TaskError, match="no solvable problem.*target_min"):
    task.problem("train", 0)
