"""An on-device verifier of fixed-width thoughts and a final "=..." thought."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from reasoning_rl import masking
from reasoning_rl.tasks import base


def make(
  encode: Callable[[str], list[int]],
  end_id: int,
  answers: Iterable[str],
  thought: Sequence[str],
) -> base.AnswerCheck:
  """Returns a verifier that can be jitted.

  It accepts any number of well-formed thoughts followed by "=", the answer and
  the end token, and nothing else: exactly what a host verifier accepts whose
  thoughts are written as `thought` says. The end token stands for the newline
  that closes the last thought (see `base`).

  Args:
    encode: Text to token ids, with nothing added.
    end_id: Id of the end-of-text token, counted in the completion's length.
    answers: Answers in which every number occurs at every place.
    thought: The characters allowed at each place of a thought, its newline
      included; no "=" at the first place.

  Returns:
    `check(completion, completion_length, answer)`; the rows of `answer` are
    `encode(problem.answer)`.
  """
  equals, width = _ids(encode, answers)
  allowed = _allowed_ids(encode, thought)

  def check(
    completion: Int[Array, "B L"],
    completion_length: Int[Array, " B"],
    answer: Int[Array, "B La"],
  ) -> Bool[Array, " B"]:
    if answer.shape[1] != width:
      raise ValueError(
        f"answers have {answer.shape[1]} tokens, the check was made for {width}"
      )
    size = completion.shape[1]
    start = completion_length - (width + 2)  # Of "=", answer, end token.
    at = allowed[None, np.arange(size) % len(allowed)]
    fits = jnp.any(completion[..., None] == at, axis=-1)
    well_formed = jnp.all(fits | ~masking.length_mask(start, size), axis=1)
    well_formed &= (start >= 0) & (start % len(allowed) == 0)
    expected = jnp.pad(answer, ((0, 0), (1, 0)), constant_values=equals)
    expected = jnp.pad(expected, ((0, 0), (0, 1)), constant_values=end_id)
    # Clipping keeps the gather in bounds; where it acts, `start` is negative.
    position = start[:, None] + jnp.arange(width + 2)[None]
    final = jnp.take_along_axis(
      completion, jnp.clip(position, 0, size - 1), axis=1
    )
    return well_formed & jnp.all(final == expected, axis=1)

  return check


def _ids(
  encode: Callable[[str], list[int]], answers: Iterable[str]
) -> tuple[int, int]:
  """Returns the id of "=", and the tokens of an answer."""
  newline, equals = encode("\n"), encode("=")
  widths = set()
  for answer in answers:
    tokens = encode(answer)
    widths.add(len(tokens))
    # Where pieces merge across these borders, equal text can be other tokens.
    if encode(f"\n={answer}\n") != newline + equals + tokens + newline:
      widths.add(-1)
  if len(newline) != 1 or len(equals) != 1 or len(widths) != 1 or -1 in widths:
    raise _needs_characters()
  return equals[0], widths.pop()


def _allowed_ids(
  encode: Callable[[str], list[int]], thought: Sequence[str]
) -> Int[np.ndarray, "P A"]:
  """Returns the ids that each place allows, filled up with one of them."""
  ids = [[encode(character) for character in place] for place in thought]
  if any(len(tokens) != 1 for place in ids for tokens in place):
    raise _needs_characters()
  width = max(map(len, ids))
  rows = [[tokens[0] for tokens in place] for place in ids]
  return np.array([row + row[:1] * (width - len(row)) for row in rows])


def _needs_characters() -> ValueError:
  return ValueError(
    "the on-device answer check needs a tokenizer that gives every character of"
    " a thought, newline and '=' a token each and every answer the same number"
    " of tokens: use a character tokenizer, or verify on the host"
  )
