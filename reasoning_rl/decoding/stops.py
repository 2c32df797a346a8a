"""What ends a row of a decoding loop."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from reasoning_rl.data import boundaries


@dataclasses.dataclass(frozen=True)
class Stops:
  """What ends a row, other than the limit of its tokens.

  Attributes:
    end_ids: Tokens that end a row and belong to it.
    boundary: What ends a thought; None: rows are not made of thoughts.
    one_thought: Whether the row ends with its first thought.
    max_thought_tokens: Most tokens in a thought; a longer one ends its row.
  """

  end_ids: tuple[int, ...]
  boundary: boundaries.Boundary | None = None
  one_thought: bool = False
  max_thought_tokens: int | None = None

  def __post_init__(self):
    """Refuses limits of thoughts whose end is not known."""
    limited = self.one_thought or self.max_thought_tokens is not None
    if limited and self.boundary is None:
      raise ValueError("thoughts have a limit and no boundary; give one.")

  @property
  def single_ids(self) -> tuple[int, ...]:
    """The ids that end a row whatever stands before them."""
    if not self.one_thought:
      return self.end_ids
    return (*self.boundary.single_ids, *self.end_ids)


def go_on(
  stops: Stops,
  token: Int[Array, " R"],
  active: Bool[Array, " R"],
  thought: boundaries.Progress,
) -> tuple[Bool[Array, " R"], Bool[Array, " R"], boundaries.Progress]:
  """Returns which rows `token` stops, which go on, and their thoughts.

  Args:
    stops: What ends a row.
    token: The newest token of each row.
    active: Rows that it belongs to.
    thought: How far each row is in its thought before it.
  """
  stopped = jnp.isin(token, jnp.asarray(stops.single_ids)) & active
  boundary = stops.boundary
  if stops.one_thought and not boundary.is_simple:
    ended, thought = boundaries.advance(boundary, thought, token)
    stopped |= ended & active
  elif stops.max_thought_tokens is not None:
    _, thought = boundaries.advance(boundary, thought, token)
  still = active & ~stopped
  if stops.max_thought_tokens is not None:
    still &= thought.length < stops.max_thought_tokens
  return stopped, still, thought
