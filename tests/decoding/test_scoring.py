"""Teacher-forced scores against plain passes over whole rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import sampling, scoring

B, G, L = 4, 3, 7
PLAIN = sampling.SamplingConfig()
TOLERANCE = dict(rtol=1e-4, atol=1e-4)

completion_logprobs = jax.jit(
  scoring.completion_logprobs, static_argnums=(0, 5)
)
supervised_logprobs = jax.jit(scoring.supervised_logprobs, static_argnums=0)
thought_logits = jax.jit(scoring.thought_logits, static_argnums=0)
outcome_logits = jax.jit(scoring.outcome_logits, static_argnums=0)
completion_thought_logits = jax.jit(
  scoring.completion_thought_logits, static_argnums=0
)
completion_outcome_logits = jax.jit(
  scoring.completion_outcome_logits, static_argnums=0
)


@pytest.fixture(scope="module")
def completion():
  tokens = np.random.default_rng(7).integers(0, 12, (B, G, L))
  return tokens.astype(np.int32)


def joined(prompts, completion):
  """Returns each prompt and completion in one row, and where they meet."""
  tokens, lengths = prompts
  rows = np.zeros((B * G, 6 + L), np.int32)
  start = np.repeat(lengths, G)
  for row, at in enumerate(start):
    rows[row, :at] = tokens[row // G, :at]
    rows[row, at : at + L] = completion[row // G, row % G]
  return rows, start[:, None] + np.arange(L)


def test_supervised_logprobs_are_of_each_token_given_those_before(
  tiny, prompts, completion
):
  rows, _ = joined(prompts, completion)
  actual = supervised_logprobs(tiny.network, tiny.params, rows)
  np.testing.assert_array_equal(actual[:, 0], 0)
  expected = tiny.logprobs(rows[:, :1], rows[:, 1:])
  np.testing.assert_allclose(actual[:, 1:], expected, **TOLERANCE)


def test_completion_logprobs_are_those_of_the_joined_row(
  tiny, prompts, completion
):
  actual, entropy = completion_logprobs(
    tiny.network, tiny.params, *prompts, completion, PLAIN
  )
  rows, where = joined(prompts, completion)
  whole = supervised_logprobs(tiny.network, tiny.params, rows)
  expected = np.take_along_axis(np.asarray(whole), where, axis=1)
  np.testing.assert_allclose(
    actual, expected.reshape(completion.shape), **TOLERANCE
  )
  prefixes = [row[: at[0]] for row, at in zip(rows, where, strict=True)]
  logits = np.array(tiny.next_logits(prefixes, completion.reshape(-1, L)))
  p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
  np.testing.assert_allclose(
    entropy, -(p * np.log(p)).sum(axis=-1).reshape(B, G, L), **TOLERANCE
  )


def test_the_gradient_through_a_shared_prompt_is_the_unshared_one(
  tiny, prompts, completion
):
  weights = np.random.default_rng(1).normal(size=(B, G, L))
  weights = weights.astype(np.float32)
  rows, where = joined(prompts, completion)

  def shared(params):
    logprobs, _ = scoring.completion_logprobs(
      tiny.network, params, *prompts, completion, PLAIN
    )
    return jnp.sum(logprobs * weights)

  def unshared(params):
    logprobs = scoring.supervised_logprobs(tiny.network, params, rows)
    chosen = jnp.take_along_axis(logprobs, where, axis=1)
    return jnp.sum(chosen * weights.reshape(-1, L))

  actual = jax.jit(jax.grad(shared))(tiny.params)
  expected = jax.jit(jax.grad(unshared))(tiny.params)
  scale = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * scale),
    actual,
    expected,
  )


def test_heads_are_read_at_the_last_token_of_each_thought_and_row(
  tiny, prompts, completion
):
  rows, _ = joined(prompts, completion)
  rows = rows[:B]
  thought_end = np.array([[2, 5, 9], [0, 1, 12], [3, 4, 0], [7, 8, 11]])
  lengths = np.array([13, 4, 1, 9])
  nothing = np.zeros(B, np.int32)
  logits = thought_logits(tiny.network, tiny.params, rows, nothing, thought_end)
  prefixes = [
    row[: end + 1]
    for row, ends in zip(rows, thought_end, strict=True)
    for end in ends
  ]
  np.testing.assert_allclose(
    jax.nn.sigmoid(logits).reshape(-1), tiny.scores(prefixes), **TOLERANCE
  )
  outcome = outcome_logits(tiny.network, tiny.params, rows, nothing, lengths)
  hidden = [
    x[-1]
    for x in tiny.hidden([r[:n] for r, n in zip(rows, lengths, strict=True)])
  ]
  expected = jax.jit(tiny.network.scalar, static_argnums=2)(
    tiny.params, np.array(hidden), "outcome"
  )
  np.testing.assert_allclose(outcome, expected, **TOLERANCE)


@pytest.fixture(scope="module", params=["head", "certainty", "implicit"])
def reward_model(request, make_tiny, tiny):
  if request.param == "head":
    return tiny
  if request.param == "certainty":
    return make_tiny(
      "learned", ("language", "thought", "certainty", "outcome"), 3
    )
  return make_tiny("learned", ("language", "implicit"), 3)


def test_an_implicit_head_reads_the_log_probability_of_what_was_said(
  make_tiny, prompts, completion
):
  model = make_tiny("learned", ("language", "implicit"), 3)
  rows, where = joined(prompts, completion)
  start, middle, end = where[:, 0], where[:, 3], where[:, -1]
  thought_end = np.stack([middle, end], axis=1)
  logits = thought_logits(model.network, model.params, rows, start, thought_end)
  outcome = outcome_logits(model.network, model.params, rows, start, end + 1)
  prefixes = [row[:n] for row, n in zip(rows, start, strict=True)]
  said = list(completion.reshape(-1, L))
  expected = [
    model.implicit_scores(prefixes, [row[:count] for row in said])
    for count in (4, L)
  ]
  np.testing.assert_allclose(
    jax.nn.sigmoid(logits), np.stack(expected, axis=1), **TOLERANCE
  )
  np.testing.assert_allclose(jax.nn.sigmoid(outcome), expected[1], **TOLERANCE)


def test_heads_read_completions_of_a_shared_prompt_as_they_read_joined_rows(
  reward_model, prompts, completion
):
  tiny = reward_model
  rng = np.random.default_rng(2)
  thought_end = rng.integers(0, L, (B, G, 2))
  lengths = rng.integers(1, L + 1, (B, G))
  rows, where = joined(prompts, completion)
  thoughts = completion_thought_logits(
    tiny.network, tiny.params, *prompts, completion, thought_end
  )
  expected = thought_logits(
    tiny.network,
    tiny.params,
    rows,
    where[:, 0],
    np.take_along_axis(where, thought_end.reshape(-1, 2), axis=1),
  )
  np.testing.assert_allclose(
    thoughts, np.reshape(expected, thoughts.shape), **TOLERANCE
  )
  outcomes = completion_outcome_logits(
    tiny.network, tiny.params, *prompts, completion, lengths
  )
  expected = outcome_logits(
    tiny.network,
    tiny.params,
    rows,
    where[:, 0],
    where[:, 0] + lengths.reshape(-1),
  )
  np.testing.assert_allclose(
    outcomes, np.reshape(expected, (B, G)), **TOLERANCE
  )
