"""What a method costs: tokens, FLOPs, cache bytes and seconds per problem."""

from __future__ import annotations

import dataclasses
import resource
import sys
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Cost:
  """The cost of solving one problem, or its mean over problems.

  Attributes:
    policy_tokens: Tokens decoded by the policy, discarded branches included.
    prm_tokens: Tokens a reward model of its own read; 0 where the score comes
      from the policy's own pass.
    flops: Floating-point operations of both, `transformer_flops`.
    peak_cache_bytes: Most bytes of keys and values held at one time.
    seconds: Wall time.
  """

  policy_tokens: float = 0.0
  prm_tokens: float = 0.0
  flops: float = 0.0
  peak_cache_bytes: float = 0.0
  seconds: float = 0.0

  def __add__(self, other: Cost) -> Cost:
    """Returns the cost of doing both in turn; the peak is the larger one."""
    return Cost(
      self.policy_tokens + other.policy_tokens,
      self.prm_tokens + other.prm_tokens,
      self.flops + other.flops,
      max(self.peak_cache_bytes, other.peak_cache_bytes),
      self.seconds + other.seconds,
    )

  def scaled(self, samples: float) -> Cost:
    """Returns the cost of `samples` such solutions decoded side by side."""
    return Cost(
      *(samples * value for value in dataclasses.astuple(self)),
    )


def merge(costs: Sequence[Cost], problems: Sequence[int]) -> Cost:
  """Returns the mean per problem over batches of unlike size.

  Args:
    costs: Mean cost per problem of each batch.
    problems: Problems in each batch.

  Returns:
    Means weighted by problems; the peak is the largest of all.
  """
  total = sum(problems)
  if len(costs) != len(problems) or total <= 0 or min(problems) < 0:
    raise ValueError(
      "Costs merge with one problem count each, and at least one problem."
    )
  merged = Cost()
  for cost, count in zip(costs, problems, strict=True):
    weighted = dataclasses.replace(
      cost.scaled(count / total), peak_cache_bytes=cost.peak_cache_bytes
    )
    merged += weighted
  return merged


def transformer_flops(
  parameters: int,
  layers: int,
  width: int,
  tokens: float,
  context: float,
  *,
  training: bool = False,
) -> float:
  """Estimates the floating-point operations of a decoder-only transformer.

    forward = tokens · (2 · parameters + 4 · layers · width · context)

  A weight costs one multiplication and one addition per token. Attention costs
  2 · width per attended position for the scores and as much for the weighted
  sum of values, in every layer. Norms, softmax and activations are left out,
  as in "Training Compute-Optimal Large Language Models" (2203.15556,
  appendix F), and a backward pass counts as two forward ones.

  Args:
    parameters: Weights that a token is multiplied with: all but the embedding
      table. A tied table does serve as the output layer: count it once.
    layers: Attention layers.
    width: Width of all query heads together, H · K (usually D).
    tokens: Tokens computed. Cached ones are not computed again.
    context: Mean positions each of them attends to.
    training: True adds the backward pass.

  Returns:
    An estimate; sampling and masks are not in it.
  """
  forward = tokens * (2.0 * parameters + 4.0 * layers * width * context)
  return 3.0 * forward if training else forward


def peak_rss_bytes() -> int:
  """Returns the most memory this process has held resident so far."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  # Linux counts in KiB, macOS in bytes.
  return peak if sys.platform == "darwin" else peak * 1024
