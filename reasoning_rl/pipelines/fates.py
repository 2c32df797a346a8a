"""What became of samples, other than right and wrong.

A sample that found no end may still be right where the task needs none, as a
program that its first line outside ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from reasoning_rl import types
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import sampler as sampler_lib


class Fates(NamedTuple):
  """What became of some samples.

  Attributes:
    truncated_mask: True where a sample found no end.
    unparsed_mask: True where it ended without a final answer.
    undecided_mask: True where the verifier does not know.
  """

  truncated_mask: Bool[np.ndarray, " R"]
  unparsed_mask: Bool[np.ndarray, " R"]
  undecided_mask: Bool[np.ndarray, " R"]

  def note(self, what: str) -> str:
    """Returns a sentence on samples called `what`, "" if all is well."""
    lost = {
      "found no end": int(self.truncated_mask.sum()),
      "ended without an answer that can be read": int(self.unparsed_mask.sum()),
      "are undecided and count as not right": int(self.undecided_mask.sum()),
    }
    said = [f"{count} {how}" for how, count in lost.items() if count]
    if not said:
      return ""
    total = len(self.truncated_mask)
    lists = ", ".join(said[:-1]) + (" and " if said[1:] else "") + said[-1]
    return f"Of {total} {what}, {lists}."


def of(
  experiment: experiment_lib.Experiment,
  found: types.Trajectory,
  decided_mask: Bool[np.ndarray, " R"] | None = None,
) -> Fates:
  """Returns what became of samples.

  Args:
    experiment: The run.
    found: The samples.
    decided_mask: True where the verdict is not undecided; None: everywhere.
  """
  texts = sampler_lib.texts(
    experiment, found.completion, found.completion_length
  )
  answers = [experiment.task.extract_answer(text) for text in texts]
  return of_texts(texts, answers, decided_mask)


def of_texts(
  texts: Sequence[str],
  answers: Sequence[str | None],
  decided_mask: Bool[np.ndarray, " R"] | None = None,
) -> Fates:
  """Returns what became of samples, from what the verifier reads of them."""
  ended = np.array([text.endswith("\n") for text in texts], bool)
  read = np.array([answer is not None for answer in answers], bool)
  if decided_mask is None:
    decided_mask = np.ones(len(texts), bool)
  return Fates(~ended, ended & ~read, ~decided_mask)
