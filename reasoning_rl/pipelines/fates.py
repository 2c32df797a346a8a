"""What became of samples that are lost, whatever they thought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from reasoning_rl import types
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import sampler as sampler_lib


class Fates(NamedTuple):
  """Samples that could not be right.

  Attributes:
    truncated_mask: True where a sample found no end.
    unparsed_mask: True where it ended without a final answer.
  """

  truncated_mask: Bool[np.ndarray, " R"]
  unparsed_mask: Bool[np.ndarray, " R"]

  def note(self, what: str) -> str:
    """Returns a sentence on the samples called `what`, "" if none is lost."""
    lost = {
      "found no end": int(self.truncated_mask.sum()),
      "ended without an answer that can be read": int(self.unparsed_mask.sum()),
    }
    said = [f"{count} {how}" for how, count in lost.items() if count]
    if not said:
      return ""
    total = len(self.truncated_mask)
    return f"Of {total} {what}, {' and '.join(said)}; they count as wrong."


def of(experiment: experiment_lib.Experiment, found: types.Trajectory) -> Fates:
  """Returns what became of samples."""
  texts = sampler_lib.texts(
    experiment, found.completion, found.completion_length
  )
  return of_texts(
    texts, [experiment.task.extract_answer(text) for text in texts]
  )


def of_texts(texts: Sequence[str], answers: Sequence[str | None]) -> Fates:
  """Returns what became of samples, from what the verifier reads of them."""
  ended = np.array([text.endswith("\n") for text in texts], bool)
  read = np.array([answer is not None for answer in answers], bool)
  return Fates(~ended, ended & ~read)
