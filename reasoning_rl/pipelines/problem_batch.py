"""Problems as the networks read them."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int

from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base


@dataclasses.dataclass(frozen=True)
class ProblemBatch:
  """Problems and their prompts as tokens.

  Attributes:
    problems: The problems.
    prompt: Prompt token ids, right-padded.
    prompt_length: Real prompt tokens.
    problem_id: Each problem's index in its split.
    answer: Answer token ids, right-padded.
    shared: First tokens of the prompts that are the same in every batch.

  Raises:
    ConfigError: If a prompt is empty: there is nothing to go on from.
  """

  problems: tuple[task_base.Problem, ...]
  prompt: Int[np.ndarray, "B Lp"]
  prompt_length: Int[np.ndarray, " B"]
  problem_id: Int[np.ndarray, " B"]
  answer: Int[np.ndarray, "B La"]
  shared: int = 0

  def __post_init__(self):
    """Refuses empty prompts, which a sampler could not tell from padding."""
    empty = self.problem_id[self.prompt_length < 1]
    if len(empty):
      raise ConfigError(
        f"problem {empty[0]} has an empty prompt: give it at least one token."
      )

  def __len__(self) -> int:
    """Returns the number of problems."""
    return len(self.problems)
