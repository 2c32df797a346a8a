"""Tests of how arithmetic problems are built, and of wrong chains' luck."""

import numpy as np
import pytest

from reasoning_rl.tasks import arithmetic

_MAIN_JOB = {"modulus": 10}
_DIFFICULTIES = [
  {},
  _MAIN_JOB,
  {"modulus": 10, "chain_length": 5, "distractors": 0, "bases": 2, "asked": 5},
  {"asked": 1, "distractors": 0},
  {"modulus": 97, "operators": "+-*", "chain_length": 6, "asked": 3},
  {"modulus": 1000, "operators": "*", "bases": 4, "distractors": 3},
]


def _structure(problem, task):
  """Reads names from a prompt: constants, operands, chain and asked ones."""
  body, question = problem.prompt.strip().split("?")
  statements = body.split(" ")
  constants = [statement[0] for statement in statements[: task.bases]]
  operands = {
    result: (left, right)
    for left, _, right, _, result in statements[task.bases :]
  }
  asked = question.split(" ")
  chain = asked[-1:]  # Back from the end, along the left operands.
  while operands[chain[0]][0] in operands:
    chain.insert(0, operands[chain[0]][0])
  return constants, operands, chain, asked


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_the_chain_follows_its_left_operands_from_the_first_constant(options):
  task = arithmetic.Arithmetic(**options)
  returned = False
  for index in range(60):
    problem = task.problem("train", index)
    constants, operands, chain, _ = _structure(problem, task)
    start, *others = constants
    assert len(chain) == task.chain_length
    assert [operands[name][0] for name in chain] == [start, *chain[:-1]]
    # The start is used once, by the first link.
    used = [name for pair in operands.values() for name in pair]
    assert used.count(start) == 1
    for place, name in enumerate(chain):
      earlier = chain[: max(place - 1, 0)]
      assert operands[name][1] in [*others, *earlier]
      returned |= operands[name][1] in earlier
  # Only there are an odd modulus, sums and room for an earlier result.
  assert returned == (task.modulus == 97)


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_distractors_never_touch_the_chain_or_the_start(options):
  task = arithmetic.Arithmetic(**options)
  places, on_another = set(), False
  for index in range(60):
    problem = task.problem("train", index)
    (_, *others), operands, chain, _ = _structure(problem, task)
    aside = [name for name in operands if name not in chain]
    assert len(aside) == task.distractors
    for place, name in enumerate(aside):
      left, right = operands[name]
      assert left != right
      assert {left, right} <= {*others, *aside[:place]}
      on_another |= bool({left, right} & set(aside))
      places.add(list(operands).index(name))
  if task.distractors:
    # They stand anywhere among the definitions, and build on one another.
    assert places == set(range(task.chain_length + task.distractors))
    assert on_another


@pytest.mark.parametrize(
  ("chain_length", "asked", "places"),
  [(4, 1, [3]), (4, 2, [1, 3]), (4, 3, [1, 2, 3]), (6, 3, [1, 3, 5])],
)
def test_the_asked_results_are_evenly_spaced(chain_length, asked, places):
  task = arithmetic.Arithmetic(chain_length=chain_length, asked=asked)
  for index in range(5):
    _, _, chain, names = _structure(task.problem("train", index), task)
    assert names == [chain[place] for place in places]


def _continue(task, problem, errors):
  """Returns the answer of a chain that goes wrong and then follows itself."""
  variables, definitions, needed = problem.facts
  values, operands = dict(variables), {d[0]: d[1:] for d in definitions}
  for place, name in enumerate(needed):
    left, operator, right = operands[name]
    value = {
      "+": values[left] + values[right],
      "-": values[left] - values[right],
      "*": values[left] * values[right],
    }[operator] % task.modulus
    values[name] = errors.get(place, lambda value: value)(value)
  asked = problem.prompt.strip().split("?")[1].split(" ")
  width = len(str(task.modulus - 1))
  return " ".join(f"{values[name]:0{width}d}" for name in asked)


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_a_single_error_always_changes_the_answer(options):
  task = arithmetic.Arithmetic(**options)
  modulus = task.modulus
  for index in range(30):
    problem = task.problem("train", index)
    assert _continue(task, problem, {}) == problem.answer
    for place in range(task.chain_length):
      for error in {1, modulus // 2, modulus - 1, -10 % modulus} - {0}:
        answer = _continue(
          task, problem, {place: lambda x, e=error: (x + e) % modulus}
        )
        assert answer != problem.answer


def _wrong_digit(rng, width):
  """Returns a corruption that rewrites one digit of a number."""

  def corrupt(value):
    digits = list(f"{value:0{width}d}")
    place = rng.integers(width)
    others = [d for d in "0123456789" if d != digits[place]]
    digits[place] = others[rng.integers(9)]
    return int("".join(digits))

  return corrupt


def _hits(task, draw_places, trials=5000):
  """Returns how many of so many wrong chains end in the right answer."""
  rng = np.random.default_rng(0)
  width = len(str(task.modulus - 1))
  problems = [task.problem("train", index) for index in range(100)]
  wrong = hits = 0
  while wrong < trials:
    problem = problems[wrong % len(problems)]
    errors = {
      int(place): _wrong_digit(rng, width) for place in draw_places(rng)
    }
    if errors:
      wrong += 1
      hits += _continue(task, problem, errors) == problem.answer
  return hits


def _exactly(count, task):
  return lambda rng: rng.choice(task.chain_length, count, replace=False)


def _at_rate(rate, task):
  return lambda rng: np.flatnonzero(rng.random(task.chain_length) < rate)


@pytest.mark.parametrize("options", [{}, _MAIN_JOB])
@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_a_wrong_chain_hits_the_answer_at_most_twice_in_a_hundred(
  options, rate
):
  # Each result has a wrong digit at this rate; chains without one are no trial.
  task = arithmetic.Arithmetic(**options)
  assert 0 < _hits(task, _at_rate(rate, task)) / 5000 <= 0.02


@pytest.mark.parametrize("options", [{}, _MAIN_JOB])
@pytest.mark.parametrize("count", [1, 3])
def test_an_odd_number_of_errors_never_hits_two_asked_results(options, count):
  # Of two stretches of two results, one holds exactly one error.
  task = arithmetic.Arithmetic(**options)
  assert _hits(task, _exactly(count, task), trials=2000) == 0


@pytest.mark.parametrize(
  ("options", "low", "high"),
  [
    ({}, 0.005, 0.02),
    ({"modulus": 10, "asked": 3}, 0.01, 0.025),  # 1 / 6 * 1 / 9 = 0.0185.
    # Two of the six pairs of places lie in one stretch, and one of nine sizes
    # undoes the first error: 2 / 6 * 1 / 9 = 0.037. Such chains alone pass the
    # two in a hundred; they are few among the wrong ones, most have one error.
    (_MAIN_JOB, 0.03, 0.045),
    ({"modulus": 10, "asked": 4}, 0.0, 0.0),
  ],
)
def test_two_errors_hit_as_often_as_worked_by_hand(options, low, high):
  task = arithmetic.Arithmetic(**options)
  assert low <= _hits(task, _exactly(2, task)) / 5000 <= high
