"""Devices and pieces of problems."""

import os
import platform
import subprocess
import sys
import types

import jax
import ml_collections
import numpy as np
import pytest

from reasoning_rl.pipelines import devices
from reasoning_rl.pipelines import experiment as experiment_lib

DEFAULT = ml_collections.ConfigDict(dict(data=-1, fsdp=1, tensor=1))


def test_a_cpu_device_is_made_of_every_core_unless_somebody_has_chosen(
  monkeypatch,
):
  made = {}
  config = types.SimpleNamespace(
    jax_num_cpu_devices=-1,
    update=lambda name, count: made.update({name: count}),
  )
  monkeypatch.setattr(devices.jax, "config", config)
  monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(3)))
  monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=5")
  devices.use_all_cores()
  assert not made
  monkeypatch.delenv("XLA_FLAGS")
  devices.use_all_cores()
  assert made == {"jax_num_cpu_devices": 3}
  config.jax_num_cpu_devices = 2
  made.clear()
  devices.use_all_cores()
  assert not made


def test_devices_that_exist_already_are_kept():
  jax.devices()
  devices.use_all_cores()


# A thread's first arrays of 256 MiB, and how many pages each brought.
FREED = """
import resource, sys, threading
import ml_collections, numpy as np
from reasoning_rl.pipelines import devices
path = sys.argv[1]
config = ml_collections.ConfigDict(dict(model=dict(path=path)))
devices.keep_freed_memory(config)

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  np.ones(1 << 25)
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def run():
  for _ in range(2):
    print(faults())

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="glibc alone is told to"
)
@pytest.mark.parametrize("path", ["a/model", ""])
def test_freed_memory_is_kept_for_a_pretrained_model(path):
  plain = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("MALLOC_", "GLIBC_"))
  }
  done = subprocess.run(
    [sys.executable, "-c", FREED, path],
    capture_output=True, text=True, check=True, env=plain,
  )  # fmt: skip
  first, second = map(int, done.stdout.split())
  assert first > 64
  assert second < 64 if path else second > 64


def test_learners_use_one_cpu_device_and_searches_all():
  learners, searches = devices.meshes(DEFAULT)
  assert learners.devices.size == 1
  assert searches.devices.size == jax.device_count()


@pytest.mark.parametrize(
  ("count", "most", "shards", "size"),
  [(10, 4, 1, 4), (10, 4, 2, 4), (10, 5, 2, 4), (7, 99, 2, 8), (1, 9, 2, 1)],
)
def test_pieces_are_equal_whole_and_complete(
  monkeypatch, count, most, shards, size
):
  monkeypatch.setattr(
    experiment_lib.sharding_lib, "num_shards", lambda _: shards
  )
  experiment = types.SimpleNamespace(problem_mesh=None)
  pieces = list(experiment_lib.Experiment.pieces(experiment, count, most))
  assert {len(index) for index, _ in pieces} == {size}
  kept = np.concatenate([index[:keep] for index, keep in pieces])
  np.testing.assert_array_equal(kept, np.arange(count))
