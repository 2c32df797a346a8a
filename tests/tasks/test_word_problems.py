"""Word problems: their sentences, their splits, their oracle."""

import re

import pytest

from reasoning_rl.tasks import base, word_problems

_EASY = word_problems.WordProblems(shots=0)


def _problem(question, answer, *computations):
  """Returns a problem by hand."""
  numbers = tuple(int(n) for n in re.findall("[0-9]+", question))
  return base.Problem(
    0, "train", "", answer, (numbers, computations, ()), "", question=question
  )


# 4 bags of 6 shells, 9 given away.
_SHELLS = _problem(
  "Mia has 4 bags with 6 shells in each. Mia gives 9 shells to Ben. How many"
  " shells does Mia have now?",
  "15",
  (4, "*", 6, 24),
  (24, "-", 9, 15),
)
_TWO = word_problems.WordProblems(steps=2, shots=0)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("split", base.SPLITS)
def test_the_question_computed_as_it_says_gives_the_answer(steps, split):
  task = word_problems.WordProblems(steps=steps, shots=0)
  for index in range(60):
    problem = task.problem(split, index)
    numbers, computations, _ = problem.facts
    assert len(computations) == steps and len(numbers) == steps + 1
    assert base.split_of(problem.identity) == split
    there = None
    for left, operator, right, result in computations:
      assert there is None or left == there
      # Exact division, checked the other way round.
      assert result == {
        "+": left + right,
        "-": left - right,
        "*": left * right,
      }.get(operator, result)
      if operator == "/":
        assert result * right == left
      assert sorted([left, right]) == sorted(numbers[:2]) or there is not None
      assert right in numbers or left in numbers
      assert 2 <= result <= task.max_result
      there = result
    assert problem.answer == str(there)


def test_a_solution_is_right_in_every_line_and_the_sentences_read_well():
  task = word_problems.WordProblems(steps=2)
  for index in range(200):
    problem = task.problem("train", index)
    lines = task.demonstration(problem)
    assert task.verify(problem, "".join(lines))
    assert task.thought_correct(problem, lines) == [True] * 3
    assert task.first_error(problem, lines) is None
    for text in (problem.question, *lines):
      assert re.match("[A-Z]", text) and "{" not in text and "  " not in text
    assert problem.question.endswith("?") and problem.question.count("?") == 1


def test_splits_share_no_problem_whatever_the_names_and_things():
  masked = {}
  words = "|".join(
    (*word_problems.word_templates.NAMES, *word_problems.word_templates.THINGS)
  )
  for split in base.SPLITS:
    for index in range(300):
      question = _EASY.problem(split, index).question
      masked.setdefault(split, set()).add(re.sub(words, "_", question))
  train, validation, heldout = (masked[split] for split in base.SPLITS)
  assert not train & validation and not train & heldout
  assert not validation & heldout


def test_the_same_problem_comes_back_and_another_seed_gives_others():
  again = word_problems.WordProblems(shots=0)
  other = word_problems.WordProblems(shots=0, seed=1)
  problems = [_EASY.problem("train", i) for i in range(20)]
  assert problems == [again.problem("train", i) for i in range(20)]
  assert problems != [other.problem("train", i) for i in range(20)]


@pytest.mark.parametrize("operators", ["+", "-", "*", "/", "+-", "*/"])
def test_only_the_operators_asked_for_occur(operators):
  task = word_problems.WordProblems(operators=operators, shots=0)
  used = {task.problem("train", i).facts[1][0][1] for i in range(60)}
  assert used == set(operators)


@pytest.mark.parametrize(
  ("lines", "right"),
  [
    (["Mia has 4 * 6 = 24 shells."], [True]),
    (["She has 6 x 4 = 24.", "24 - 9 = 15."], [True, True]),
    (["4 bags * 6 shells = 24 shells."], [True]),
    # True, and of no use.
    (["4 + 6 = 10 shells."], [False]),
    (["6 + 9 = 15."], [False]),
    # Wrong, and what builds on it; later the right one.
    (
      ["4 * 6 = 26.", "26 - 9 = 17.", "4 * 6 = 24.", "24 - 9 = 15."],
      [False, False, True, True],
    ),
    # The second computation before the first: its operand is not known yet.
    (["24 - 9 = 15."], [False]),
    (["9 - 24 = 15."], [False]),
    # Known numbers in passing, and unknown ones.
    (["There are 4 bags with 6 shells."], [True]),
    (["There are 5 bags."], [False]),
    (["First the bags.", "4 * 6 = 24."], [True, True]),
    (["4 * 6 = 24 = 30."], [False]),
    (["4 * 6 = 24.5"], [False]),
    (["1.4 * 6 = 24"], [False]),
    (["4 * 6 = " + "2" * 5000], [False]),
    # Answers.
    (["The answer is 15."], [True]),
    (["The answer is 15.0 shells."], [True]),
    (["The answer is 24."], [False]),
    (["The answer is 4 * 6 = 24."], [False]),
    (["The answer is 15.", "", "4 * 6 = 24."], [True, True, False]),
    (["4 * 6 = 24. The answer is 15."], [True]),
  ],
)
def test_a_line_is_right_if_it_follows_the_plan(lines, right):
  assert _TWO.thought_correct(_SHELLS, [f"{line}\n" for line in lines]) == right


def test_reachable_counts_the_lines_that_are_left():
  assert _TWO.max_thoughts == 5
  idle = ["Hm.\n"] * 3
  assert _TWO.reachable(_SHELLS, idle[:2])
  assert not _TWO.reachable(_SHELLS, idle)
  assert _TWO.reachable(_SHELLS, ["4 * 6 = 24.\n", *idle[:2]])
  assert _TWO.first_error(_SHELLS, ["4 * 6 = 24.\n", *idle]) == 3
  assert _TWO.first_error(_SHELLS, ["4 * 6 = 24.\n", "24 - 6 = 18.\n"]) == 1


def test_only_a_finished_completion_has_an_answer():
  assert _TWO.verify(_SHELLS, "The answer is 15\n")
  assert not _TWO.verify(_SHELLS, "The answer is 15")
  assert _TWO.extract_answer("The answer is 1") is None


def test_the_oracle_of_a_wrong_solution_does_not_sway_the_verifier():
  assert _TWO.verify(_SHELLS, "6 + 9 = 15.\nThe answer is 15 shells.\n")
  assert not _TWO.verify(_SHELLS, "6 + 9 = 15.\nThe answer is 15 stars.\n")


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    (dict(steps=0), "steps is 0: set it to 1 or more"),
    (dict(steps=4), "steps is 4: set it to 3"),
    (dict(operators=""), "use one or more of"),
    (dict(operators="+^"), "use one or more of"),
    (dict(operators="++"), "name each operator once"),
    (dict(operators="/", steps=2), "add '\\+' or '-'"),
    (dict(operators="*", steps=3), "add '\\+' or '-'"),
    (dict(max_number=1), "max_number is 1"),
    (dict(max_result=1), "max_result is 1"),
    (dict(shots=-1), "shots is -1"),
    (dict(prompt_style="jinja"), "prompt_style is 'jinja': use one of ended"),
    (dict(reasoning="vibes"), "reasoning is 'vibes': use one of chain"),
  ],
)
def test_what_there_is_not_is_refused_in_a_sentence(options, sentence):
  with pytest.raises(base.TaskError, match=sentence):
    word_problems.WordProblems(**options)


def test_a_difficulty_without_problems_says_what_to_raise():
  task = word_problems.WordProblems(operators="*", max_result=3, shots=0)
  with pytest.raises(base.TaskError, match="raise max_number"):
    task.problem("train", 0)
