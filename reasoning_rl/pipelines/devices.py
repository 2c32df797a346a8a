"""Which devices a run uses, and for what."""

from __future__ import annotations

import contextlib
import ctypes
import os

import jax
import ml_collections

from reasoning_rl.training import sharding as sharding_lib

_MAX_CPU_DEVICES = 8
_DEFAULT_MESH = {"data": -1, "fsdp": 1, "tensor": 1}
# Numbers and values for `mallopt`, of glibc's malloc.h.
_MALLOC_OPTIONS = (
  (-8, 1),  # M_ARENA_MAX: no thread is given an arena of its own.
  (-4, 0),  # M_MMAP_MAX: large allocations are not mapped apart.
  (-1, -1),  # M_TRIM_THRESHOLD: the end of the heap is never given back.
)


def use_all_cores() -> None:
  """Makes a CPU device of every core, unless JAX has made its devices already.

  Operations of small models are too short to be worth two threads, so sampling
  and searching twice as many problems at a time is what uses two cores.
  Accelerators are not affected, nor is who has chosen a number of devices.
  """
  chosen = "xla_force_host_platform_device_count" in os.environ.get(
    "XLA_FLAGS", ""
  )
  if not chosen and jax.config.jax_num_cpu_devices < 0:
    # Without affinities, as on macOS, all cores are there.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):
      jax.config.update("jax_num_cpu_devices", min(cores, _MAX_CPU_DEVICES))


def keep_freed_memory(
  config: ml_collections.ConfigDict | None = None,
) -> None:
  """Makes glibc keep what is freed; other C libraries are left as they are.

  A dispatch's scratch memory is one allocation, given back when it ends. From
  a thread's own arena glibc maps it anew each time, and each time its pages
  are cleared: of an update of a 135 M parameter model on two cores that was
  2.4 GB, 0.3 s of 3.0 s, and 1.2 s where the machine's host had taken the pages
  back in the meantime. In one arena that is never trimmed nothing is mapped
  twice.

  The process then holds on to the most it ever needed. To be called before the
  first array is made: threads that have an arena of their own keep it.

  Args:
    config: A run's. If its model is not a pretrained one, nothing is done: two
      devices that sample from a small model wait for each other in one arena,
      and draw 0.82 of the tokens.
  """
  if config is not None and not config.get("model", {}).get("path"):
    return
  if os.name != "posix":
    return
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:
    for option, value in _MALLOC_OPTIONS:
      mallopt(option, value)


def meshes(
  config: ml_collections.ConfigDict,
) -> tuple[jax.sharding.Mesh, jax.sharding.Mesh]:
  """Returns the mesh of the learners, and that of sampling and searching.

  They are one, but that on a CPU learners use one device unless the config
  asks for more: a train step's operations are long enough for its threads, and
  XLA's collectives can wait for each other for ever where there are no more
  threads than devices.

  Args:
    config: The section `mesh`.
  """
  sizes = config.to_dict()
  if jax.default_backend() != "cpu" or sizes != _DEFAULT_MESH:
    mesh = sharding_lib.make_mesh(**sizes)
    return mesh, mesh
  learners = sharding_lib.make_mesh(devices=jax.devices()[:1])
  return learners, sharding_lib.make_mesh()
