"""An on-device check of a final "=..." thought with a fixed-width answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from reasoning_rl import masking
from reasoning_rl.tasks import base


def make(
  encode: Callable[[str], list[int]], end_id: int, answers: Iterable[str]
) -> base.AnswerCheck:
  """Returns a check that can be jitted.

  The check demands that the completion ends in "=", the answer and the end
  token, that this thought starts where another one ended (or at the start),
  that no earlier thought opens with "=", and that the only end token is the
  last. The end token stands for the newline that closes the last thought (see
  `base`): with a newline before it, the last thought would be an empty one, and
  the check refuses. It does not read the thoughts before: on completions whose
  thoughts are all well-formed it agrees with the host's verifier, which stays
  the authority on every other text.

  Args:
    encode: Text to token ids, with nothing added.
    end_id: Id of the end-of-text token, counted in the completion's length.
    answers: Answers in which every number occurs at every place.

  Returns:
    `check(completion, completion_length, answer)`; the rows of `answer` are
    `encode(problem.answer)`.
  """
  newline, equals, width = _ids(encode, answers)

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
    inside = masking.length_mask(completion_length, size)
    previous = jnp.pad(
      completion[:, :-1], ((0, 0), (1, 0)), constant_values=newline
    )
    opens = inside & (completion == equals) & (previous == newline)
    start = completion_length - (width + 2)  # Of "=", answer, end token.
    # If the first opening is the final answer's, there is no other: an answer
    # holds no newline.
    opens_once = jnp.any(opens, axis=1) & (jnp.argmax(opens, axis=1) == start)
    ends_once = jnp.sum(inside & (completion == end_id), axis=1) == 1
    expected = jnp.pad(answer, ((0, 0), (0, 1)), constant_values=end_id)
    # Clipping keeps the gather in bounds; where it acts, `opens_once` is False.
    position = start[:, None] + 1 + jnp.arange(width + 1)[None]
    final = jnp.take_along_axis(
      completion, jnp.clip(position, 0, size - 1), axis=1
    )
    return opens_once & ends_once & jnp.all(final == expected, axis=1)

  return check


def _ids(
  encode: Callable[[str], list[int]], answers: Iterable[str]
) -> tuple[int, int, int]:
  """Returns the ids of newline and "=", and the tokens of an answer."""
  newline, equals = encode("\n"), encode("=")
  widths = set()
  for answer in answers:
    tokens = encode(answer)
    widths.add(len(tokens))
    # Where pieces merge across these borders, equal text can be other tokens:
    # an earlier "=..." would not be seen after a merged newline.
    if encode(f"\n={answer}\n") != newline + equals + tokens + newline:
      widths.add(-1)
  if len(newline) != 1 or len(equals) != 1 or len(widths) != 1 or -1 in widths:
    raise ValueError(
      "the on-device answer check needs a tokenizer that gives newline and '=' "
      "a token each and every answer the same number of tokens: use a character"
      " tokenizer, or verify on the host"
    )
  return newline[0], equals[0], widths.pop()
