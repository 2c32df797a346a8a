"""Attention over segments against a softmax over their concatenation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from reasoning_rl.models import attention

# Rows, query positions, query heads, kv heads, head size.
R, L, H, J, K = 6, 3, 4, 2, 5
attend = jax.jit(attention.attend)
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def reference(q, segments):
  """Returns softmax attention, one query at a time over all it sees."""
  output = np.zeros(q.shape)
  for row, position, head in np.ndindex(*q.shape[:3]):
    keys, values = [], []
    for k, v, mask in segments:
      share = len(q) // len(k)
      owner, kv_head = row // share, head // (q.shape[2] // k.shape[1])
      mask = np.broadcast_to(mask, (len(k), share, q.shape[1], k.shape[2]))[
        owner, row % share, position
      ]
      keys.append(k[owner, kv_head][mask])
      values.append(v[owner, kv_head][mask])
    keys = np.concatenate(keys).astype(np.float64)
    scores = keys @ q[row, position, head] / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    output[row, position, head] = weights @ np.concatenate(values)
  return output


def make_case(seed: int = 0):
  """Returns queries and segments of 2, 3, 1 and 6 owners, all kinds of mask."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
  segments = []
  for owners, size, mask_shape in (
    (2, 4, (2, 1, 1, 4)),
    (3, 2, (3, 2, 1, 2)),
    (1, 3, (1, R, L, 3)),
  ):
    mask = rng.random(mask_shape) < 0.6
    keys, values = (normal(owners, J, size, K) for _ in range(2))
    segments.append((keys, values, mask))
  causal = np.broadcast_to(np.tril(np.ones((L, L), bool)), (R, 1, L, L))
  segments.append((normal(R, J, L, K), normal(R, J, L, K), causal))
  return 2 * normal(R, L, H, K), tuple(segments)


def test_segments_share_one_softmax():
  for seed in range(3):
    q, segments = make_case(seed)
    np.testing.assert_allclose(
      attend(q, segments), reference(q, segments), **TOLERANCE
    )


def test_every_segment_may_dominate_without_overflow():
  q, segments = make_case()
  for index in range(len(segments)):
    louder = tuple(
      (k * (300.0 if index == at else 1.0), v, mask)
      for at, (k, v, mask) in enumerate(segments)
    )
    np.testing.assert_allclose(
      attend(q, louder), reference(q, louder), rtol=1e-3, atol=1e-3
    )


def test_a_wholly_masked_segment_changes_nothing():
  q, segments = make_case()
  k, v, mask = segments[0]
  hidden = (100 * k, 100 * v, np.zeros_like(mask))
  expected = np.asarray(attend(q, segments[1:]))
  for place in (0, 3):
    with_hidden = (*segments[1:][:place], hidden, *segments[1:][place:])
    np.testing.assert_array_equal(attend(q, with_hidden), expected)


def test_what_is_masked_changes_nothing():
  q, segments = make_case()
  junk = []
  for k, v, mask in segments:
    seen = mask.any(axis=(1, 2))[:, None, :, None]
    junk.append((np.where(seen, k, 1e4), np.where(seen, v, -1e4), mask))
  assert not all(mask.any(axis=(1, 2)).all() for _, _, mask in segments)
  np.testing.assert_array_equal(attend(q, tuple(junk)), attend(q, segments))


def test_gradients_are_those_of_one_softmax_and_nothing_under_the_mask():
  q, segments = make_case()
  k, v, mask = segments[0]
  segments = ((k, v, np.zeros_like(mask)), *segments[1:])
  cotangent = np.random.default_rng(9).normal(size=q.shape).astype(np.float32)

  def concatenated(q, keys_values):
    keys, values, masks = [], [], []
    for (k, v), (_, _, mask) in zip(keys_values, segments, strict=True):
      share = R // len(k)
      mask = jnp.broadcast_to(mask, (len(k), share, L, mask.shape[-1]))
      masks.append(mask.reshape(R, 1, L, -1))
      own = lambda x, share=share: jnp.repeat(
        jnp.repeat(x, share, axis=0), H // J, axis=1
      )
      keys.append(own(k))
      values.append(own(v))
    scores = jnp.einsum("RLHK,RHMK->RHLM", q, jnp.concatenate(keys, axis=2))
    scores = jnp.where(
      jnp.concatenate(masks, axis=-1), scores * K**-0.5, -jnp.inf
    )
    weights = jax.nn.softmax(scores, axis=-1)
    output = jnp.einsum("RHLM,RHMK->RLHK", weights, jnp.concatenate(values, 2))
    return jnp.sum(output * cotangent)

  def in_segments(q, keys_values):
    parts = tuple(
      (k, v, mask)
      for (k, v), (_, _, mask) in zip(keys_values, segments, strict=True)
    )
    return jnp.sum(attention.attend(q, parts) * cotangent)

  keys_values = [(k, v) for k, v, _ in segments]
  actual = jax.jit(jax.grad(in_segments, (0, 1)))(q, keys_values)
  expected = jax.jit(jax.grad(concatenated, (0, 1)))(q, keys_values)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    actual,
    expected,
  )
  for (dk, dv), (_, _, mask) in zip(actual[1], segments, strict=True):
    unseen = ~mask.any(axis=(1, 2))
    for gradient in (dk, dv):
      by_position = np.asarray(gradient).transpose(0, 2, 1, 3)
      assert np.isfinite(by_position).all()
      assert not by_position[unseen].any()


def test_rotation_is_as_worked_by_hand():
  # One pair turns by one radian per position; the second pair of a head of
  # size 4 by base^(-1/2) = 0.1. The pairs are (0, 2) and (1, 3).
  x = jnp.array([1.0, 0.0, 0.0, 2.0]).reshape(1, 1, 1, 4)
  for position in (0, 1, 7):
    angle, slow = position, 0.1 * position
    expected = [np.cos(angle), -2 * np.sin(slow), np.sin(angle)]
    expected.append(2 * np.cos(slow))
    rotated = attention.rotate(x, jnp.array([[position]]), 100.0)
    np.testing.assert_allclose(rotated[0, 0, 0], expected, atol=1e-6)


def test_rotated_scores_depend_on_the_distance_alone():
  q, k = np.random.default_rng(0).normal(size=(2, 1, 1, H, K + 1))
  rotate = jax.jit(attention.rotate, static_argnums=2)

  def scores(query_position, key_position):
    at = lambda x, position: rotate(
      jnp.asarray(x, jnp.float32), jnp.array([[position]]), 1e4
    )
    return jnp.sum(at(q, query_position) * at(k, key_position), axis=-1)

  np.testing.assert_allclose(scores(9, 4), scores(25, 20), atol=1e-4)
  assert np.abs(scores(9, 4) - scores(9, 5)).max() > 1e-2
