"""One device equals eight: data, fsdp and tensor parallel at once."""

import pytest

_TOLERANCE = 1e-5  # float32, sums in another order.


@pytest.fixture(scope="module")
def report(tmp_path_factory, on_eight_devices):
  """What the process with eight devices has to say."""
  directory = tmp_path_factory.mktemp("checkpoint")
  return on_eight_devices("eight_devices_main.py", str(directory))


def test_the_state_is_split_over_the_eight_devices(report):
  assert report["devices"] == 8
  # [D, H, K] = [8, 4, 4], D over fsdp=2 and H over tensor=2.
  assert report["param_shard"] == [4, 2, 4]
  assert report["moment_shard"] == [4, 2, 4]


def test_eight_devices_update_as_one_does(report):
  assert report["moved"] > 1e-2  # There was something to agree on.
  assert report["params"] < _TOLERANCE
  assert report["metrics"] < _TOLERANCE


def test_several_steps_in_one_dispatch_agree_as_well(report):
  assert report["params_multi"] < _TOLERANCE
  assert report["metrics_multi"] < _TOLERANCE


def test_a_checkpoint_of_eight_devices_opens_on_one(report):
  assert report["checkpoint"] == 0.0
  assert report["checkpoint_devices"] == 1
