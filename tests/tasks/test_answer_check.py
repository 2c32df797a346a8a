"""Tests of the on-device answer check."""

import jax
import numpy as np
import pytest

from reasoning_rl.tasks import answer_check, arithmetic

_TASK = arithmetic.Arithmetic(asked=2)
_ALPHABET = _TASK.alphabet
_END = len(_ALPHABET)
_PAD = _END  # Padding that looks like the end token must not matter.
_SIZE = 80


def _encode(text):
  return [_ALPHABET.index(character) for character in text]


def _run(completions, answers):
  """Checks texts as the verifier reads them; the end stands for a newline."""
  assert all(text.endswith("\n") for text in completions)
  rows = [_encode(text[:-1]) + [_END] for text in completions]
  return _run_tokens(rows, answers)


def _run_tokens(rows, answers):
  tokens = np.full((len(rows), _SIZE), _PAD, np.int32)
  for row, ids in zip(tokens, rows, strict=True):
    row[: len(ids)] = ids
  check = jax.jit(_TASK.make_answer_check(_encode, _END))
  lengths = np.array([len(ids) for ids in rows], np.int32)
  return np.asarray(
    check(tokens, lengths, np.array([_encode(a) for a in answers], np.int32))
  )


def test_it_agrees_with_the_verifier_on_chosen_completions():
  rng = np.random.default_rng(0)
  cases = []
  for index in range(40):
    problem = _TASK.problem("train", index)
    *chain, answer = _TASK.demonstration(problem)
    wrong = problem.answer[::-1]
    cases += [
      (problem, "".join([*chain, answer])),
      (problem, "".join([*chain[: rng.integers(4)], answer])),
      (problem, "".join([*chain, f"={wrong}\n"])),
      (problem, "".join([*chain, answer, answer])),
      (problem, "".join([f"={wrong}\n", answer])),
      (problem, "".join([answer, *chain])),
      (problem, "".join([answer, *chain, answer])),
      (problem, "".join([*chain, answer, "\n"])),
      (problem, "".join([*chain, answer[1:]])),
      (problem, "".join([*chain, "=", answer])),
      (problem, "".join([*chain, "=0", answer[1:]])),
      (problem, "".join(chain)[:-1] + answer),
      (problem, "".join(chain)),
      (problem, answer),
      (problem, "+" + answer[1:]),
      (problem, "".join([chain[0][1:], *chain[1:], answer])),
      (problem, "".join([chain[0].replace("=", "+"), answer])),
      (problem, "".join([chain[0], chain[1][:3] + answer])),
      (problem, "\n"),
    ]
  completions = [completion for _, completion in cases]
  verdicts = _run(completions, [problem.answer for problem, _ in cases])
  expected = [_TASK.verify(problem, text) for problem, text in cases]
  np.testing.assert_array_equal(verdicts, expected)
  assert 80 < sum(expected) < len(cases) - 80


def test_it_agrees_with_the_verifier_on_damaged_completions():
  rng = np.random.default_rng(1)
  cases = []
  for index in range(200):
    problem = _TASK.problem("train", index)
    text = [*"".join(_TASK.demonstration(problem))[:-1]]
    for _ in range(rng.integers(1, 4)):
      # Most damage is done before the answer, so that answers stay right.
      at = rng.integers(len(text) - rng.choice([0, 6]))
      same = str.isdigit if text[at].isdigit() else str.isalpha
      alike = [c for c in _ALPHABET if same(c)]
      character = rng.choice(alike if rng.random() < 0.8 else [*_ALPHABET])
      edit = rng.choice(3, p=(0.1, 0.8, 0.1))
      text[at : at + (edit > 0)] = [character] if edit < 2 else []
    cases.append((problem, "".join(text) + "\n"))
  verdicts = _run([text for _, text in cases], [p.answer for p, _ in cases])
  expected = [_TASK.verify(problem, text) for problem, text in cases]
  np.testing.assert_array_equal(verdicts, expected)
  assert 10 < sum(expected) < 150


def test_a_completion_without_its_end_token_is_wrong():
  problem = _TASK.problem("train", 0)
  text = "".join(_TASK.demonstration(problem))
  rows = [_encode(text[:-1]) + [_END], _encode(text[:-1]), _encode(text)]
  right = _run_tokens(rows, [problem.answer] * 3)
  assert right.tolist() == [True, False, False]


def test_a_newline_before_the_end_token_is_wrong_here_and_for_the_verifier():
  problem = _TASK.problem("train", 0)
  text = "".join(_TASK.demonstration(problem))
  # As tokens "...=12 34\n<end>": the end token closes an empty thought.
  assert not _run_tokens([_encode(text) + [_END]], [problem.answer]).any()
  assert _TASK.verify(problem, text)
  assert not _TASK.verify(problem, text + "\n")
  assert _TASK.extract_answer(text + "\n") is None


def test_a_second_end_token_is_wrong():
  tokens = np.full((1, _SIZE), _END, np.int32)
  ids = _encode("\n=12 34")
  tokens[0, 1 : 1 + len(ids)] = ids
  check = jax.jit(_TASK.make_answer_check(_encode, _END))
  answer = np.array([_encode("12 34")], np.int32)
  assert not check(tokens, np.array([len(ids) + 2]), answer)[0]
  # The same row from its "=" on is right.
  assert check(tokens[:, 2:], np.array([len(ids)]), answer)[0]


def test_a_row_shorter_than_an_answer_is_wrong():
  check = jax.jit(_TASK.make_answer_check(_encode, _END))
  answer = np.array([_encode("12 34")], np.int32)
  tokens = np.array([_encode("34") + [_END]], np.int32)
  assert not check(tokens, np.array([3]), answer)[0]


def test_answers_of_another_width_are_refused():
  check = _TASK.make_answer_check(_encode, _END)
  with pytest.raises(ValueError, match="2 tokens, the check was made for 5"):
    check(np.zeros((1, 9), np.int32), np.array([9]), np.zeros((1, 2), np.int32))


def _merging(text):
  return [ord(c) for c in text.replace("\n=", "\x01").replace("12", "\x02")]


@pytest.mark.parametrize("answers", [["12", "34"], ["34"]])
def test_a_tokenizer_that_merges_across_borders_is_refused(answers):
  with pytest.raises(ValueError, match="use a character tokenizer"):
    answer_check.make(_merging, 0, answers, ["a", "\n"])
