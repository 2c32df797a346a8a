"""Credit of thoughts and tokens."""

import jax.numpy as jnp
import numpy as np

from reasoning_rl.rl import credit


def test_the_outcome_sits_on_the_last_real_token_and_none_of_it_is_lost():
  outcome = jnp.array([0.7, 1.0, -0.25])
  length = jnp.array([3, 1, 5])
  rewards = credit.outcome_rewards_at_end(outcome, length, 5)
  np.testing.assert_allclose(
    rewards,
    [[0, 0, 0.7, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, -0.25]],
  )
  mask = np.arange(5) < np.asarray(length)[:, None]
  np.testing.assert_array_equal(np.sum(rewards * mask, axis=-1), outcome)


def test_an_empty_completion_is_paid_nothing():
  rewards = credit.outcome_rewards_at_end(jnp.ones(1), jnp.zeros(1, int), 3)
  np.testing.assert_array_equal(rewards, np.zeros((1, 3)))


def test_min_form_weights_are_as_worked_by_hand():
  # τ = 0.1 / ln 2 makes 0.1 more reward half the weight: 2/3 and 1/3.
  rewards = credit.min_form_rewards(
    jnp.array([0.2, 0.3, jnp.nan]),
    jnp.array([True, True, False]),
    tau=0.1 / np.log(2.0),
  )
  np.testing.assert_allclose(rewards, [0.4 / 3, 0.1, 0.0], rtol=1e-6)


def test_the_min_form_sum_tends_to_the_minimum_and_stays_in_range():
  thought_rewards = jnp.asarray(
    np.random.default_rng(0).random((8, 5)), jnp.float32
  )
  mask = jnp.arange(5)[None] < jnp.array([5, 4, 3, 2, 1, 5, 5, 5])[:, None]
  lowest = np.min(np.where(mask, thought_rewards, 2.0), axis=-1)
  highest = np.max(np.where(mask, thought_rewards, -1.0), axis=-1)
  total = jnp.sum(credit.min_form_rewards(thought_rewards, mask), axis=-1)
  assert np.all(total >= lowest - 1e-6) and np.all(total <= highest + 1e-6)
  total = jnp.sum(credit.min_form_rewards(thought_rewards, mask, 1e-4), axis=-1)
  np.testing.assert_allclose(total, lowest, atol=1e-4)


def test_min_form_of_no_thoughts_is_zero():
  rewards = credit.min_form_rewards(jnp.ones((1, 3)), jnp.zeros((1, 3), bool))
  np.testing.assert_array_equal(rewards, np.zeros((1, 3)))


def test_returns_are_the_rewards_still_to_come():
  returns = credit.returns_to_go(
    jnp.array([[1.0, 2.0, 4.0, jnp.nan]]),
    jnp.array([[True, True, True, False]]),
  )
  np.testing.assert_array_equal(returns, [[7.0, 6.0, 4.0, 0.0]])


def test_tokens_take_the_value_of_their_thought():
  values = jnp.array([[1.0, 2.0, 3.0]] * 4)
  # Row 0: two thoughts and two tokens after them. 1: one thought; what lies
  # beyond the count is not read. 2: no thoughts. 3: three, exactly filled.
  tokens = credit.thoughts_to_tokens(
    values,
    thought_end=jnp.array([[1, 4, 0], [2, 0, 0], [0, 0, 0], [0, 1, 6]]),
    thought_count=jnp.array([2, 1, 0, 3]),
    length=jnp.array([7, 5, 2, 7]),
    size=8,
  )
  np.testing.assert_array_equal(
    tokens,
    [
      [1, 1, 2, 2, 2, 2, 2, 0],
      [1, 1, 1, 1, 1, 0, 0, 0],
      [1, 1, 0, 0, 0, 0, 0, 0],
      [1, 2, 3, 3, 3, 3, 3, 0],
    ],
  )


def test_tokens_of_a_group_are_those_of_its_rollouts_alone():
  rng = np.random.default_rng(1)
  values = jnp.asarray(rng.random((2, 3, 4)), jnp.float32)
  ends = jnp.asarray(np.sort(rng.integers(0, 9, (2, 3, 4)), axis=-1))
  count = jnp.asarray(rng.integers(0, 5, (2, 3)))
  length = jnp.asarray(rng.integers(0, 10, (2, 3)))
  tokens = credit.thoughts_to_tokens(values, ends, count, length, 9)
  for row in np.ndindex(2, 3):
    alone = credit.thoughts_to_tokens(
      values[row], ends[row], count[row], length[row], 9
    )
    np.testing.assert_array_equal(tokens[row], alone)
