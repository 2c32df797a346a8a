"""A model is loaded straight into the shardings of eight devices."""

import pytest


@pytest.fixture(scope="module")
def report(tmp_path_factory, on_eight_devices):
  """What the process with eight devices has to say."""
  directory = tmp_path_factory.mktemp("model")
  return on_eight_devices("load_main.py", str(directory))


def test_each_device_holds_its_part_of_each_tensor(report):
  assert report["devices"] == 8
  assert report["wanted"] and report["equal"]
  shapes = report["shapes"]
  # D = 8 over fsdp = 2; H = 4, J = 2, F = 12 and V = 16 over tensor = 2.
  attention = "layers_1/attention"
  assert shapes[f"{attention}/q/kernel"] == [4, 2, 4]
  assert shapes[f"{attention}/k/kernel"] == [4, 1, 4]
  assert shapes[f"{attention}/q/bias"] == [2, 4]
  assert shapes[f"{attention}/out/kernel"] == [2, 4, 4]
  assert shapes["layers_0/mlp/down/kernel"] == [6, 4]
  assert shapes["token_embedding/embedding"] == [8, 4]
  assert shapes["language_head/kernel"] == [4, 8]


def test_a_model_on_eight_devices_is_exported_as_it_came(report):
  assert report["same_file"]
