"""Boundaries: by hand, against a walk in plain Python, and decoded alone."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoning_rl.data import boundaries, thoughts, tokenizers

END, SIZE, ROWS = 1, 12, 4
# n is 2, a double newline 3, a stop with a newline 4, a word 5.
CASES = (
  boundaries.Boundary(((2,), (4,))),
  boundaries.Boundary(((3,), (2, 2), (4, 2))),
  boundaries.Boundary(((2, 5), (4, 5, 5))),
  boundaries.Boundary((), 3),
  boundaries.Boundary(((2, 2, 2), (5,)), 4),
)


def reference(boundary, row):
  """Splits a row into thoughts by walking over it."""
  found, thought = [], []
  for position, token in enumerate(row):
    thought.append(token)
    matched = any(tuple(thought[-len(p) :]) == p for p in boundary.patterns)
    matched |= bool(boundary.every) and len(thought) == boundary.every
    if matched or position == len(row) - 1:
      found.append(thought)
      thought = []
  if len(found) > 1 and found[-1] == [END]:
    found[-2:] = [found[-2] + [END]]
  return found


@functools.partial(jax.jit, static_argnums=2)
def _spans(tokens, length, boundary):
  return thoughts.thought_spans(tokens, length, boundary, (END,), SIZE)


@functools.partial(jax.jit, static_argnums=1)
def _first_end(tokens, boundary):
  """Returns where the first thought ends, decided token by token."""
  progress, ended = boundaries.start(boundary, tokens.shape[0]), []
  for token in tokens.T:
    now, progress = boundaries.advance(boundary, progress, token)
    ended.append(now)
  return jnp.argmax(jnp.stack(ended), axis=0), jnp.any(jnp.stack(ended), axis=0)


def decoded_alone(boundary, row):
  """Splits a row as a search does: each thought decoded by itself."""
  row, found = list(row), []
  while row:
    window = np.full((1, SIZE), 9, np.int32)
    window[0, : len(row)] = row
    end, ended = jax.tree.map(np.asarray, _first_end(window, boundary))
    size = end[0] + 1 if ended[0] else len(row)
    found.append(row[:size])
    row = row[size:]
  if len(found) > 1 and found[-1] == [END]:
    found[-2:] = [found[-2] + [END]]
  return found


rows = st.lists(
  st.lists(st.sampled_from([2, 2, 2, 3, 4, 5, 5, 6]), max_size=SIZE - 1),
  min_size=ROWS,
  max_size=ROWS,
)


@pytest.mark.parametrize("boundary", CASES, ids=str)
@given(rows, st.lists(st.booleans(), min_size=ROWS, max_size=ROWS))
@settings(max_examples=60, deadline=None)
def test_thoughts_decoded_alone_are_those_of_the_finished_completion(
  boundary, rows, ended
):
  rows = [
    [*row, END] if end else row for row, end in zip(rows, ended, strict=True)
  ]
  tokens = np.full((ROWS, SIZE), 2, np.int32)
  for index, row in enumerate(rows):
    tokens[index, : len(row)] = row
  length = np.array([len(row) for row in rows], np.int32)
  ends, count = jax.tree.map(np.asarray, _spans(tokens, length, boundary))
  for index, row in enumerate(rows):
    stops = [0, *(ends[index, : count[index]] + 1)]
    found = [row[a:b] for a, b in zip(stops[:-1], stops[1:], strict=True)]
    assert found == reference(boundary, row)
    assert found == decoded_alone(boundary, row)


def test_a_pattern_never_reaches_over_a_thoughts_beginning():
  pair = boundaries.Boundary(((2, 2),))
  tokens = jnp.array([[2, 2, 2, 2, 2, 9], [2, 6, 2, 2, 2, 6]])
  ends = boundaries.ends(pair, tokens)
  # Five newlines are two boundaries and a newline of the third thought.
  expected = [[0, 1, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0]]
  np.testing.assert_array_equal(ends, np.array(expected, bool))
  # A completion is not told what its prompt ended with: one is not enough.
  ended, _ = boundaries.advance(pair, boundaries.start(pair, 1), jnp.array([2]))
  assert not ended[0]


def test_a_boundary_of_single_ids_looks_at_nothing_else():
  single = boundaries.single(2, 4)
  tokens = jnp.array([[2, 4, 5, 2]])
  np.testing.assert_array_equal(
    boundaries.ends(single, tokens), [[True, True, False, True]]
  )
  assert single.is_simple and single.memory == 0
  assert boundaries.start(single, 3).recent.shape == (3, 0)


@pytest.mark.parametrize(
  "patterns, every", [((), 0), (((),), 0), (((-1,),), 2)]
)
def test_what_ends_no_thought_is_refused(patterns, every):
  with pytest.raises(ValueError, match="boundary"):
    boundaries.Boundary(patterns, every)
  with pytest.raises(ValueError, match="every"):
    boundaries.Boundary(((1,),), -1)


# Pieces as a GPT-2 kind of vocabulary has them.
PIECES = ("", "", "\n", "\n\n", ".\n", ".\n\n", "St", "ep", "Step", " Step")
PIECES += ("a", " \n", "\n ", "x\nStep", "\ufffd")


def _encode(text):
  """Longest piece first, which is what byte-pair merges come to here."""
  ids = []
  while text:
    fits = [i for i, p in enumerate(PIECES) if p and text.startswith(p)]
    ids.append(max(fits, key=lambda i: len(PIECES[i])))
    text = text[len(PIECES[ids[-1]]) :]
  return ids


SUBWORDS = types.SimpleNamespace(
  vocab_size=len(PIECES),
  pad_id=0,
  bos_id=None,
  end_id=1,
  thought_end_id=2,
  save=lambda path: None,
  fingerprint=lambda: "",
  decode=lambda ids: "".join(PIECES[i] for i in ids),
  encode=_encode,
)


def test_kinds_find_all_ids_of_a_subword_vocabulary():
  find = lambda kind: set(boundaries.boundary(SUBWORDS, kind).patterns)
  assert find("newline") == {(2,), (3,), (4,), (5,), (11,), (12,)}
  pairs = {(i, j) for i in (2, 4, 11) for j in (2, 12)}
  assert find("paragraph") == {(3,), (5,)} | pairs
  lines = (2, 3, 4, 5, 11)
  assert find("step") == {(13,)} | {(i, 8) for i in lines}


def test_newlines_are_found_in_ids_that_end_with_blanks():
  # GPT-2's rule keeps a newline and the indentation behind it in one piece.
  library = pytest.importorskip("tokenizers")
  model = library.Tokenizer(library.models.BPE())
  model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
  model.decoder = library.decoders.ByteLevel()
  alphabet = library.pre_tokenizers.ByteLevel.alphabet()
  trainer = library.trainers.BpeTrainer(
    vocab_size=300, initial_alphabet=alphabet, show_progress=False
  )
  model.train_from_iterator(["ab\n    cd\n\n    ef\n"] * 50, trainer)
  tokenizer = types.SimpleNamespace(
    **vars(SUBWORDS) | {"vocab_size": model.get_vocab_size()}
  )
  tokenizer.decode = model.decode
  text = "ab\n    cd\n\n    ef\n"
  tokens = np.array([model.encode(text).ids], np.int32)
  pieces = [model.decode([i]) for i in tokens[0]]
  assert "\n   " in pieces and "\n\n   " in pieces
  split = {}
  for kind in ("newline", "paragraph"):
    found = boundaries.boundary(tokenizer, kind)
    ends = np.flatnonzero(boundaries.ends(found, tokens)[0]) + 1
    parts = np.split(tokens[0], ends)
    split[kind] = [model.decode(list(part)) for part in parts if part.size]
  assert split["newline"] == ["ab\n   ", " cd\n\n   ", " ef\n"]
  assert split["paragraph"] == ["ab\n    cd\n\n   ", " ef\n"]


def test_steps_begin_with_their_numbers():
  tokenizer = tokenizers.CharacterTokenizer("\nStep 12:ab")
  steps = boundaries.boundary(tokenizer, "step")
  text = "Step 1:a\nb\nStep 2:b\n"
  tokens = np.array([[*tokenizer.encode(text), tokenizer.end_id]], np.int32)
  ends, count = thoughts.thought_spans(
    jnp.asarray(tokens), jnp.array([tokens.size]), steps, (END,), 4
  )
  stops = [0, *(np.asarray(ends)[0, : count[0]] + 1)]
  found = [
    tokenizer.decode(tokens[0, a:b].tolist())
    for a, b in zip(stops[:-1], stops[1:], strict=True)
  ]
  assert found == ["Step 1:a\nb\nStep", " 2:b\n"]


def test_a_newline_of_characters_is_the_boundary_there_always_was():
  tokenizer = tokenizers.CharacterTokenizer("a\nb")
  found = boundaries.boundary(tokenizer, "newline")
  assert found == boundaries.single(tokenizer.thought_end_id)
  assert hash(found) == hash(boundaries.single(3))
  pair = boundaries.boundary(tokenizer, "paragraph")
  assert pair == boundaries.Boundary(((3, 3),))
  assert boundaries.boundary(tokenizer, "every-32") == boundaries.Boundary(
    (), 32
  )


@pytest.mark.parametrize("kind", ["every-0", "every-", "line", "every-N"])
def test_an_unknown_kind_names_those_there_are(kind):
  tokenizer = tokenizers.CharacterTokenizer("a\n")
  with pytest.raises(ValueError, match="newline, paragraph, step, every-N"):
    boundaries.boundary(tokenizer, kind)


def test_a_tokenizer_that_cannot_write_a_boundary_is_refused():
  with pytest.raises(ValueError, match="alphabet"):
    boundaries.boundary(tokenizers.CharacterTokenizer("a\n"), "step")
