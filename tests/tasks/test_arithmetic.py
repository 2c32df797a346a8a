"""Tests of the arithmetic task."""

import re

import numpy as np
import pytest

from reasoning_rl.tasks import arithmetic, base

_TASK = arithmetic.Arithmetic()

# c08 e57 b34 c+e=a b-e=f a-b=d?a d, worked by hand: a = 8 + 57 = 65,
# f = 34 - 57 = -23 = 77 modulo 100 is not needed, d = 65 - 34 = 31.
_SMALL = arithmetic.Arithmetic(chain_length=2, distractors=1)
_PROBLEM = base.Problem(
  id=0,
  split="train",
  prompt="c08 e57 b34 c+e=a b-e=f a-b=d?a d\n",
  answer="65 31",
  facts=(
    (("c", 8), ("e", 57), ("b", 34), ("a", 65), ("f", 77), ("d", 31)),
    (("a", "c", "+", "e"), ("f", "b", "-", "e"), ("d", "a", "-", "b")),
    ("a", "d"),
  ),
  identity="",
)
_A, _F, _D = "c+e57=a65\n", "b-e57=f77\n", "a-b34=d31\n"
_ANSWER = "=65 31\n"


def _parse(prompt, modulus):
  """Reads a prompt with nothing but the prompt: all that a policy has."""
  body, question = prompt.removesuffix("\n").split("?")
  values, operands = {}, {}
  for statement in body.split(" "):
    definition, equals, name = statement.partition("=")
    if not equals:
      assert not operands  # The constants come first.
      name, number = statement[0], statement[1:]
      assert name not in values and re.fullmatch("[0-9]+", number)
      assert len(number) == len(str(modulus - 1)) and int(number) < modulus
      values[name] = int(number)
      continue
    assert name not in values
    first, operator, second = definition
    operands[name] = (first, operator, second)
    values[name] = {
      "+": values[first] + values[second],
      "-": values[first] - values[second],
      "*": values[first] * values[second],
    }[operator] % modulus
  return values, operands, question.split(" ")


_DIFFICULTIES = [
  {},
  {"modulus": 10},  # The main job's.
  {"modulus": 10, "chain_length": 5, "distractors": 0, "bases": 2, "asked": 5},
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
    needed, open_names = set(), [asked[-1]]
    while open_names:
      name = open_names.pop()
      if name in operands and name not in needed:
        needed.add(name)
        open_names += [operands[name][0], operands[name][2]]
    assert len(needed) == task.chain_length and needed >= set(asked)
    text = {name: f"{name}{value:0{width}d}" for name, value in values.items()}
    assert task.demonstration(problem) == (
      *(
        f"{left}{operator}{text[right]}={text[name]}\n"
        for name, (left, operator, right) in operands.items()
        if name in needed
      ),
      f"={problem.answer}\n",
    )
    # Copying another variable's value never gives an asked one.
    assert all(list(values.values()).count(values[n]) == 1 for n in asked)


@pytest.mark.parametrize("options", _DIFFICULTIES)
def test_the_promised_lengths_are_reached_and_never_passed(options):
  task = arithmetic.Arithmetic(**options)
  for index in range(10):
    problem = task.problem("heldout", index)
    thoughts = task.demonstration(problem)
    assert len(problem.prompt) == task.max_prompt_chars
    assert max(map(len, thoughts)) == task.max_thought_chars
    assert len(thoughts) == task.max_thoughts - 1
    # Every computation is as long as any other that is well-formed.
    assert len({len(thought) for thought in thoughts[:-1]}) == 1


def test_the_lengths_of_the_hand_worked_problem():
  assert _SMALL.max_prompt_chars == len(_PROBLEM.prompt) == 34
  assert _SMALL.max_thought_chars == len(_A) == 10
  # Five results of one digit: "=1 2 3 4 5" and a newline.
  wide = arithmetic.Arithmetic(modulus=10, asked=5, chain_length=5)
  assert wide.max_thought_chars == 11


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
    == "i86 d93 e59 i-e=b b+d=a a-d=g g-d=c e-d=h h-e=f?a c\n"
  )
  other_seed = arithmetic.Arithmetic(seed=1)
  assert other_seed.problem("train", 0) != _TASK.problem("train", 0)


def _renamed(prompt):
  """Gives the variables of a prompt the letters a, b, c, ... in order."""
  names = dict.fromkeys(re.findall("[a-z]", prompt))
  letters = {name: chr(97 + i) for i, name in enumerate(names)}
  return re.sub("[a-z]", lambda match: letters[match[0]], prompt)


