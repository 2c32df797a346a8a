"""Tiny networks, and what a plain forward pass makes of whole rows."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer

# What slides sees less than any prompt and thought together.
SLIDING = dict(sliding_window=4, sliding_layers=(0,), sliding_rope_base=100.0)
# Rows are read in one compiled shape, whatever their number and lengths.
ROWS, SIZE = 16, 32


@functools.partial(jax.jit, static_argnums=0)
def _read(network, params, tokens):
  hidden, _ = network.apply(params, tokens)
  heads = network.config.heads
  logits = network.logits(params, hidden) if "language" in heads else None
  scores = None
  if "thought" in heads and not network.config.certainty:
    scores = jax.nn.sigmoid(network.scalar(params, hidden, "thought"))
  return hidden, logits, scores


@dataclasses.dataclass(frozen=True)
class Tiny:
  """A network and its parameters, read without any cache.

  Rows are lists of token ids. Their lengths differ, so every method returns a
  list with one array per row.
  """

  network: network_lib.Network
  params: Any

  def _full(self, rows, output) -> list[np.ndarray]:
    found = []
    for first in range(0, len(rows), ROWS):
      some = rows[first : first + ROWS]
      tokens = np.zeros((ROWS, SIZE), np.int32)
      for index, row in enumerate(some):
        tokens[index, : len(row)] = row
      read = _read(self.network, self.params, tokens)[output]
      found += [
        np.asarray(x)[: len(r)] for x, r in zip(read, some, strict=False)
      ]
    return found

  def hidden(self, rows) -> list[np.ndarray]:
    """Returns the trunk's output at every token."""
    return self._full(rows, 0)

  def logits(self, rows) -> list[np.ndarray]:
    """Returns the next token's logits at every token."""
    return self._full(rows, 1)

  def scores(self, rows) -> list[float]:
    """Returns the PRM's score at each row's last token."""
    return [x[-1] for x in self._full(rows, 2)]

  def certain_scores(self, prefixes, thoughts) -> np.ndarray:
    """Returns the score of each thought by a head that reads certainty."""
    pairs = list(zip(prefixes, thoughts, strict=True))
    hidden = self.hidden([[*p, *t] for p, t in pairs])
    sure = self.logprobs(prefixes, thoughts)
    states = [
      [*state[-1], each.mean(), each.min()]
      for state, each in zip(hidden, sure, strict=True)
    ]
    states = np.array(states, np.float32)
    logits = self.network.scalar(self.params, states, "thought")
    return np.asarray(jax.nn.sigmoid(logits))

  def implicit_scores(self, prompts, completions) -> np.ndarray:
    """Returns an implicit PRM's score of each completion as a whole."""
    each = self.logprobs(prompts, completions)
    head = self.params["implicit_head"]
    total = np.array([logprobs.sum() for logprobs in each])
    logits = head["scale"] * total + head["bias"]
    return np.asarray(1 / (1 + np.exp(-logits)))

  def next_logits(self, prefixes, completions) -> list[np.ndarray]:
    """Returns the logits that each completion's tokens were chosen from."""
    pairs = list(zip(prefixes, completions, strict=True))
    whole = self.logits([[*p, *c] for p, c in pairs])
    return [
      x[len(p) - 1 : len(p) - 1 + len(c)]
      for x, (p, c) in zip(whole, pairs, strict=True)
    ]

  def logprobs(self, prefixes, completions) -> list[np.ndarray]:
    """Returns the log-probability of each completion's tokens."""
    found = []
    everywhere = self.next_logits(prefixes, completions)
    for logits, completion in zip(everywhere, completions, strict=True):
      logits = logits.astype(np.float64)
      normalizer = np.log(np.exp(logits).sum(axis=-1))
      chosen = logits[np.arange(len(completion)), completion]
      found.append(chosen - normalizer)
    return found


@functools.cache
def _make(kind: str, heads: tuple[str, ...], seed: int) -> Tiny:
  slides = SLIDING if kind == "sliding" else {}
  network = network_lib.Network(
    transformer.NetworkConfig(
      vocab_size=12,
      model_size=16,
      # A PRM's cache has a shape of its own.
      num_layers=1 if "language" not in heads or "implicit" in heads else 2,
      num_heads=2,
      num_kv_heads=1,
      head_size=8,
      mlp_size=24,
      max_positions=SIZE,
      position_kind="rope" if slides else kind,
      heads=tuple(head for head in heads if head != "certainty"),
      certainty="certainty" in heads,
      **slides,
    )
  )
  rng, of_statistics = np.random.default_rng(seed), np.random.default_rng(seed)

  def fill(path, x):
    # Fresh parameters make all tokens nearly alike; these do not.
    name = jax.tree_util.keystr(path)
    if "centers" in name or "spreads" in name:
      least, most = (-0.5, 0.5) if "centers" in name else (0.5, 1.5)
      statistics = of_statistics.uniform(least, most, x.shape)
      return jnp.asarray(statistics, jnp.float32)
    size = 0.4 if "embedding" in name else 0.3
    mean = 1.0 if "scale" in name else 0.0
    if "implicit_head" in name:
      # Log-probabilities of whole solutions are far below 0.
      mean, size = (0.2, 0.0) if "scale" in name else (2.0, 0.0)
    return jnp.asarray(rng.normal(mean, size, x.shape), jnp.float32)

  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return Tiny(network, jax.tree_util.tree_map_with_path(fill, shapes))


@pytest.fixture(scope="session")
def make_tiny():
  """Returns a function (kind, heads, seed) -> Tiny.

  A kind is one of positions, or "sliding": "rope" with a sliding window.
  """
  return _make


@pytest.fixture(scope="session", params=["rope", "learned", "sliding"])
def either_tiny(request) -> Tiny:
  """Returns a policy of either kind of position, or with a sliding window."""
  return _make(request.param, ("language", "thought", "outcome"), 0)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
  """Returns a policy with learned positions: these show a wrong position.

  Under RoPE positions that are all shifted alike give the same logits.
  """
  return _make("learned", ("language", "thought", "outcome"), 0)


@pytest.fixture(scope="session")
def prompts() -> tuple[np.ndarray, np.ndarray]:
  """Returns four prompts of different lengths, with junk after their ends."""
  rng = np.random.default_rng(1)
  tokens = rng.integers(0, 12, (4, 6)).astype(np.int32)
  return tokens, np.array([6, 3, 1, 5], np.int32)
