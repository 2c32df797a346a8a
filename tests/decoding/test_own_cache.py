"""Rows' own caches: a mask that moves is as good as caches that move."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import own_cache
from reasoning_rl.models import attention

PROBLEMS, EACH, C, J, K = 2, 3, 5, 2, 4
ROWS = PROBLEMS * EACH


def keys_values(x):
  return attention.KeysValues((jnp.asarray(x),), (jnp.asarray(-x),))


def play(problems, rng):
  """Returns a cache after some tokens and moves, and what the rows hold."""
  empty = keys_values(np.zeros((ROWS, J, 0, K), np.float32))
  own = own_cache.start(empty, C, problems)
  held = np.zeros((ROWS, J, C, K), np.float32)
  for index in range(C - 1):
    within = rng.integers(0, EACH, (PROBLEMS, EACH))
    source = (np.arange(PROBLEMS)[:, None] * EACH + within).reshape(-1)
    new = rng.normal(size=(ROWS, J, 1, K)).astype(np.float32)
    own = own_cache.move(own, jnp.asarray(source))
    own = own_cache.append(own, jnp.asarray(index), keys_values(new))
    held = held[source]
    held[:, :, index] = new[:, :, 0]
  return own, held


@pytest.mark.parametrize("most, share", [(EACH * C, EACH), (EACH * C - 1, 1)])
def test_each_row_holds_its_sequence(monkeypatch, most, share):
  monkeypatch.setattr(own_cache, "MAX_SHARED", most)
  own, held = play(PROBLEMS, np.random.default_rng(0))
  assert own.share == share
  found = own_cache.of_rows(own)
  np.testing.assert_array_equal(found.k[0][:, :, : C - 1], held[:, :, : C - 1])
  np.testing.assert_array_equal(found.v[0], -found.k[0])


def test_each_row_sees_its_sequence_alone():
  rng = np.random.default_rng(1)
  own, held = play(PROBLEMS, rng)
  assert own.share == EACH
  first = jnp.asarray(np.repeat([7, 20], EACH), jnp.int32)
  segment = own_cache.segment(own, jnp.asarray(C - 1), first)
  kept = np.asarray(segment.keys_values.k[0])
  mask = np.asarray(segment.mask)
  positions = np.asarray(segment.positions)
  for row in range(ROWS):
    owner, place = divmod(row, EACH)
    seen = kept[owner][:, mask[owner, place, 0]]
    np.testing.assert_array_equal(seen, held[row, :, : C - 1])
    np.testing.assert_array_equal(
      positions[owner][mask[owner, place, 0]], first[row] + np.arange(C - 1)
    )
  # What is still to be said is not seen.
  assert own_cache.segment(own, jnp.asarray(2), first).mask.sum() == 2 * ROWS


def test_rows_that_do_not_move_keep_their_own():
  empty = keys_values(np.zeros((ROWS, J, 0, K), np.float32))
  own = own_cache.start(empty, C, None)
  assert own.share == 1
  new = np.random.default_rng(2).normal(size=(ROWS, J, 1, K))
  own = own_cache.append(own, jnp.asarray(0), keys_values(new.astype("f4")))
  found = own_cache.of_rows(own).k[0]
  np.testing.assert_array_equal(found[:, :, :1], new.astype("f4"))
