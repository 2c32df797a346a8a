"""The network against plain NumPy, its causality, its caches and its heads."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import masking
from reasoning_rl.models import attention, transformer
from reasoning_rl.models import network as network_lib

KINDS = ("rope", "learned")
# Every forward pass without segments has one shape: half of its rows are
# prompts, where there are prompts.
R, B, L = 6, 3, 12
LENGTH = np.array([8, 5, 3])


def make_network(kind: str = "rope", **changes) -> network_lib.Network:
  sizes = dict(
    vocab_size=12,
    model_size=16,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_size=8,
    mlp_size=24,
    max_positions=32,
    position_kind=kind,
    heads=("language", "value", "thought", "outcome"),
  )
  return network_lib.Network(transformer.NetworkConfig(**sizes | changes))


@functools.cache
def make_params(network: network_lib.Network, seed: int = 0):
  """Returns params whose logits differ: fresh ones are nearly uniform."""
  rng = np.random.default_rng(seed)

  def fill(path, x):
    name = jax.tree_util.keystr(path)
    size = 0.4 if "embedding" in name else 0.3
    mean = 1.0 if "scale" in name else 0.0
    return jnp.asarray(rng.normal(mean, size, x.shape), jnp.float32)

  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.partial(jax.jit, static_argnums=0)
def forward(network, params, tokens, positions=None, segments=()):
  hidden, keys_values = network.apply(params, tokens, positions, segments)
  return hidden, network.logits(params, hidden), keys_values


def make_tokens(seed: int = 0) -> np.ndarray:
  tokens = np.random.default_rng(seed).integers(0, 12, (R, L))
  return tokens.astype(np.int32)


def numpy_logits(params, config, tokens):
  """Returns one row's logits, from the equations of the papers, in float64."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  size, half = len(tokens), config.head_size // 2

  def norm(x, p):
    return p["scale"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)

  def rotate(x):
    angle = np.arange(size)[:, None] * config.rope_base ** (
      -np.arange(half) / half
    )
    turn = np.exp(1j * angle)[:, None]
    turned = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([turned.real, turned.imag], axis=-1)

  x = params["token_embedding"]["embedding"][tokens]
  if config.position_kind == "learned":
    x = x + params["position_embedding"]["embedding"][:size]
  for layer in range(config.num_layers):
    p = params[f"layers_{layer}"]
    h = norm(x, p["attention_norm"])
    q, k, v = (
      np.einsum("ld,dhk->lhk", h, p["attention"][name]["kernel"])
      for name in "qkv"
    )
    if config.position_kind == "rope":
      q, k = rotate(q), rotate(k)
    repeats = config.num_heads // config.num_kv_heads
    k, v = np.repeat(k, repeats, axis=1), np.repeat(v, repeats, axis=1)
    scores = np.einsum("lhk,mhk->hlm", q, k) / np.sqrt(config.head_size)
    scores = np.where(np.tril(np.ones((size, size))), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = np.einsum("hlm,mhk->lhk", weights, v)
    out = p["attention"]["out"]["kernel"]
    x = x + np.einsum("lhk,hkd->ld", attended, out)
    h = norm(x, p["mlp_norm"])
    gate = h @ p["mlp"]["gate"]["kernel"]
    up = h @ p["mlp"]["up"]["kernel"]
    x = x + (gate / (1 + np.exp(-gate)) * up) @ p["mlp"]["down"]["kernel"]
  hidden = norm(x, params["final_norm"])
  return hidden @ params["token_embedding"]["embedding"].T


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_a_plain_transformer(kind):
  network = make_network(kind)
  params, tokens = make_params(network), make_tokens()
  _, logits, _ = forward(network, params, tokens)
  expected = [numpy_logits(params, network.config, row) for row in tokens]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  assert np.std(expected) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_no_hidden_vector_depends_on_a_later_token(kind):
  network = make_network(kind)
  params = make_params(network)
  # Each token stands once, so its embedding's gradient is its position's.
  tokens = jnp.arange(6)[None]

  def hidden(embedding):
    table = {"token_embedding": {"embedding": embedding}}
    return network.apply(params | table, tokens)[0][0]

  embedding = params["token_embedding"]["embedding"]
  jacobian = jax.jit(jax.jacrev(hidden))(embedding)
  reach = np.abs(jacobian).max(axis=(1, 3))[:, :6]
  np.testing.assert_array_equal(reach > 0, np.tril(np.ones((6, 6), bool)))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_before_it(kind):
  network = make_network(kind)
  params = make_params(network)
  real = np.asarray(masking.length_mask(np.tile(LENGTH, 2), L))
  one = np.where(real, make_tokens(), 0)
  other = np.where(real, make_tokens(), make_tokens(seed=1))
  hidden, _, _ = forward(network, params, one)
  np.testing.assert_array_equal(
    np.asarray(hidden)[real],
    np.asarray(forward(network, params, other)[0])[real],
  )


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_after_a_shared_segment_are_as_in_the_whole_row(kind):
  network = make_network(kind)
  params, prompt = make_params(network), make_tokens()
  following = np.random.default_rng(2).integers(0, 12, (R, 4))
  following = following.astype(np.int32)
  keys_values = jax.tree.map(
    lambda x: x[:B], forward(network, params, prompt)[2]
  )
  mask = masking.length_mask(LENGTH, L)[:, None, None]
  start = np.repeat(LENGTH, 2)
  _, logits, own = forward(
    network,
    params,
    following,
    jnp.asarray(start[:, None] + np.arange(4), jnp.int32),
    (attention.Segment(keys_values, mask),),
  )
  whole = np.zeros((R, L), np.int32)
  for row, at in enumerate(start):
    whole[row, :at] = prompt[row // 2, :at]
    whole[row, at : at + 4] = following[row]
  _, expected, all_keys_values = forward(network, params, whole)
  for row, at in enumerate(start):
    here = slice(at, at + 4)
    np.testing.assert_allclose(
      logits[row], expected[row, here], rtol=1e-4, atol=1e-4
    )
    jax.tree.map(
      lambda x, y, row=row, here=here: np.testing.assert_allclose(
        x[row], y[row, :, here], rtol=1e-4, atol=1e-4
      ),
      own,
      all_keys_values,
    )


def test_a_network_has_the_heads_it_names_and_no_other():
  for heads in (("language",), ("thought",), ("language", "value")):
    network = make_network(heads=heads)
    names = set(jax.eval_shape(network.init, jax.random.key(0)))
    found = {name for name in names if name.endswith("_head")}
    # The language head is the embedding, transposed.
    assert found == {f"{head}_head" for head in set(heads) - {"language"}}
  untied = make_network(heads=("language",), tied_embedding=False)
  params = make_params(untied)
  hidden, logits, _ = forward(untied, params, make_tokens())
  np.testing.assert_allclose(
    logits, hidden @ params["language_head"]["kernel"], rtol=1e-5, atol=1e-5
  )


def test_scalar_heads_read_one_position_each():
  network = make_network()
  params = make_params(network)
  hidden = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
  scalar = jax.jit(network.scalar, static_argnums=2)
  for head in ("value", "thought", "outcome"):
    p = jax.tree.map(np.asarray, params[f"{head}_head"])
    read = hidden
    if head == "thought":
      centers, spreads = p["centers"], p["spreads"]
      unit = np.sqrt((spreads**2).mean(axis=0))
      away = [np.square((hidden - c) / unit).sum(axis=-1) for c in centers]
      kind = np.argmin(away, axis=0)
      assert 0 < kind.mean() < 1
      read = (hidden - centers[kind]) / spreads[kind]
    inner = np.maximum(read @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    expected = (inner @ p["output"]["kernel"] + p["output"]["bias"])[..., 0]
    np.testing.assert_allclose(
      scalar(params, hidden, head), expected, rtol=1e-4, atol=1e-5
    )


def test_what_a_thought_head_is_standardized_by_does_not_learn():
  network = make_network(heads=("thought",))
  params = make_params(network)
  fresh = network.init(jax.random.key(0))["thought_head"]
  assert not fresh["centers"].any() and (fresh["spreads"] == 1).all()
  hidden = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
  total = lambda params: network.scalar(params, hidden, "thought").sum()
  slopes = jax.jit(jax.grad(total))(params)["thought_head"]
  assert not slopes.pop("centers").any() and not slopes.pop("spreads").any()
  assert all(leaf.any() for leaf in jax.tree.leaves(slopes))


def test_a_fresh_implicit_head_adds_a_bias_to_the_log_probability():
  network = make_network(heads=("language", "implicit"))
  params = network.init(jax.random.key(0))
  logits = network.implicit(params, np.array([0.0, -3.0], np.float32))
  np.testing.assert_allclose(
    logits, network_lib.INITIAL_BIAS - np.array([0, 3])
  )


def test_grafting_takes_the_trunk_and_keeps_the_fresh_head():
  policy = make_network(heads=("language",))
  prm = make_network(heads=("thought",))
  fresh = make_params(prm, seed=1)
  grafted = network_lib.graft(make_params(policy), fresh)
  assert set(grafted) == set(fresh)
  tokens = make_tokens()
  hidden = jax.jit(prm.apply)(grafted, tokens)[0]
  expected, _, _ = forward(policy, make_params(policy), tokens)
  np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-5)
  jax.tree.map(
    np.testing.assert_array_equal,
    grafted["thought_head"],
    fresh["thought_head"],
  )


def test_parameters_are_counted_that_a_token_is_multiplied_with():
  # A block: two norms of 16, q 16·16, k and v 16·8, out 16·16, MLP 3·16·24.
  block = 2 * 16 + 256 + 2 * 128 + 256 + 3 * 384
  network = make_network(heads=("language",))
  table = network.config.vocab_size * 16  # Tied: it is the language head.
  assert network.num_params() == 2 * block + 16 + table
  # The head: 16·16 + 16 and 16 + 1; its statistics multiply nothing.
  network = make_network(heads=("thought",))
  assert network.num_params() == 2 * block + 16 + 272 + 17


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(num_heads=3, num_kv_heads=2), "num_kv_heads 2 must divide"),
    (dict(kind="sinus"), "use 'rope' or 'learned'"),
    (dict(heads=("reward",)), "unknown heads"),
    (dict(heads=("implicit",)), 'needs a "language" head'),
    (dict(heads=("thought",), certainty=True), 'needs a "language" and a'),
  ],
)
def test_sizes_that_cannot_work_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_network(**changes)
