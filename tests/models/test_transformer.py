"""The rules in which model families differ, and what stays as it was."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.models import attention, transformer
from reasoning_rl.models import network as network_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = transformer.NetworkConfig(
  vocab_size=12,
  model_size=16,
  num_layers=2,
  num_heads=2,
  num_kv_heads=1,
  head_size=8,
  mlp_size=24,
)
# All that a family has beyond the default, at once.
EVERYTHING = dataclasses.replace(
  SMALL,
  rope_scaling=attention.RopeScaling("llama3", 8.0, 1.0, 4.0, 16),
  centered_norms=True,
  post_norms=True,
  qk_norm=True,
  qkv_bias=True,
  activation="gelu",
  embedding_scale=4.0,
  query_scale=0.25,
  sliding_window=3,
  sliding_layers=(0,),
  sliding_rope_base=100.0,
  tied_embedding=False,
  heads=("language", "thought"),
)


def random_params(network):
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  fill = lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype)
  return jax.tree.map(fill, shapes)


def test_the_default_network_is_what_it_has_always_been():
  # Pinned before any family but one's own was known. Whoever changes the init
  # or the arithmetic of default networks changes every published figure.
  config = transformer.NetworkConfig(
    vocab_size=19,
    num_layers=2,
    num_kv_heads=2,
    heads=("language", "value", "thought", "implicit"),
  )
  network = network_lib.Network(config)
  params = jax.jit(network.init)(jax.random.key(7))
  tokens = np.random.default_rng(0).integers(0, 19, (3, 11)).astype(np.int32)
  hidden, _ = jax.jit(network.apply)(params, tokens)
  logits = jax.jit(network.logits)(params, hidden)
  close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
  # Which are new, and change nothing at first.
  assert (params["thought_head"].pop("spreads") == 1).all()
  total = sum(np.abs(x).sum(dtype=np.float64) for x in jax.tree.leaves(params))
  close(total, 9174.0146)
  close(logits[0, -1, :3], [0.84558767, -0.10543776, -1.69980395])
  close(hidden[2, 5, :3], [-0.74852735, 0.82382476, 0.63926399])
  assert set(params["layers_0"]) == {
    "attention",
    "attention_norm",
    "mlp",
    "mlp_norm",
  }
  assert set(params["layers_0"]["attention"]) == {"q", "k", "v", "out"}
  assert set(params["layers_0"]["attention"]["q"]) == {"kernel"}


def reach(config, size=9) -> np.ndarray:
  """Returns which tokens (axis 1) each hidden vector (axis 0) depends on."""
  config = dataclasses.replace(config, vocab_size=size)
  network = network_lib.Network(config)
  params = random_params(network)
  # Each token stands once, so its embedding's gradient is its position's.
  tokens = jnp.arange(size)[None]

  def hidden(embedding):
    table = {"token_embedding": {"embedding": embedding}}
    return network.apply(params | table, tokens)[0][0]

  table = params["token_embedding"]["embedding"]
  return np.abs(jax.jit(jax.jacrev(hidden))(table)).max(axis=(1, 3)) > 0


@pytest.mark.parametrize(
  "layers, back", [((), 8), ((0,), 8), ((1,), 8), ((0, 1), 4)]
)
def test_what_slides_sees_its_window_and_no_more(layers, back):
  # A layer that slides sees itself and two positions before it; two such
  # layers reach four back, and one that does not reaches to the beginning.
  config = dataclasses.replace(SMALL, sliding_window=3, sliding_layers=layers)
  ago = np.arange(9)[:, None] - np.arange(9)[None]
  np.testing.assert_array_equal(reach(config), (ago >= 0) & (ago <= back))


def test_no_rule_lets_a_later_token_be_seen():
  seen = reach(EVERYTHING)
  np.testing.assert_array_equal(seen, np.tril(np.ones((9, 9), bool)))


@pytest.mark.parametrize(
  "dtype, tolerance",
  [("float32", 1e-4), pytest.param("bfloat16", 2e-2, marks=pytest.mark.slow)],
)
def test_tokens_bit_by_bit_are_as_in_the_whole_row(dtype, tolerance):
  # All that comes before a bit are segments: the window has left some of them
  # behind, reaches into others, and ends within the bit itself.
  config = dataclasses.replace(EVERYTHING, dtype=dtype)
  network = network_lib.Network(config)
  params = random_params(network)
  tokens = np.random.default_rng(1).integers(0, 12, (2, 10)).astype(np.int32)
  apply = jax.jit(network.apply)
  expected, _ = apply(params, tokens)
  segments, found = (), []
  for first, size in ((0, 3), (3, 1), (4, 4), (8, 2)):
    at = jnp.broadcast_to(first + jnp.arange(size)[None], (2, size))
    bit = tokens[:, first : first + size]
    hidden, own = apply(params, bit, at, segments)
    found.append(hidden)
    mask = jnp.ones((2, 1, 1, size), bool)
    segments += (attention.Segment(own, mask, at),)
  scale = np.abs(np.asarray(expected, np.float32)).max()
  np.testing.assert_allclose(
    np.asarray(jnp.concatenate(found, axis=1), np.float32),
    np.asarray(expected, np.float32),
    atol=tolerance * scale,
  )


def test_a_layer_that_slides_asks_for_positions():
  config = dataclasses.replace(SMALL, sliding_window=3, sliding_layers=(1,))
  tokens = jnp.zeros((1, 2), jnp.int32)
  mask = jnp.ones((1, 1, 1, 2), bool)

  def read_on(config):
    network = network_lib.Network(config)
    params = network.init(jax.random.key(0))
    _, keys_values = network.apply(params, tokens)
    segments = (attention.Segment(keys_values, mask),)
    return network.apply(params, tokens, tokens + 2, segments)

  jax.eval_shape(lambda: read_on(SMALL))
  with pytest.raises(ValueError, match="needs its segments' positions"):
    jax.eval_shape(lambda: read_on(config))


def test_in_bfloat16_the_trunk_is_narrow_and_what_it_says_is_wide():
  network = network_lib.Network(
    dataclasses.replace(EVERYTHING, dtype="bfloat16")
  )
  params = random_params(network)
  tokens = jnp.zeros((1, 3), jnp.int32)
  hidden, keys_values = jax.jit(network.apply)(params, tokens)
  kinds = {x.dtype for x in jax.tree.leaves((hidden, keys_values))}
  kinds |= {
    x.dtype
    for name, part in params.items()
    if name != "thought_head"
    for x in jax.tree.leaves(part)
  }
  assert kinds == {jnp.dtype("bfloat16")}
  wide = {x.dtype for x in jax.tree.leaves(params["thought_head"])}
  wide |= {network.logits(params, hidden).dtype}
  wide |= {network.scalar(params, hidden, "thought").dtype}
  assert wide == {jnp.dtype("float32")}
  # Sums of rounded products, not rounded sums of them.
  kernel = params["language_head"]["kernel"].astype(jnp.float32)
  expected = hidden.astype(jnp.float32) @ kernel
  np.testing.assert_allclose(
    network.logits(params, hidden), expected, rtol=1e-5, atol=1e-6
  )


def test_positions_scaled_by_four_are_four_times_as_near():
  x = np.random.default_rng(0).normal(size=(1, 1, 2, 8)).astype(np.float32)
  at = lambda position: jnp.array([[position]])
  linear = attention.RopeScaling("linear", 4.0)
  np.testing.assert_allclose(
    attention.rotate(x, at(20), 50.0, linear),
    attention.rotate(x, at(5), 50.0),
    atol=1e-5,
  )


def test_llama3_scales_slow_frequencies_alone():
  # Base 16 and four pairs: frequencies 1, 1/2, 1/4 and 1/8. Over 8 π positions
  # they turn 4, 2, 1 and 1/2 times (those positions are rounded to 25).
  scaling = attention.RopeScaling("llama3", 10.0, 1.0, 3.0, 25)
  turns = 25 / (2 * np.pi) / np.array([1, 2, 4, 8])
  share = (turns[1] - 1) / 2  # Fast share of the second: 1 turn slow, 3 fast.
  assert turns[0] > 3 and 1 < turns[1] < 3 and turns[2] < 1
  angles = [1, share / 2 + (1 - share) / 20, 1 / 40, 1 / 80]
  x = jnp.concatenate([jnp.ones(4), jnp.zeros(4)]).reshape(1, 1, 1, 8)
  rotated = attention.rotate(x, jnp.array([[1]]), 16.0, scaling)[0, 0, 0]
  np.testing.assert_allclose(rotated[:4], np.cos(angles), atol=1e-6)
  np.testing.assert_allclose(rotated[4:], np.sin(angles), atol=1e-6)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(activation="relu"), "use 'silu' or 'gelu'"),
    (dict(dtype="float16"), "use 'float32' or 'bfloat16'"),
    (dict(sliding_layers=(0,)), "need a sliding_window"),
    (dict(sliding_layers=(2,), sliding_window=3), r"\[2\] are no layers"),
  ],
)
def test_rules_that_cannot_work_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(SMALL, **changes)


@pytest.mark.parametrize(
  "arguments, message",
  [
    (("yarn", 2.0), "use 'linear' or 'llama3'"),
    (("linear", 0.0), "must be positive"),
    (("llama3", 2.0, 4.0, 4.0), "below high_frequency_factor"),
    (("llama3", 2.0, 1.0, 4.0, 0), "at least 1"),
  ],
)
def test_scalings_that_cannot_work_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    attention.RopeScaling(*arguments)
