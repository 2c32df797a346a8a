"""Groups that can teach."""

import jax.numpy as jnp
import numpy as np

from reasoning_rl.rl import advantages, groups

REWARDS = jnp.array([[1.0, 0.0, 1.0], [1.0] * 3, [0.0] * 3, [0.7] * 3])


def test_only_groups_that_are_neither_all_right_nor_all_wrong_are_mixed():
  np.testing.assert_array_equal(
    groups.mixed_group_mask(REWARDS), [True, False, False, False]
  )


def test_mixed_groups_are_those_with_an_outcome_advantage():
  has_advantage = jnp.any(advantages.grpo_outcome(REWARDS) != 0, axis=-1)
  np.testing.assert_array_equal(groups.mixed_group_mask(REWARDS), has_advantage)
