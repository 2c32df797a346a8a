"""A search takes little more memory than the tokens in its trees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from benchmarks import cache_bytes

SIZES = cache_bytes.Sizes(
  problems=4, thoughts=160, candidates=4, model_size=128, num_layers=3
)


@pytest.fixture(scope="module")
def measured():
  return cache_bytes.cache_bytes_ratio(SIZES)


def test_a_search_keeps_every_token_once_and_copies_no_pool(measured):
  assert measured["pool_fill"] >= 0.9
  assert 1 < measured["ratio"] <= 1.15
  assert abs(measured["thoughts"] - SIZES.thoughts) < 0.2 * SIZES.thoughts
  # Keys and values of three layers of 128 numbers.
  assert measured["bytes_per_token"] == 2 * 3 * 128 * 4


def test_a_second_copy_of_the_pools_is_seen(measured):
  search = cache_bytes.Search(SIZES)

  def run(params, rng, tree):
    found = search.run(params, rng, tree)
    both = jax.tree.map(lambda x, y: jnp.sum(x * y), tree.pools, found.pools)
    touched = sum(jax.tree.leaves(both))
    return found.replace(raw_values=found.raw_values + 0 * touched)

  doubled = cache_bytes.cache_bytes_ratio(SIZES, run)
  assert doubled["tokens"] == measured["tokens"]
  assert doubled["ratio"] > measured["ratio"] + 0.8
