"""Prompts of every style."""

import pytest

from reasoning_rl.tasks import (
  base,
  mental_arithmetic,
  prompts,
  registry,
  word_problems,
)

_EXAMPLES = (
  prompts.Example("What is 1 + 2?", ("1 + 2 = 3.\n", "The answer is 3.\n")),
)


def test_the_two_styles_word_for_word():
  make = lambda style: prompts.make(
    prompts.PromptConfig(style, 1), "What is 3 + 4?", _EXAMPLES
  )
  assert make("ended") == (
    "Question: What is 1 + 2?\nAnswer:\n1 + 2 = 3.\nThe answer is 3."
    f"{base.END}\nQuestion: What is 3 + 4?\nAnswer:\n",
    (),
  )
  assert make("chat") == (
    "What is 3 + 4?",
    (
      ("user", "What is 1 + 2?"),
      ("assistant", "1 + 2 = 3.\nThe answer is 3."),
      ("user", "What is 3 + 4?"),
    ),
  )


def test_a_style_whose_completions_nothing_would_end_is_refused():
  with pytest.raises(base.TaskError, match="use one of ended, chat"):
    prompts.PromptConfig("blank_line")


@pytest.mark.parametrize("reasoning", prompts.REASONING)
def test_an_instruction_is_there_without_examples_or_if_wanted(reasoning):
  make = lambda *how: prompts.make(
    prompts.PromptConfig(*how), "Why?", _EXAMPLES[: how[1]]
  )
  zero = make("chat", 0, reasoning)[1]
  assert [role for role, _ in zero] == ["system", "user"]
  assert "The answer is N." in zero[0][1]
  assert make("chat", 1, reasoning)[1][0][0] == "user"
  assert make("chat", 1, reasoning, True)[1][0] == zero[0]
  text = make("ended", 0, reasoning)[0]
  assert text == f"{zero[0][1]}\n\nQuestion: Why?\nAnswer:\n"


def test_examples_are_training_problems_that_show_every_operator_in_turn():
  task = word_problems.WordProblems(shots=6, operators="+-*/")
  again = word_problems.WordProblems(shots=6, operators="+-*/")
  assert task.problem("heldout", 0) == again.problem("heldout", 0)
  shown = task.problem("heldout", 0).prompt.split("Question: ")[1:-1]
  assert len(shown) == 6
  for text, operator in zip(shown, "+-*/+-", strict=True):
    assert f" {operator} " in text and text.count(" = ") == 1
  other = word_problems.WordProblems(shots=6, prompt_seed=1)
  assert other.problem("heldout", 0).prompt != task.problem("heldout", 0).prompt
  assert other.problem("heldout", 0).question == (
    task.problem("heldout", 0).question
  )


def test_each_example_answers_its_own_question():
  for name in ("word_problems", "mental_arithmetic"):
    task = registry.make(name, shots=4, prompt_style="chat")
    *turns, _ = task.problem("validation", 0).messages
    for (asker, question), (answerer, text) in zip(
      turns[::2], turns[1::2], strict=True
    ):
      assert (asker, answerer) == ("user", "assistant")
      assert question.endswith("?")
      assert task.extract_answer(text + "\n") is not None


@pytest.mark.parametrize("reasoning", prompts.REASONING)
def test_the_ways_to_reason_in_full(reasoning):
  task = mental_arithmetic.MentalArithmetic(
    terms=3, max_number=9, reasoning=reasoning
  )
  problem = task.problem("train", 3)
  (a, b, c), computations, _ = problem.facts
  assert problem.question == f"What is {a} + {b} + {c}?"
  assert computations == ((a, "+", b, a + b), (a + b, "+", c, a + b + c))
  first, second = f"{a} + {b} = {a + b}.", f"{a + b} + {c} = {a + b + c}."
  lines = {
    "chain": [first, second],
    "least_to_most": [
      f"What is {a} + {b}? {first}",
      f"What is {a + b} + {c}? {second}",
    ],
    "none": [],
  }[reasoning]
  lines.append(f"The answer is {a + b + c}.")
  thoughts = task.demonstration(problem)
  assert list(thoughts) == [f"{line}\n" for line in lines]
  assert task.thought_correct(problem, thoughts) == [True] * len(lines)
  assert task.verify(problem, "".join(thoughts))


@pytest.mark.parametrize(
  ("operation", "operator"),
  [("sum", "+"), ("difference", "-"), ("product", "*")],
)
def test_mental_arithmetic_asks_what_it_says(operation, operator):
  task = mental_arithmetic.MentalArithmetic(operation=operation, shots=1)
  for index in range(40):
    problem = task.problem("validation", index)
    ((left, found, right, result),) = problem.facts[1]
    assert found == operator and problem.answer == str(result)
    assert problem.question == f"What is {left} {operator} {right}?"
    assert result >= 0 and 1 <= min(left, right) <= max(left, right) <= 99
    assert len(problem.prompt) <= task.max_prompt_chars


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    (dict(operation="power"), "use one of sum, difference, product"),
    (dict(operation="difference", terms=3), "set terms to 2"),
    (dict(terms=1), "terms is 1"),
  ],
)
def test_arithmetic_that_there_is_not_is_refused(options, sentence):
  with pytest.raises(base.TaskError, match=sentence):
    mental_arithmetic.MentalArithmetic(**options)
