"""Tests of when the warm-up stops."""

from reasoning_rl.pipelines import train_sft


def test_a_plateau_is_a_last_fifth_that_gained_too_little():
  rising = [[step, step / 100] for step in range(10, 101, 10)]
  assert not train_sft.plateaued(rising, 0.01)
  # Best before 80: 0.8; after it 0.805.
  assert train_sft.plateaued([*rising[:8], [90, 0.7], [100, 0.805]], 0.01)
  assert not train_sft.plateaued([*rising[:8], [90, 0.82], [100, 0.7]], 0.01)
  assert not train_sft.plateaued([[10, 0.5]], 0.01)


def test_a_policy_that_has_learnt_nothing_yet_is_on_no_plateau():
  nothing = [[step, 0.01] for step in range(10, 110, 10)]
  assert train_sft.plateaued(nothing, 0.01)
  assert not train_sft.plateaued(nothing, 0.01, least=0.05)
  assert train_sft.plateaued([*nothing[:3], [100, 0.05]], 0.1, least=0.05)
