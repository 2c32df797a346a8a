"""What all prompts of a run begin with: instructions and worked examples.

It is computed once for all rows (see `decoding/prompts.py`), so it must be the
same in every run of a config, whatever problems come first: it is found from
the first problems of the training and the validation split. A batch with a
prompt that begins otherwise shares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int

from reasoning_rl.tasks import base as task_base

_PROBLEMS = {"train": 24, "validation": 8}


def first_problems(task: task_base.Task) -> Iterator[task_base.Problem]:
  """Yields the problems whose prompts are compared, of the splits there are."""
  for split, count in _PROBLEMS.items():
    try:
      yield task.problem(split, 0)
    except task_base.TaskError:  # The task has no such problems.
      continue
    for index in range(1, count):
      yield task.problem(split, index)


def common(
  prompts: Iterable[Sequence[int]], least: int, text: Callable[[list[int]], str]
) -> Int[np.ndarray, " Lp"]:
  """Returns the tokens that all prompts begin with, in whole lines.

  What follows them may begin alike by chance in the prompts compared, and not
  in another, so they end with a line or with a control token. Every prompt goes
  on after them.

  Args:
    prompts: Token ids.
    least: Fewer are none.
    text: A tokenizer's `decode`; control tokens have no text.
  """
  found: list[int] | None = None
  for prompt in prompts:
    if found is None:
      found = list(prompt)
    most = min(len(found), len(prompt) - 1)
    same = np.not_equal(found[:most], prompt[:most])
    found = found[: int(same.argmax()) if same.any() else most]
    if len(found) < least:
      break
  found = found or []
  while found and not _ends_line(text(found[-1:])):
    found.pop()
  return np.array(found if len(found) >= least else [], np.int32)


def _ends_line(text: str) -> bool:
  return not text or text.endswith("\n")


def count(
  common_ids: Int[np.ndarray, " Lp"],
  tokens: Int[np.ndarray, "B _"],
  length: Int[np.ndarray, " B"],
) -> int:
  """Returns how many tokens the rows share: all of `common_ids`, or none.

  Args:
    common_ids: From `common`.
    tokens: Rows that begin with prompts, right-padded.
    length: Real tokens of the prompts, or of the rows.
  """
  size = len(common_ids)
  if size >= tokens.shape[1] or (length <= size).any():
    return 0
  return size if (tokens[:, :size] == common_ids[None]).all() else 0
