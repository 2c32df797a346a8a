"""Tests of `reasoning_rl.data.thoughts`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoning_rl.data import boundaries, thoughts

NEWLINE, END = 2, 1
SIZE, ROWS, THOUGHTS = 9, 4, 3


@functools.partial(jax.jit, static_argnames="max_thoughts")
def spans(tokens, length, max_thoughts=THOUGHTS):
  thought_end, count = thoughts.thought_spans(
    tokens, length, boundaries.single(NEWLINE), (END,), max_thoughts
  )
  span = thoughts.span_of_position(thought_end, count, length, tokens.shape[1])
  return thought_end, count, span


def reference(row, length, max_thoughts):
  """Splits one row by walking over it: a list of lists of positions."""
  found, current = [], []
  for position in range(length):
    token = row[position]
    is_last = position == length - 1
    if token == END and is_last and not current and found:
      found[-1].append(position)
      continue
    current.append(position)
    if token == NEWLINE or is_last:
      found.append(current)
      current = []
  head, rest = found[: max_thoughts - 1], found[max_thoughts - 1 :]
  return [*head, sum(rest, [])] if rest else head


def check(tokens, length):
  tokens, length = np.array(tokens), np.array(length)
  thought_end, count, span = jax.tree.map(np.asarray, spans(tokens, length))
  for row in range(len(tokens)):
    expected = reference(tokens[row], length[row], THOUGHTS)
    assert count[row] == len(expected)
    ends = [group[-1] for group in expected]
    padding = [0] * (THOUGHTS - len(ends))
    np.testing.assert_array_equal(thought_end[row], ends + padding)
    expected_span = np.zeros(SIZE, int)
    for index, group in enumerate(expected):
      expected_span[group] = index
    np.testing.assert_array_equal(span[row], expected_span)


def test_spans_of_hand_worked_rows():
  tokens = jnp.array(
    [
      [5, 2, 5, 5, 2, 1, 0, 0, 0],  # The end joins the second thought.
      [5, 2, 5, 5, 0, 0, 0, 0, 0],  # Cut off inside the second thought.
      [5, 2, 5, 1, 0, 0, 0, 0, 0],  # The end closes an open thought.
      [2, 2, 2, 2, 5, 5, 5, 2, 1],  # Too many: the third takes the rest.
    ]
  )
  thought_end, count, _ = spans(tokens, jnp.array([6, 4, 4, 9]))
  np.testing.assert_array_equal(count, [2, 2, 2, 3])
  np.testing.assert_array_equal(
    thought_end, [[1, 5, 0], [1, 3, 0], [1, 3, 0], [0, 1, 8]]
  )


def test_rows_of_length_zero_and_one():
  rows = [[END] + [0] * 8, [NEWLINE] * 9, [5] * 9, [5] * 9]
  check(rows, [1, 1, 1, 0])


def test_padding_may_hold_any_token():
  rows = [[5, 2, 5, 2, 1, 2, 1, 2, 2], [5, 5, 1, 1, 2, 2, 1, 2, 2]] * 2
  check(rows, [5, 2, 4, 3])


@given(
  st.lists(
    st.lists(
      st.sampled_from([NEWLINE, NEWLINE, END, 5]), min_size=SIZE, max_size=SIZE
    ),
    min_size=ROWS,
    max_size=ROWS,
  ),
  st.lists(st.integers(0, SIZE), min_size=ROWS, max_size=ROWS),
)
@settings(max_examples=200, deadline=None)
def test_spans_equal_a_plain_walk_over_the_tokens(tokens, length):
  check(tokens, length)


def test_values_at_thought_ends_spread_over_the_positions_of_the_thought():
  tokens = jnp.array([[5, 2, 5, 5, 2, 1, 0, 0, 0]])
  thought_end, _, span = spans(tokens, jnp.array([6]))
  values = jnp.arange(9.0)[None]
  at_end = thoughts.at_thought_end(values, thought_end)
  np.testing.assert_array_equal(at_end, [[1.0, 5.0, 0.0]])
  np.testing.assert_array_equal(
    thoughts.at_positions(at_end, span), [[1, 1, 5, 5, 5, 5, 1, 1, 1]]
  )


def test_vectors_are_gathered_at_thought_ends_too():
  values = jnp.arange(12.0).reshape(2, 3, 2)
  gathered = thoughts.at_thought_end(values, jnp.array([[2], [0]]))
  np.testing.assert_array_equal(gathered, [[[4, 5]], [[6, 7]]])
