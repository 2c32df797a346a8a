"""Somebody who demonstrates arithmetic and misremembers some of it.

A policy that imitates right solutions alone has nothing left to correct, and
how far it gets is a matter of when it happens to grasp the task. One that
imitates an imperfect demonstrator inherits habits that more demonstrations only
confirm: what corrects them is the check of final answers.

Each computation, as in 3 + 4, is either known or not. One that is not has one
wrong result of its own, and the demonstrator gives it with a probability of its
own, evenly spread from 0.1 to 0.9. So in half of them the right result is the
more frequent one, which a vote finds, and in the others it is not.
"""

from __future__ import annotations

import dataclasses
import functools

from reasoning_rl.tasks import base

ERROR_RATES = (100, 900)  # Least and most, in permille.
_PERMILLE = 1000
# Distinguish these streams of draws from those of the problems.
_FACTS, _SLIPS = 101, 102


@dataclasses.dataclass(frozen=True)
class Memory:
  """What a demonstrator takes for the results of computations.

  Attributes:
    seed: Of what is misremembered, and of the slips.
    modulus: Results are in [0, modulus).
    misremembered: Share of the computations that are not known.
  """

  seed: int
  modulus: int
  misremembered: float

  def belief(self, fact: tuple[int, str, int], true: int) -> tuple[int, int]:
    """Returns a computation's wrong result and, in permille, its frequency.

    Args:
      fact: (left value, operator, right value).
      true: The right result, which is returned with 0 where it is known.
    """
    return _belief(self.seed, self.modulus, self.misremembered, fact, true)

  def recall(
    self, problem_id: int, place: int, fact: tuple[int, str, int], true: int
  ) -> int:
    """Returns the result given in one problem, the same at every call.

    Args:
      problem_id: The problem's index.
      place: The computation's place in the solution.
      fact: (left value, operator, right value).
      true: The right result.
    """
    wrong, error_rate = self.belief(fact, true)
    slips = base.Draws(self.seed, _SLIPS, problem_id, place)
    return wrong if slips.below(_PERMILLE) < error_rate else true


@functools.lru_cache(maxsize=100_000)
def _belief(seed, modulus, misremembered, fact, true) -> tuple[int, int]:
  left, operator, right = fact
  rates = _error_rates(seed, modulus, misremembered, operator)
  rate = rates.get((left, right), 0)
  if not rate:
    return true, 0
  about = base.Draws(seed, _FACTS, modulus, left, ord(operator), right)
  return (true + 1 + about.below(modulus - 1)) % modulus, rate


@functools.lru_cache(maxsize=100)
def _error_rates(seed, modulus, misremembered, operator):
  """Returns, in permille, how often each unknown computation goes wrong.

  Exactly the share that is asked for, rates exactly even: what differs between
  seeds is which computations they are.
  """
  values = range(modulus)
  draws = base.Draws(seed, _FACTS, modulus, ord(operator))
  order = draws.shuffled([(left, right) for left in values for right in values])
  unknown = order[: round(misremembered * len(order))]
  low, high = ERROR_RATES
  steps = max(1, len(unknown) - 1)
  return {
    pair: low + (high - low) * rank // steps
    for rank, pair in enumerate(unknown)
  }
