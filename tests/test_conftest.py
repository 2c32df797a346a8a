"""A worker gives its compiled programs back before Linux refuses more."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture
def conftest(pytestconfig):
  plugins = pytestconfig.pluginmanager.get_plugins()
  return next(p for p in plugins if hasattr(p, "drop_programs"))


@pytest.fixture
def programs():
  """Twenty compiled programs, held as any module holds its own."""
  functions = [jax.jit(lambda x, n=n: jnp.sin(x + n)) for n in range(20)]
  for function in functions:
    function(jnp.ones(3))
  return functions


def test_programs_past_the_limit_are_dropped(conftest, programs):
  before = conftest.num_mappings()
  if not before:
    pytest.skip("this system does not count a process's mappings")
  conftest.drop_programs(limit=before - 1)
  # A program is at least its code, its constants and a guard.
  assert conftest.num_mappings() <= before - 2 * len(programs)
  assert programs[3](jnp.zeros(3))[0] == jnp.sin(3.0)


def test_programs_below_the_limit_are_kept(conftest, programs):
  jitted = programs[0]
  assert jitted._cache_size() == 1
  conftest.drop_programs(limit=10**9)
  assert jitted._cache_size() == 1


def test_annotations_are_checked_as_soon_as_the_file_is_read(conftest):
  """A named folder's conftest.py imports the package before any hook runs."""
  code = (
    f"import runpy; runpy.run_path({conftest.__file__!r})\n"
    "from reasoning_rl import masking\n"
    "print(hasattr(masking, '__typecheck__'))"
  )
  found = subprocess.run(
    [sys.executable, "-c", code],
    env={k: v for k, v in os.environ.items() if k != "NO_TYPECHECK"},
    capture_output=True,
    text=True,
    check=True,
  )
  assert found.stdout == "True\n"
