"""Final answers in free text, most of them made to deceive."""

import time

import pytest

from reasoning_rl.tasks import final_answer

_UNITS = ("apples", "dollars", "grams")

_GIVEN = {
  "The answer is 7.": "7",
  "The answer is 7": "7",
  "the answer is 7.\n": "7",
  "The final answer is 7.": "7",
  "The correct answer is: 7": "7",
  "Final answer: 7": "7",
  "Answer: 7.": "7",
  "So the answer is 7.": "7",
  "Therefore, the final answer is 7.": "7",
  "Tom has 3 + 4 = 7 apples. The answer is 7.": "7",
  "3 + 4 = 7.\nThe answer is 7.": "7",
  "#### 7": "7",
  "####7": "7",
  "\\boxed{7}": "7",
  "$\\boxed{7}$.": "7",
  "The answer is \\boxed{7}.": "7",
  "The answer is $\\boxed{7}$.": "7",
  "The answer is 7 apples.": "7",
  "The answer is $7.": "7",
  "The answer is 7 dollars.": "7",
  "The answer is 7.0.": "7",
  "The answer is 7.50 grams.": "7.5",
  "The answer is 1,200.": "1200",
  "The answer is 1,234,567.00": "1234567",
  "The answer is -7.": "-7",
  "The answer is +7.": "7",
  "The answer is -0.": "0",
  "The answer is 0.": "0",
  "The answer is 100.": "100",
  "The answer is 7.\nThe answer is 7.": "7",
  "The answer is 7.\n#### 7.0": "7",
  "   The answer is 7.   \n\n": "7",
  "To find the answer, we add.\nThe answer is 7.": "7",
  "The answer is the sum.\n3 + 4 = 7\nThe answer is 7.": "7",
  "<think>The answer is 9.</think>\nThe answer is 7.": "7",
}

_NONE = [
  "",
  "\n",
  "7",
  "7.",
  "= 7",
  "The answer is",
  "The answer is .",
  "The answer is seven.",
  "The answer is N.",
  "The answer is 3 + 4 = 7.",
  "The answer is 3 + 4.",
  "The answer is 5=4.",
  "The answer is 7 or 8.",
  "The answer is 7, 8.",
  "The answer is 7 and 8.",
  "The answer is 7 8.",
  "The answer is between 6 and 8.",
  "The answer is not 7.",
  "The answer isn't 7.",
  "The answer is about 7.",
  "The answer is probably 7.",
  "The answer is maybe 7.",
  "The answer is 7?",
  "The answer is 7!",
  "The answer is 7%.",
  "The answer is 7/2.",
  "The answer is 7e2.",
  "The answer is 7^2.",
  "The answer is 7**2.",
  "The answer is 7x.",
  "The answer is 7 hundred.",
  "The answer is 7 dozen apples.",
  "The answer is 7 bananas.",
  "The answer is 7 apples or 8 apples.",
  "The answer is 7 apples, I think.",
  "The answer is 07.",
  "The answer is 1,23.",
  "The answer is 1,2345.",
  "The answer is 12,34,567.",
  "The answer is 7,.",
  "The answer is 7..",
  "The answer is .7",
  "The answer is --7.",
  "The answer is - 7.",
  "The answer is −7.",
  "The answer is ７.",
  "The answer is ٧.",
  "The answer is 7\x00.",
  "The answer is 7\r",
  "The answer is 7\u2028The answer is 8",
  "The answer is €7.",
  "The answer is inf.",
  "The answer is nan.",
  "The answer is 0x7.",
  "The answer is " + "9" * 31 + ".",
  "The answer is 7.\nThe answer is 8.",
  "The answer is 7. The answer is 8.",
  "The answer is 7. The answer is 7.",
  "The answer is 8.\n#### 7",
  "\\boxed{7} \\boxed{8}",
  "\\boxed{7}\n\\boxed{8}",
  "\\boxed{7, 8}",
  "\\boxed{\\frac{7}{2}}",
  "\\boxed{7",
  "\\boxed{}",
  "\\fbox{7}",
  "$\\boxed{7}",
  "The answer is not 8.\nThe answer is 7.",
  "To find the answer, we add 3.\nThe answer is 7.",
  "The answer is ٨.\nThe answer is 7.",
  "The answer is 7.\nTo find the answer, we add.",
  "To find the answer, we add.\nThe answer is 7.\nThe answer is 8.",
  "The answer is 7.\nNo, wait.",
  "The answer is 7.\nOr is it?",
  "The answer is 7. Or maybe 8.",
  "The answer is 7 because 3 + 4 = 7.",
  "I doubt that the answer is 7.",
  "It is false that the answer is 7.",
  "If 3 + 4 = 8, the answer is 7.",
  "Is the answer 7?",
  "My answers: 7",
  "Nonanswer: 7",
  "#### 7 #### 8",
  "####",
  "### 7",
  "#### 7\n5 ... final answer is 4 ...",
  "<think>The answer is 7.",
  "<think>The answer is 7.</think>",
  "The answer is 7.</think>",
  "The answer is 7.</think><think>",
  "The answer is\n7.",
  "**The answer is 7.**",
  "The answer is {}.",
]


@pytest.mark.parametrize("text", _GIVEN)
def test_one_number_plainly_stated_is_the_answer(text):
  assert final_answer.extract(text, _UNITS) == _GIVEN[text]


@pytest.mark.parametrize("text", _NONE)
def test_whatever_is_in_doubt_is_no_answer(text):
  assert final_answer.extract(text, _UNITS) is None


def test_units_are_those_that_are_named():
  assert final_answer.extract("The answer is 7 apples.") is None
  assert final_answer.extract("The answer is $7.") is None
  assert final_answer.extract("The answer is 7 grams.", ("grams",)) == "7"


@pytest.mark.parametrize("other", ["11", "1.1", "1,111", "-1", "10", "01"])
def test_no_longer_number_is_taken_for_one_in_it(other):
  assert final_answer.extract(f"The answer is {other}.") != "1"
  assert final_answer.extract("The answer is 1.") != other


@pytest.mark.parametrize(
  ("number", "form"),
  [
    ("1200", "1200"),
    ("1200.00", "1200"),
    ("0.50", "0.5"),
    ("+0.0", "0"),
    ("-2.10", "-2.1"),
    ("00", None),
    ("-01", None),
    ("1e5", None),
    ("NaN", None),
    ("1_000", None),
  ],
)
def test_a_number_has_one_form(number, form):
  assert final_answer.canonical(number) == form


@pytest.mark.parametrize(
  "text",
  [
    "The answer is " * 20_000,
    ". " * 50_000 + "The answer is 7.",
    "The answer is " + "1," * 50_000,
    "The answer is 7" + " " * 100_000 + "x",
    "a. " * 50_000 + "answer",
    "\\boxed{" * 30_000,
    "<think>" * 30_000,
    "answer\n" * 30_000,
  ],
)
def test_a_long_text_takes_no_longer_than_its_length(text):
  begin = time.monotonic()
  final_answer.extract(text, _UNITS)
  assert time.monotonic() - begin < 2
