"""Tests of the arithmetic task."""

import re

import numpy as np
import pytest

from reasoning_rl.tasks import arithmetic, base

_TASK = arithmetic.Arithmetic()

# b=34 e=57 c=08 a=b+e f=e-c d=c-a?a d, worked by hand: a = 34 + 57 = 91,
# f = 57 - 8 = 49 is not needed, d = 8 - 91 = -83 = 17 modulo 100.
_SMALL = arithmetic.Arithmetic(chain_length=2, distractors=1)
_PROBLEM = base.Problem(
  id=0,
  split="train",
  prompt="b=34 e=57 c=08 a=b+e f=e-c d=c-a?a d\n",
  answer="91 17",
  facts=(
    (("b", 34), ("e", 57), ("c", 8), ("a", 91), ("f", 49), ("d", 17)),
    (("a", "b", "+", "e"), ("f", "e", "-", "c"), ("d", "c", "-", "a")),
    ("a", "d"),
  ),
)
_A, _F, _D, _ANSWER = "a=34+57=91\n", "f=57-08=49\n", "d=08-91=17\n", "=91 17\n"


def _parse(prompt, modulus):
  """Reads a prompt with nothing but the prompt: all that a policy has."""
  body, question = prompt.removesuffix("\n").split("?")
  values, operands = {}, {}
  for statement in body.split(" "):
    name, right = statement.split("=")
    assert name not in values
    if right.isdigit():
      assert len(right) == len(str(modulus - 1))
      values[name] = int(right)
      continue
    first, operator, second = right
    operands[name] = (first, operator, second)
    values[name] = {
      "+": values[first] + values[second],
      "-": values[first] - values[second],
      "*": values[first] * values[second],
    }[operator] % modulus
  return values, operands, question.split(" ")


_DIFFICULTIES = [
  {},
  {"asked": 1, "distractors": 0},
  {"modulus": 97, "operators": "+-*", "chain_length": 6, "asked": 3},
  {"modulus": 1000, "operators": "*", "bases": 4},
]


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_the_answer_follows_from_the_prompt_and_needs_the_whole_chain(options):
  task = arithmetic.Arithmetic(**options)
  for index in range(40):
    problem = task.problem("train", index)
    values, operands, asked = _parse(problem.prompt, task.modulus)
    width = len(str(task.modulus - 1))
    assert len(asked) == task.asked
    assert problem.answer == " ".join(f"{values[n]:0{width}d}" for n in asked)
    assert len(problem.prompt) == task.max_prompt_chars
    needed, open_names = set(), [asked[-1]]
    while open_names:
      name = open_names.pop()
      if name in operands and name not in needed:
        needed.add(name)
        open_names += [operands[name][0], operands[name][2]]
    assert len(needed) == task.chain_length and needed >= set(asked)
    thoughts = task.demonstration(problem)
    assert [thought[0] for thought in thoughts[:-1]] == [
      name for name in operands if name in needed
    ]
    # Copying another variable's value never gives an asked one.
    assert all(list(values.values()).count(values[n]) == 1 for n in asked)


def test_demonstration_of_the_hand_worked_problem():
  assert _SMALL.demonstration(_PROBLEM) == (_A, _D, _ANSWER)
  assert _parse(_PROBLEM.prompt, 100)[0] == dict(_PROBLEM.facts[0])


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_demonstrations_verify_and_satisfy_the_oracle(options):
  task = arithmetic.Arithmetic(**options)
  for index in range(10):
    problem = task.problem("validation", index)
    thoughts = task.demonstration(problem)
    assert task.verify(problem, "".join(thoughts))
    assert task.thought_correct(problem, thoughts) == [True] * len(thoughts)
    assert task.first_error(problem, thoughts) is None
    assert task.extract_answer("".join(thoughts)) == problem.answer


def test_the_same_seed_split_and_index_give_the_same_problem():
  # Pinned: a change of this text is a change of every stored problem, and
  # needs a new `version`.
  again = arithmetic.Arithmetic()
  for index in (5, 0):
    assert again.problem("train", index) == _TASK.problem("train", index)
  assert (
    _TASK.problem("train", 0).prompt
    == "i=99 e=76 c=08 b=e+i h=e-i d=e+h f=h-e g=i-f a=c+g?f a\n"
  )
  other_seed = arithmetic.Arithmetic(seed=1)
  assert other_seed.problem("train", 0) != _TASK.problem("train", 0)


