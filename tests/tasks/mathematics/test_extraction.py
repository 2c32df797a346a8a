"""Which answer of a completion counts."""

from __future__ import annotations

import time

import pytest

from reasoning_rl.tasks.mathematics import extraction

extract = extraction.extract


@pytest.mark.parametrize(
  ("completion", "answer"),
  [
    (r"So it is \boxed{5}.", "5"),
    ("2+3=5\n#### 5", "5"),
    ("The answer is 5.", "5"),
    ("Answer: 5", "5"),
    ("The answer is 3.5.", "3.5"),
    (r"The answer is $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"$$\boxed{x^{2}}$$", "x^{2}"),
    ("ok\n\\boxed{5}", "5"),
    (r"\text{Answer: }\boxed{5}", "5"),
    (r"\Rightarrow \boxed{5}", "5"),
    (r"**\boxed{5}**", "5"),
    (r"\boxed{5}\%", "5%"),
    ("#### Step 1: add\n2+3=5\n#### 5", "5"),
    ("<think>\\boxed{4}</think>The answer is 5.", "5"),
    (r"The answer is found by adding. \boxed{5}", "5"),
    (r"So \boxed{0.5}, as $\boxed{\frac12}$", r"\frac12"),
  ],
)
def test_the_marked_answer_is_found(completion, answer):
  assert extract(completion) == answer


def test_what_a_cut_may_have_shortened_is_no_answer():
  assert extract("#### 12", truncated=True) is None
  assert extract("The answer is 12", truncated=True) is None
  assert extract("#### 12\n", truncated=True) == "12"
  assert extract("The answer is 12. So", truncated=True) == "12"
  assert extract(r"\boxed{12}", truncated=True) == "12"
  assert extract(r"\boxed{12", truncated=True) is None
  assert extract("#### 12") == "12"


def test_an_echo_of_the_prompt_is_not_searched():
  prompt = "What is 2+3?\nExample: 1+1.\n#### 2\nNow 2+3.\n"
  assert extract(prompt + "I do not know", prompt) is None
  assert extract(prompt + "#### 5", prompt) == "5"
  assert extract("#### 5\n" + prompt, prompt) == "5"
  assert extract("#### 5", "5") == "5"  # Too short to be an echo.


def test_time_grows_with_the_length_and_no_faster():
  for piece in (r"\boxed{", "answer is ", "####", "the answer: 5 ", "{", "\\("):
    start = time.process_time()
    extract(piece * (100_000 // len(piece)))
    assert time.process_time() - start < 1.0, piece


def test_a_segment_without_bounds_is_refused():
  long = "x" * extraction.MAX_SEGMENT
  assert extract(long + r"\boxed{5}") is None
  assert extract(long + r"</think>\boxed{5}") == "5"
