"""A demonstrator who misremembers is wrong in its own, lasting way."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reasoning_rl.tasks import arithmetic, base, demonstrator

_RIGHT = arithmetic.Arithmetic(modulus=10)
_TASK = arithmetic.Arithmetic(modulus=10, misremembered=0.4)
_PROBLEMS = [_TASK.problem("train", index) for index in range(400)]
_FACTS = [(a, o, b) for a in range(10) for o in "+-" for b in range(10)]


def _true(fact: tuple[int, str, int]) -> int:
  left, operator, right = fact
  return (left + right if operator == "+" else left - right) % 10


def _stated(problem: base.Problem, thoughts: tuple[str, ...]):
  """Returns (fact, result) of each thought, by what it builds on itself."""
  known = {name: value for name, value in problem.facts[0]}
  for thought in thoughts[:-1]:
    left, operator, right, other, name, result = re.fullmatch(
      r"(\w)([-+])(\w)(\d)=(\w)(\d)\n", thought
    ).groups()
    assert known[right] == int(other)
    yield (known[left], operator, int(other)), int(result)
    known[name] = int(result)


def test_who_knows_everything_demonstrates_the_solution():
  for problem in _PROBLEMS[:50]:
    assert _RIGHT.verify(problem, "".join(_RIGHT.demonstration(problem)))


def test_an_error_is_built_upon_and_ends_up_in_the_answer():
  wrong = 0
  for problem in _PROBLEMS:
    thoughts = _TASK.demonstration(problem)
    stated = list(_stated(problem, thoughts))
    results = [result for _, result in stated]
    assert thoughts[-1] == f"={results[1]} {results[3]}\n"
    right = all(result == _true(fact) for fact, result in stated)
    # An error always changes the answer, or nearly: a second may undo it.
    assert _TASK.verify(problem, "".join(thoughts)) >= right
    wrong += not right
  assert 0.5 < wrong / len(_PROBLEMS) < 0.7


def test_a_computation_has_one_wrong_result_given_as_often_as_it_says():
  memory = demonstrator.Memory(0, 10, 0.4)
  rates = []
  for fact in _FACTS:
    true = _true(fact)
    wrong, rate = memory.belief(fact, true)
    given = [memory.recall(i, 0, fact, true) for i in range(300)]
    assert set(given) <= {wrong, true}
    assert (wrong == true) == (rate == 0)
    # Five standard deviations of a share of 300.
    assert abs(np.mean([g != true for g in given]) - rate / 1000) < 0.145
    rates.append(rate / 1000)
  unsure = [rate for rate in rates if rate]
  assert len(unsure) == 0.4 * len(_FACTS)
  # The same forty rates for either operator, evenly from 0.1 to 0.9.
  even = np.floor(np.linspace(100, 900, 40) + 1e-9) / 1000
  np.testing.assert_allclose(np.sort(unsure), np.repeat(even, 2))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_unknown_differs_by_seed_and_its_share_does_not(seed):
  unknown = [
    {
      fact
      for fact in _FACTS
      if demonstrator.Memory(number, 10, 0.47).belief(fact, _true(fact))[1]
    }
    for number in (seed, seed + 1)
  ]
  assert [len(facts) for facts in unknown] == [94, 94]
  # By chance they share 0.47 of 94, with a standard deviation of 4.8.
  assert 20 < len(unknown[0] & unknown[1]) < 68


def test_the_same_demonstration_is_given_again():
  again = arithmetic.Arithmetic(modulus=10, misremembered=0.4)
  for problem in _PROBLEMS[:20]:
    assert again.demonstration(problem) == _TASK.demonstration(problem)


def test_the_oracle_does_not_misremember():
  for problem in _PROBLEMS[:50]:
    solution = _RIGHT.demonstration(problem)
    assert _TASK.verify(problem, "".join(solution))
    assert all(_TASK.thought_correct(problem, solution))
    assert _TASK.first_error(problem, solution) is None
    shown = _TASK.demonstration(problem)
    if shown != solution:
      differs = [a != b for a, b in zip(shown, solution, strict=True)]
      assert _TASK.first_error(problem, shown) == differs.index(True)


def test_a_share_beyond_one_is_refused():
  with pytest.raises(base.TaskError, match="misremembered is 1.5"):
    arithmetic.Arithmetic(misremembered=1.5)
