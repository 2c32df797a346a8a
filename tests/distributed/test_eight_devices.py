"""One device equals eight: data, fsdp and tensor parallel at once."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

_MAIN = pathlib.Path(__file__).with_name("eight_devices_main.py")
_ROOT = _MAIN.parents[2]
_TOLERANCE = 1e-5  # float32, sums in another order.


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  """What the process with eight devices has to say."""
  # The number of devices is fixed when JAX starts: hence a process of its own.
  flags = "--xla_force_host_platform_device_count=8"
  # Compiling is most of the work, and the programs run once.
  flags += " --xla_backend_optimization_level=0"
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": flags,
    "PYTHONPATH": str(_ROOT),
  }
  directory = tmp_path_factory.mktemp("checkpoint")
  done = subprocess.run(
    [sys.executable, "-W", "error", str(_MAIN), str(directory)],
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr[-4000:]
  return json.loads(done.stdout.splitlines()[-1])


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
