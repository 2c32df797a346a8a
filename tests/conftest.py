"""What holds in every test: JAX's settings and checked annotations."""

from __future__ import annotations

import ast
import gc
import importlib.abc
import importlib.machinery
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
UNCHECKED = ("reasoning_rl.types", "reasoning_rl.tree")
# Of one worker, after a file's tests: half of what Linux grants by default. No
# file adds more than 15,000.
MOST_MAPPINGS = 30_000
# Host code whose functions take no arrays and are called very often: beartype
# alone checks them, for jaxtyping takes some 30 µs per call to track shapes.
SHAPELESS = (
  "reasoning_rl.models.pretrained.gguf_header",
  "reasoning_rl.models.pretrained.strict_json",
  "reasoning_rl.tasks.arithmetic",
  "reasoning_rl.tasks.base",
  "reasoning_rl.tasks.countdown",
  "reasoning_rl.tasks.final_answer",
  "reasoning_rl.tasks.mental_arithmetic",
  "reasoning_rl.tasks.prompts",
  "reasoning_rl.tasks.registry",
  "reasoning_rl.tasks.word_problems",
  "reasoning_rl.tasks.worked",
) + tuple(
  f"reasoning_rl.tasks.mathematics.{module}"
  for module in (
    "admission answers extraction grammar judging normalise numbers reading"
    " units verifier workers"
  ).split()
)


def pytest_configure(config: pytest.Config) -> None:
  del config
  _use_one_core_per_worker()
  _configure_jax()


def _use_one_core_per_worker() -> None:
  """Pins each worker: XLA's threads would fight over the cores otherwise.

  It has to come before JAX starts, which sizes its thread pools by it.
  """
  worker = os.environ.get("PYTEST_XDIST_WORKER", "")
  if worker and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})


def _configure_jax() -> None:
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  import jax  # Only now: it reads the environment when imported.

  jax.config.update("jax_numpy_rank_promotion", "raise")
  cache = ROOT / ".cache"
  (cache / "jax").mkdir(parents=True, exist_ok=True)
  (cache / ".gitignore").write_text("*\n")
  jax.config.update("jax_compilation_cache_dir", str(cache / "jax"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def num_mappings() -> int:
  """Returns the memory mappings of this process, 0 where none are counted."""
  try:
    with open("/proc/self/maps", "rb") as maps:
      return sum(1 for _ in maps)
  except OSError:
    return 0


def drop_programs(limit: int = MOST_MAPPINGS) -> None:
  """Frees all compiled programs once they take more than `limit` mappings."""
  if num_mappings() > limit:
    import jax

    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
  """Keeps a worker below the mappings that Linux grants a process.

  XLA maps every compiled function by itself. The suite compiles thousands, and
  past 65,530 mappings (vm.max_map_count) the next compilation is a
  segmentation fault.
  """
  yield
  drop_programs()


@pytest.fixture(scope="module")
def quick_compilation():
  """Compiles a file's programs quickly rather than well, for they are small."""
  import jax

  name = "jax_disable_most_optimizations"
  before = jax.config.read(name)
  jax.config.update(name, True)
  yield
  jax.config.update(name, before)


class TypecheckFinder(importlib.abc.MetaPathFinder):
  """Imports a package with the annotations of its functions checked.

  jaxtyping's own import hook also checks the fields of dataclasses, which
  breaks the pytrees among them: `jax.vmap` and `jax.eval_shape` rebuild those
  with leaves that are no arrays. This one checks functions and methods only.

  Attributes:
    package: The package whose modules are checked.
    unchecked: Modules in it that are not.
  """

  def __init__(self, package: str, unchecked: tuple[str, ...]):
    self.package = package
    self.unchecked = unchecked

  def find_spec(self, fullname, path=None, target=None):
    inside = fullname == self.package or fullname.startswith(self.package + ".")
    if not inside or fullname in self.unchecked:
      return None
    spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
    if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
      spec.loader = TypecheckLoader(spec.loader.name, spec.loader.path)
    return spec


class TypecheckLoader(importlib.machinery.SourceFileLoader):
  """Decorates every function of a module with jaxtyping and beartype."""

  def get_code(self, fullname):
    # Past the .pyc files: those hold the code without the decorators.
    path = self.get_filename(fullname)
    return self.source_to_code(self.get_data(path), path)

  def source_to_code(self, data, path, *, _optimize=-1):
    tree = _FunctionDecorator().visit(ast.parse(data, path))
    ast.fix_missing_locations(tree)
    return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

  def exec_module(self, module):
    import beartype
    import jax
    import jaxtyping
    import numpy as np

    # The package's arrays are NumPy's on the host and JAX's on the device, and
    # its functions take both: so does `Array` here.
    jaxtyping.Array = jax.Array | np.ndarray
    # The PEP 484 tower: an int may stand where a float is asked for.
    strict = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
    shaped = jaxtyping.jaxtyped(typechecker=strict)
    module.__dict__["__typecheck__"] = (
      strict if module.__name__ in SHAPELESS else shaped
    )
    super().exec_module(module)


class _FunctionDecorator(ast.NodeTransformer):
  """Decorates annotated functions and methods, not those inside a function.

  Those would be decorated anew at every call. The decorator comes last, so
  that `jax.jit` and the like stay outside it.
  """

  def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
    arguments = [n for n in ast.walk(node.args) if isinstance(n, ast.arg)]
    if node.returns or any(a.annotation for a in arguments):
      decorator = ast.Name("__typecheck__", ast.Load())
      node.decorator_list.append(ast.copy_location(decorator, node))
    return node


# Here and not in pytest_configure: when a folder is named, pytest imports its
# conftest.py, and with it the package, before that is called.
if not os.environ.get("NO_TYPECHECK"):
  sys.meta_path.insert(0, TypecheckFinder("reasoning_rl", UNCHECKED))
