"""Tests of `reasoning_rl.data.renaming`."""

import dataclasses

import numpy as np

from reasoning_rl.data import renaming, tokenizers
from reasoning_rl.tasks import arithmetic

_TASK = arithmetic.Arithmetic(modulus=10)
_TOKENIZER = tokenizers.CharacterTokenizer(_TASK.alphabet)
_IDS = np.array(_TOKENIZER.encode(_TASK.interchangeable))


def _rows(count):
  problems = [_TASK.problem("train", 0)] * count
  texts = [p.prompt + "".join(_TASK.demonstration(p)) for p in problems]
  return np.array([_TOKENIZER.encode(text) for text in texts])


def test_every_row_is_permuted_in_its_own_way_and_by_the_seed():
  tokens = _rows(50)
  renamed = renaming.rename(tokens, _IDS, (0, 1))
  assert len({tuple(row) for row in renamed}) > 45
  np.testing.assert_array_equal(renamed, renaming.rename(tokens, _IDS, (0, 1)))
  assert (renamed != renaming.rename(tokens, _IDS, (0, 2))).any()


def test_only_interchangeable_ids_change_and_each_into_one():
  tokens = _rows(20)
  renamed = renaming.rename(tokens, _IDS, (3,))
  fixed = ~np.isin(tokens, _IDS)
  np.testing.assert_array_equal(renamed[fixed], tokens[fixed])
  for before, after in zip(tokens, renamed, strict=True):
    pairs = set(zip(before.tolist(), after.tolist(), strict=True))
    assert len(pairs) == len(set(before.tolist())) == len(set(after.tolist()))


def test_a_task_without_names_keeps_its_rows():
  tokens = _rows(2)
  assert renaming.rename(tokens, np.zeros(0, np.int32), (0,)) is tokens


def test_a_renamed_solution_solves_the_renamed_problem_in_every_thought():
  problem = _TASK.problem("train", 5)
  prompt = _TOKENIZER.encode(problem.prompt)
  solution = _TOKENIZER.encode("".join(_TASK.demonstration(problem)))
  renamed = renaming.rename(np.array([prompt + solution]), _IDS, (4,))[0]
  text = _TOKENIZER.decode(renamed.tolist())
  name = dict(zip(problem.prompt, text[: len(problem.prompt)], strict=True))
  rename = lambda part: (
    tuple(map(rename, part))
    if isinstance(part, tuple)
    else name.get(part, part)
  )
  other = dataclasses.replace(
    problem, prompt=text[: len(prompt)], facts=rename(problem.facts)
  )
  thoughts = text[len(prompt) :].splitlines(keepends=True)
  assert other.prompt != problem.prompt
  assert all(_TASK.thought_correct(other, thoughts))
  assert _TASK.verify(other, "".join(thoughts))
