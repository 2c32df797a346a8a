import pathlib

import pytest

from reasoning_rl.evaluation import accounting


def test_costs_add_up_and_the_peak_is_the_larger_one():
  first = accounting.Cost(10, 5, 1e6, 800, 0.5)
  second = accounting.Cost(20, 0, 2e6, 300, 0.25)
  assert first + second == accounting.Cost(30, 5, 3e6, 800, 0.75)


def test_samples_side_by_side_hold_their_caches_together():
  cost = accounting.Cost(10, 5, 1e6, 800, 0.5)
  assert cost.scaled(4) == accounting.Cost(40, 20, 4e6, 3200, 2.0)


def test_merging_weighs_by_problems():
  batches = [accounting.Cost(10, 0, 100, 7, 1), accounting.Cost(40, 8, 0, 9, 4)]
  merged = accounting.merge(batches, [2, 1])
  # (2 · 10 + 40) / 3 = 20; 8 / 3; 200 / 3; the larger peak; (2 + 4) / 3.
  assert merged.policy_tokens == pytest.approx(20)
  assert merged.prm_tokens == pytest.approx(8 / 3)
  assert merged.flops == pytest.approx(200 / 3)
  assert merged.peak_cache_bytes == 9
  assert merged.seconds == pytest.approx(2)


def test_merging_nothing_is_refused():
  with pytest.raises(ValueError, match="at least one problem"):
    accounting.merge([], [])


def test_flops_of_a_transformer_by_hand():
  # Per token 2 · 1000 + 4 · 2 layers · 8 wide · 16 positions = 3024.
  assert accounting.transformer_flops(1000, 2, 8, 10, 16) == 30240
  trained = accounting.transformer_flops(1000, 2, 8, 10, 16, training=True)
  assert trained == 3 * 30240


def test_flops_equal_the_matrix_multiplications_counted_one_by_one():
  width, hidden, layers, vocabulary, length = 8, 32, 3, 11, 5
  per_layer = 4 * width * width + 2 * width * hidden
  parameters = layers * per_layer + width * vocabulary

  def matmul(rows, inner, columns):
    return 2 * rows * inner * columns

  counted = 0
  for _ in range(layers):
    counted += 4 * matmul(length, width, width)
    counted += 2 * matmul(length, width, hidden)
    counted += matmul(length, width, length)  # Scores, all heads together.
    counted += matmul(length, length, width)  # Weighted sum of values.
  counted += matmul(length, width, vocabulary)
  found = accounting.transformer_flops(
    parameters, layers, width, length, length
  )
  assert found == counted


def test_the_peak_of_memory_is_the_systems_own_figure_in_bytes():
  status = pathlib.Path("/proc/self/status")
  if not status.exists():
    pytest.skip("The system has no /proc to compare with.")
  [line] = [x for x in status.read_text().splitlines() if "VmHWM" in x]
  expected = int(line.split()[1]) * 1024
  assert accounting.peak_rss_bytes() == pytest.approx(expected, rel=0.05)