def test_no_two_splits_share_a_problem_even_renamed_or_reseeded():
  # Few problems, 5 ** 2 constants, a sum or a difference: draws coincide.
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
    (["c+e57=a64\n", "a-b34=d30\n", "=64 30\n"], [0, 0, 0]),
    (["c+e57=a64\n", _D, _ANSWER], [0, 1, 1]),
    (["e+c08=a65\n"], [0]),  # The definition's order counts.
    (["c+e08=a65\n"], [0]),  # So does which value stands with which name,
    (["c+b57=a65\n"], [0]),  # and the name, even if the value is right,
    (["c+e57=d65\n"], [0]),
    (["c+e58=a65\n"], [0]),  # and the operands, even if the result is right.
    (["c-e57=a51\n"], [0]),
    (["08+57=65\n", "c+e=a\n"], [0, 0]),
    (["c+e57=a65"], [0]),  # Not finished.
    ([_A, _ANSWER, _D], [1, 1, 0]),  # Nothing follows the answer.
    ([_A, "=65 32\n", _ANSWER], [1, 0, 0]),
    ([_A + _D], [0]),
    (["", "\n", "c08\n"], [0, 0, 0]),
  ],
)
def test_a_thought_is_right_if_it_states_a_truth(thoughts, correct):
  expected = [bool(x) for x in correct]
  assert _SMALL.thought_correct(_PROBLEM, thoughts) == expected


def test_every_change_of_one_character_makes_a_thought_wrong():
  for thought in (_A, _F, _D, _ANSWER):
    for place, character in enumerate(thought):
      for other in set(_SMALL.alphabet) - {character}:
        changed = thought[:place] + other + thought[place + 1 :]
        assert _SMALL.thought_correct(_PROBLEM, [changed]) == [False]
        assert not _SMALL.verify(_PROBLEM, changed)


def test_needless_thoughts_lose_the_goal_when_too_few_are_left():
  assert _SMALL.max_thoughts == 4  # Two computations, the answer, one spare.
  assert _SMALL.reachable(_PROBLEM, [])
  assert _SMALL.reachable(_PROBLEM, [_F])
  assert not _SMALL.reachable(_PROBLEM, [_F, _F])
  assert _SMALL.first_error(_PROBLEM, [_A, _F, _A, _D]) == 2
  assert _SMALL.first_error(_PROBLEM, [_F, _A, _D, _ANSWER]) is None


def test_the_final_answer_alone_decides():
  assert _SMALL.verify(_PROBLEM, "c+e00=a00\n=65 31\n")
  assert _SMALL.verify(_PROBLEM, "=65 31\n")
  assert not _SMALL.verify(_PROBLEM, _A + _D + "=31 65\n")
  assert _SMALL.extract_answer("=31 65\n") == "31 65"


@pytest.mark.parametrize(
  "completion",
  [
    "",
    "\n",
    " ",
    "=",
    "=\n",
    "65 31",
    "65 31\n",
    "=65 31",
    "=65 31\r\n",
    "=65 31\n\n",
    "\n=65 31\n",
    " =65 31\n",
    "=65 31 \n",
    "=65  31\n",
    "=6531\n",
    "=65\n31\n",
    "=65 3\n1\n",
    "=65\n",
    "=31\n",
    "=65 31 00\n",
    "=065 31\n",
    "=65 031\n",
    "=65 31.0\n",
    "=+65 31\n",
    "=65 -69\n",
    "=65 3１\n",
    "=65 ٣١\n",
    "=65\t31\n",
    "=65 31\n=65 31\n",
    "=65 32\n=65 31\n",
    "=65 31\nc+e57=a65\n",
    "=65 31\nthe end\n",
    "=65 31\x00\n",
    "=65 31\u2028",
    "==65 31\n",
    "a65 31\n",
    "a=65 31\n",
    "x=65 31\n=65 31",
    "c+e57=a65=65 31\n",
    "c+e57=a65 =65 31\n",
    "c+e57=a65\n\n=65 31\n",
    "c+e57\n=65 31\n",
    "c08/e57=a65\n=65 31\n",
    "c+e57=a65;a-b34=d31\n=65 31\n",
    "C+e57=a65\n=65 31\n",
    "c+e57=a165\n=65 31\n",
    "c+e57=a6５\n=65 31\n",
    "c08+e57=a65\n=65 31\n",
    "08+57=65\n=65 31\n",
    "08+e57=a65\n=65 31\n",
    "c+57=a65\n=65 31\n",
    "c+e57=65\n=65 31\n",
    "a=08+57=65\n=65 31\n",
    "a=c+e57\n=65 31\n",
    "c+e=a\n=65 31\n",
    "08c+57e=65a\n=65 31\n",
    "cc+e57=a65\n=65 31\n",
    "c++e57=a65\n=65 31\n",
    "c+e57==a65\n=65 31\n",
    "c+-e57=a65\n=65 31\n",
    "c+e57-b34=d31\n=65 31\n",
    "c08 + e57 = a65\n=65 31\n",
    "c+e57=a65 \n=65 31\n",
    "c+e57=a65\r\n=65 31\n",
    "c+e57=a65\n=a65 d31\n",
    "c+e57=a65\n?65 31\n",
    "c08\n=65 31\n",
    "c08 e57 b34 c+e=a b-e=f a-b=d?a d\n=65 31\n",
    "so the answer is\n=65 31\n",
    "=65 31\n" * 2000,
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
    ({"bases": 2}, "raise bases to 3"),
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
