"""Adapters, in parts and with checkpointed blocks: one device equals eight."""

import pytest


@pytest.fixture(scope="module")
def report(on_eight_devices):
  """What the process with eight devices has to say."""
  return on_eight_devices("adapters_main.py")


def test_parts_on_eight_devices_update_as_the_whole_does_on_one(report):
  assert report["moved"] > 1e-2
  assert report["params"] < 1e-5
  assert report["metrics"] < 1e-5


def test_adapters_are_split_as_their_kernels_are(report):
  # [D, r] = [8, 2] over fsdp=2; [r, F] = [2, 8] over tensor=2.
  assert report["lora_a_shard"] == [4, 2]
  assert report["lora_b_shard"] == [2, 4]


def test_a_fingerprint_does_not_depend_on_the_devices(report):
  assert report["same_fingerprint"]
