"""Processes with eight devices."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

_HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def on_eight_devices():
  """Runs a script with eight host devices and returns its last line, JSON.

  The number of devices is fixed when JAX starts: hence a process of its own.
  """

  def run(name, *arguments):
    flags = "--xla_force_host_platform_device_count=8"
    # Compiling is most of the work, and the programs run once.
    flags += " --xla_backend_optimization_level=0"
    environment = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": flags,
      "PYTHONPATH": str(_HERE.parents[1]),
    }
    done = subprocess.run(
      [sys.executable, "-W", "error", str(_HERE / name), *arguments],
      env=environment,
      capture_output=True,
      text=True,
      timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])

  return run
