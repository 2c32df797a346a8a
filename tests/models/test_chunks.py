"""Log-probabilities in chunks of positions, against all at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import sampling, scoring
from reasoning_rl.models import chunks, transformer
from reasoning_rl.models import network as network_lib

B, G, L, V = 2, 2, 7, 13
GENERATOR = np.random.default_rng(0)
TOKENS = GENERATOR.integers(0, V, (B, L)).astype(np.int32)
COMPLETION = GENERATOR.integers(0, V, (B, G, L)).astype(np.int32)
COTANGENT = GENERATOR.normal(size=(B, G, L)).astype(np.float32)
LENGTH = np.array([4, 6], np.int32)
NETWORK = network_lib.Network(
  transformer.NetworkConfig(
    vocab_size=V,
    model_size=8,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_size=4,
    mlp_size=12,
    max_positions=32,
    heads=("language", "implicit"),
  )
)


def supervised(params):
  logprobs = scoring.supervised_logprobs(NETWORK, params, TOKENS)
  return jnp.sum(logprobs * COTANGENT[:, 0]), logprobs


def completion(params):
  how = sampling.SamplingConfig(temperature=0.7)
  logprobs, entropy = scoring.completion_logprobs(
    NETWORK, params, TOKENS, LENGTH, COMPLETION, how
  )
  total = jnp.sum(logprobs * COTANGENT) + jnp.sum(entropy * COTANGENT[::-1])
  return total, (logprobs, entropy)


def implicit(params):
  end = np.array([[3, 5], [4, 6]], np.int32)
  logits = scoring.thought_logits(NETWORK, params, TOKENS, LENGTH // 2, end)
  return jnp.sum(logits * COTANGENT[:, 0, :2]), logits


@pytest.mark.parametrize("fn", [supervised, completion, implicit])
# Three chunks with one position of padding, and one position at a time.
@pytest.mark.parametrize("positions", [3, 1])
def test_chunks_give_the_values_and_gradients_of_the_whole(
  fn, positions, monkeypatch, quick_compilation
):
  params = NETWORK.init(jax.random.key(0))
  evaluate = lambda: jax.jit(jax.value_and_grad(lambda p: fn(p), has_aux=True))(
    params
  )
  expected = evaluate()
  rows = B * G if fn is completion else B
  monkeypatch.setattr(chunks, "MAX_LOGITS", rows * positions * V)
  program = str(jax.make_jaxpr(lambda p: fn(p))(params))
  assert "scan" in program and f"{rows},{L},{V}]" not in program
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    evaluate(),
    expected,
  )


def test_what_fits_is_computed_at_once():
  hidden = jnp.ones((2, 6, 3))
  seen = []

  def fn(x):
    seen.append(x.shape)
    return x[..., 0]

  chunks.by_position(fn, hidden, vocab_size=5, max_logits=60)
  chunks.by_position(fn, hidden, vocab_size=5, max_logits=59)
  # A single position may be more than was allowed.
  chunks.by_position(fn, hidden, vocab_size=50, max_logits=59)
  assert seen == [(2, 6, 3), (2, 3, 3), (2, 1, 3)]


def test_a_large_vocabulary_takes_less_memory_in_chunks():
  hidden, table = jnp.ones((2, 64, 8)), jnp.ones((8, 4096))

  def bytes_of(max_logits):
    def loss(table):
      fn = lambda x: jax.nn.logsumexp(x @ table, axis=-1)
      found = chunks.by_position(
        fn, hidden, vocab_size=4096, max_logits=max_logits
      )
      return jnp.sum(found)

    compiled = jax.jit(jax.grad(loss)).lower(table).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert bytes_of(1 << 16) < bytes_of(1 << 20) / 3
