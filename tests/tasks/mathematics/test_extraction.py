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


@pytest.mark.parametrize(
  ("piece", "end"),
  [
    (r"\boxed{", ""),
    (r"\boxed{1} ", ""),
    ("answer is ", r"\boxed{1}"),
    ("answer is", ""),
    ("the answer: 5 ", ""),
    ("answer  ", ": 5"),
    ("answer: **", r"\boxed{1}"),
    ("a ####", ""),
    ("#", ""),
    ("#### 5\n", ""),
    ("let me re ", ""),
    (" ", "answer is 5"),
    ("{", ""),
    ("\\(", ""),
  ],
)
def test_time_is_bounded_whatever_is_repeated(piece, end):
  text = piece * ((200_000 - len(end)) // len(piece)) + end
  start = time.process_time()
  extract(text)
  # Below 0.1 s; a search from every mark to the end takes minutes.
  assert time.process_time() - start < 0.5


def test_phrases_that_only_lead_to_a_box_are_counted():
  lead = "The answer is found by adding. "
  box = r"The answer is \boxed{5}. "
  most = extraction.MAX_MARKS
  assert extract(lead * (most - 1) + box) == "5"
  assert extract(lead * most + box) is None
  assert extract("The answer is " * most + r"\boxed{5}") == "5"
  assert extract("The answer is " * (most + 1) + r"\boxed{5}") is None


def test_a_phrase_without_an_end_in_sight_states_no_number():
  gap = " " * extraction.MAX_PHRASE
  found = extract("The answer is 5" + gap + "times 3")
  assert found is not None and len(found) > 400  # Too long to be an answer.
  assert extract(r"\boxed{5}. The answer is 5" + gap + "times 3") != "5"


def test_a_phrase_is_found_beside_letters_that_are_not_ascii():
  assert extract("Café. ANSWER: 5") == "5"


def test_a_segment_without_bounds_is_refused():
  long = "x" * extraction.MAX_SEGMENT
  assert extract(long + r"\boxed{5}") is None
  assert extract(long + r"</think>\boxed{5}") == "5"