def _renamed(prompt):
  """Gives the variables of a prompt the letters a, b, c, ... in order."""
  names = dict.fromkeys(re.findall("[a-z]", prompt))
  letters = {name: chr(97 + i) for i, name in enumerate(names)}
  return re.sub("[a-z]", lambda match: letters[match[0]], prompt)


def test_no_two_splits_share_a_problem_even_renamed_or_reseeded():
  # Few problems, 5 ** 2 constants and 4 sums or differences: draws coincide.
  prompts = {
    split: [
      _renamed(task.problem(split, index).prompt)
      for task in (
        arithmetic.Arithmetic(
          seed=seed, modulus=5, chain_length=1, distractors=0, bases=2, asked=1
        )
        for seed in (0, 1)
      )
      for index in range(50)
    ]
    for split in base.SPLITS
  }
  train, validation, heldout = map(set, prompts.values())
  assert len(train) < 50
  assert not (train & validation or train & heldout or validation & heldout)


def test_problems_are_distinct_at_the_default_difficulty():
  prompts = {
    _renamed(_TASK.problem(split, index).prompt)
    for split in base.SPLITS
    for index in range(60)
  }
  assert len(prompts) == 180


def test_letters_say_nothing_about_order():
  firsts = [_TASK.problem("train", index).prompt[0] for index in range(180)]
  counts = [firsts.count(letter) for letter in "abcdefghi"]
  assert min(counts) > 8 and max(counts) < 35


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
  for index in range(30):
    problem = task.problem("train", index)
    assert _continue(task, problem, {}) == problem.answer
    for place in range(task.chain_length):
      for error in (1, task.modulus // 2, task.modulus - 10 % task.modulus):
        answer = _continue(
          task, problem, {place: lambda x, e=error: (x + e) % task.modulus}
        )
        assert answer != problem.answer


def _wrong_digit(rng):
  """Returns a corruption that rewrites one digit of a two-digit number."""

  def corrupt(value):
    digits = list(f"{value:02d}")
    place = rng.integers(2)
    others = [d for d in "0123456789" if d != digits[place]]
    digits[place] = others[rng.integers(9)]
    return int("".join(digits))

  return corrupt


@pytest.mark.parametrize("error_count", [1, 2])
def test_a_wrong_chain_hits_the_answer_at_most_twice_in_a_hundred(error_count):
  rng = np.random.default_rng(0)
  problems = [_TASK.problem("train", index) for index in range(100)]
  hits = 0
  for problem in problems * 50:
    places = rng.choice(_TASK.chain_length, error_count, replace=False)
    errors = {int(place): _wrong_digit(rng) for place in places}
    hits += _continue(_TASK, problem, errors) == problem.answer
  assert hits / 5000 <= 0.02
  assert (hits == 0) == (error_count == 1)


def test_the_first_wrong_thought_is_found_exactly():
  rng = np.random.default_rng(1)
  for index in range(100):
    problem = _TASK.problem("train", index)
    thoughts = list(_TASK.demonstration(problem))
    place = int(rng.integers(len(thoughts)))
    digit = (int(thoughts[place][-2]) + 1) % 10
    thoughts[place] = f"{thoughts[place][:-2]}{digit}\n"
    correct = _TASK.thought_correct(problem, thoughts)
    assert correct == [i != place for i in range(len(thoughts))]
    assert _TASK.first_error(problem, thoughts) == place
    assert not _TASK.reachable(problem, thoughts)


@pytest.mark.parametrize(
  ("thoughts", "correct"),
  [
    ([], []),
    ([_A, _D, _ANSWER], [1, 1, 1]),
    ([_F, _A, _D, _ANSWER], [1, 1, 1, 1]),  # A distractor, truly computed.
    ([_D, _A, _ANSWER], [1, 1, 1]),  # Out of order, with true operands.
    ([_A, _A], [1, 1]),
    (["a=34+57=90\n", "d=08-90=18\n", "=90 18\n"], [0, 0, 0]),
    (["a=34+57=90\n", _D, _ANSWER], [0, 1, 1]),
    (["a=57+34=91\n"], [0]),  # The definition's order counts.
    (["a=34+57=91"], [0]),  # Not finished.
    ([_A, _ANSWER, _D], [1, 1, 0]),  # Nothing follows the answer.
    ([_A, "=91 18\n", _ANSWER], [1, 0, 0]),
    (["d=08-91=17\nd=08-91=17\n"], [0]),
    (["", "\n", "b=34\n"], [0, 0, 0]),
  ],
)
def test_a_thought_is_right_if_it_states_a_truth(thoughts, correct):
  expected = [bool(x) for x in correct]
  assert _SMALL.thought_correct(_PROBLEM, thoughts) == expected


def test_needless_thoughts_lose_the_goal_when_too_few_are_left():
  assert _SMALL.max_thoughts == 4  # Two computations, the answer, one spare.
  assert _SMALL.reachable(_PROBLEM, [])
  assert _SMALL.reachable(_PROBLEM, [_F])
  assert not _SMALL.reachable(_PROBLEM, [_F, _F])
  assert _SMALL.first_error(_PROBLEM, [_A, _F, _A, _D]) == 2
  assert _SMALL.first_error(_PROBLEM, [_F, _A, _D, _ANSWER]) is None


def test_the_final_answer_alone_decides():
  assert _SMALL.verify(_PROBLEM, "a=00+00=00\n=91 17\n")
  assert _SMALL.verify(_PROBLEM, "=91 17\n")
  assert not _SMALL.verify(_PROBLEM, _A + _D + "=17 91\n")
  assert _SMALL.extract_answer("=17 91\n") == "17 91"


@pytest.mark.parametrize(
  "completion",
  [
    "",
    "\n",
    " ",
    "=",
    "=\n",
    "91 17",
    "91 17\n",
    "=91 17",
    "=91 17\r\n",
    "=91 17\n\n",
    "\n=91 17\n",
    " =91 17\n",
    "=91 17 \n",
    "=91  17\n",
    "=9117\n",
    "=91\n17\n",
    "=91 1\n7\n",
    "=91\n",
    "=17\n",
    "=91 17 00\n",
    "=091 17\n",
    "=91 017\n",
    "=91 17.0\n",
    "=+91 17\n",
    "=91 -83\n",
    "=91 1７\n",
    "=91 ١٧\n",
    "=91\t17\n",
    "=91 17\n=91 17\n",
    "=91 18\n=91 17\n",
    "=91 17\na=34+57=91\n",
    "=91 17\nthe end\n",
    "=91 17\x00\n",
    "=91 17\u2028",
    "==91 17\n",
    "a=91 17\n",
    "x=91 17\n=91 17",
    "a=34+57=91=91 17\n",
    "a=34+57=91 =91 17\n",
    "a=34+57=91\n\n=91 17\n",
    "a=34+57\n=91 17\n",
    "a=34/57=91\n=91 17\n",
    "a=34+57=91;d=08-91=17\n=91 17\n",
    "A=34+57=91\n=91 17\n",
    "a=34+57=191\n=91 17\n",
    "so the answer is\n=91 17\n",
    "=91 17\n" * 2000,
  ],
)
def test_a_malformed_completion_is_rejected(completion):
  assert _SMALL.extract_answer(completion) is None
  assert not _SMALL.verify(_PROBLEM, completion)


def test_an_answer_beyond_the_modulus_is_none():
  task = arithmetic.Arithmetic(modulus=97, asked=1)
  assert task.extract_answer("=96\n") == "96"
  assert task.extract_answer("=97\n") is None


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"modulus": 1}, "modulus is 1: set it to 2 or more"),
    ({"chain_length": 0}, "chain_length is 0"),
    ({"distractors": -1}, "distractors is -1"),
    ({"bases": 1}, "bases is 1"),
    ({"seed": -1}, "seed is -1"),
    ({"asked": 0}, "asked is 0"),
    ({"asked": 5}, "asked is 5: lower it to chain_length, 4, or less"),
    ({"operators": ""}, "operators is ''"),
    ({"operators": "+/"}, r"operators is '\+/'"),
    ({"operators": "++"}, "name each operator once"),
    ({"distractors": 30}, "is 37: lower them"),
  ],
)
def test_an_impossible_difficulty_is_refused_with_its_key(options, message):
  with pytest.raises(base.TaskError, match=message):
    arithmetic.Arithmetic(**options)


def test_a_difficulty_without_problems_says_so(monkeypatch):
  # With two values, four variables cannot hold two that no other one has.
  task = arithmetic.Arithmetic(
    modulus=2, chain_length=2, distractors=0, bases=2, operators="+"
  )
  monkeypatch.setattr(base, "MAX_DRAWS", 200)
  with pytest.raises(base.TaskError, match="no solvable problem.*modulus"):
    task.problem("train", 0)
