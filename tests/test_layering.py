"""Who may import whom, what nobody may use, and how long things may grow."""

from __future__ import annotations

import ast
import pathlib
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "reasoning_rl"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60  # Without the docstring.

# Each package may import itself and what stands here.
LEVEL_0 = {"types", "tree", "pool", "masking", "extras"}
LEVEL_1 = {"tasks", "data", "models", "search"}
LEVEL_1 |= {"labels", "prm", "rl", "training"}
ALLOWED = {name: LEVEL_0 for name in LEVEL_0 | LEVEL_1}
ALLOWED["decoding"] = LEVEL_0 | LEVEL_1
ALLOWED["evaluation"] = ALLOWED["decoding"] | {"decoding"}
ALLOWED["pipelines"] = ALLOWED["evaluation"] | {"evaluation"}

# What only these packages may import.
HOMES = {
  "flax.linen": {"models"},
  "flax.nnx": set(),
  "optax": {"training"},
  "orbax": {"training"},
  "ml_collections": {"pipelines"},
}
# Code in a file of data, and what is no dependency of the package.
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal"}
FORBIDDEN_MODULES |= {"shelve", "beartype", "chex", "mctx", "pytest"}
FORBIDDEN_MODULES |= {"tensorflow", "torch"}
FORBIDDEN_CALLS = {"eval", "exec", "yaml.load", "torch.load", "__import__"}
# The one file that runs a program somebody else wrote: in a confined process of
# its own, never in the one that imports the package.
RUNS_PROGRAMS = "reasoning_rl/tasks/sandbox/child/harness.py"


def dotted(node: ast.AST) -> str:
  """Returns `a.b.c` for such an expression and "" for any other."""
  if isinstance(node, ast.Name):
    return node.id
  if isinstance(node, ast.Attribute) and dotted(node.value):
    return f"{dotted(node.value)}.{node.attr}"
  return ""


def imported_names(tree: ast.AST, package: str) -> set[str]:
  """Returns every dotted name that a module of `package` imports or spells.

  Imports inside functions count. `from a import b` gives `a` and `a.b`, for
  `b` may be a module; a use of `flax.linen` after `import flax` counts as well.
  """
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      parts = package.split(".")
      parents = parts[: len(parts) - node.level + 1] if node.level else []
      module = ".".join(parents + ([node.module] if node.module else []))
      names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    elif isinstance(node, ast.Attribute):
      names.add(dotted(node))
    elif isinstance(node, ast.Call):
      called = dotted(node.func).split(".")[-1]
      if called == "import_module" and isinstance(node.args[0], ast.Constant):
        names.add(node.args[0].value)
  return names - {""}


def within(name: str, module: str) -> bool:
  return name == module or name.startswith(module + ".")


def layering_faults(source: str, path: str) -> list[str]:
  """Returns what the module at `path`, from the root, must not import."""
  parts = pathlib.PurePath(path).with_suffix("").parts
  own = parts[1] if len(parts) > 1 else ""
  if own == "__init__":
    own = ""  # The package's own file: below everything.
  elif own not in ALLOWED:
    return [f"{path}: give {own!r} its place in tests/test_layering.py"]
  names = imported_names(ast.parse(source), ".".join(parts[:-1]))
  faults = []
  for name in sorted(names):
    target = name.split(".")[1:2] if within(name, PACKAGE) else []
    if target and target[0] in ALLOWED and target[0] != own:
      if target[0] not in ALLOWED.get(own, ()):
        faults.append(f"{path}: {own} must not import {target[0]}")
    faults += [
      f"{path}: only {sorted(homes)} may import {module}"
      for module, homes in HOMES.items()
      if within(name, module) and own not in homes
    ]
  return sorted(set(faults))


def safety_faults(source: str, path: str) -> list[str]:
  """Returns the forbidden modules and calls in the module."""
  tree = ast.parse(source)
  roots = {name.split(".")[0] for name in imported_names(tree, "")}
  faults = [
    f"{path}: nothing here may import {name}"
    for name in sorted(roots & FORBIDDEN_MODULES)
  ]
  for node in ast.walk(tree):
    if not isinstance(node, ast.Call):
      continue
    called = dotted(node.func)
    if called == "exec" and path == RUNS_PROGRAMS:
      continue
    if called in FORBIDDEN_CALLS:
      faults.append(f"{path}:{node.lineno}: calls {called}")
    for keyword in node.keywords:
      value = getattr(keyword.value, "value", None)
      if keyword.arg == "allow_pickle" and value is not False:
        faults.append(f"{path}:{node.lineno}: allow_pickle")
  return faults


def size_faults(source: str, path: str) -> list[str]:
  """Returns the file and the functions in it that have grown too long."""
  faults = []
  lines = len(source.splitlines())
  if lines > MAX_FILE_LINES:
    faults.append(f"{path}: {lines} lines, at most {MAX_FILE_LINES}")
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      lines = node.end_lineno - node.lineno + 1
      if ast.get_docstring(node) is not None:
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
      if lines > MAX_FUNCTION_LINES:
        faults.append(
          f"{path}:{node.lineno}: {node.name} has {lines} lines without its"
          f" docstring, at most {MAX_FUNCTION_LINES}"
        )
  return faults


def sources(*folders: str) -> list[tuple[str, str]]:
  """Returns (source, path from the root) of each Python file in folders."""
  paths = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
  return [
    (path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    for path in sorted(paths)
  ]


def test_packages_import_only_what_lies_below_them():
  files = sources(PACKAGE)
  assert files
  assert [f for file in files for f in layering_faults(*file)] == []


def test_nothing_runs_code_from_data():
  # Not benchmarks, which may import the peers they measure.
  files = sources(PACKAGE, "scripts", "configs")
  assert [fault for file in files for fault in safety_faults(*file)] == []


def test_files_and_functions_stay_short():
  files = sources(PACKAGE, "scripts", "configs", "benchmarks")
  assert [fault for file in files for fault in size_faults(*file)] == []


def test_configs_know_nothing_of_the_code():
  for source, path in sources("configs"):
    names = imported_names(ast.parse(source), "configs")
    roots = {name.split(".")[0] for name in names}
    assert not roots & {PACKAGE, "jax", "flax", "optax", "numpy"}, path


def test_scripts_call_pipelines_only():
  for source, path in sources("scripts"):
    for name in imported_names(ast.parse(source), ""):
      inside = name.split(".")[1:2] if within(name, PACKAGE) else []
      assert inside in ([], ["pipelines"]), f"{path}: {name}"


# The checker itself.


@pytest.mark.parametrize(
  ("path", "source"),
  [
    ("search/mcts.py", "from reasoning_rl import models"),
    ("search/mcts.py", "from reasoning_rl.models import transformer"),
    ("search/mcts.py", "import reasoning_rl.models.transformer as t"),
    ("search/mcts.py", "from ..models import transformer"),
    ("search/mcts.py", "from .. import decoding"),
    ("search/mcts.py", "def f():\n  from reasoning_rl import decoding"),
    ("search/mcts.py", "importlib.import_module('reasoning_rl.models')"),
    ("masking.py", "from reasoning_rl import rl"),
    ("decoding/expand.py", "from reasoning_rl import evaluation"),
    ("evaluation/report.py", "from reasoning_rl.pipelines import workdir"),
    ("__init__.py", "from reasoning_rl import types"),
    ("search/mcts.py", "from flax import linen as nn"),
    ("search/mcts.py", "import flax.linen"),
    ("search/mcts.py", "import flax\nx = flax.linen.Dense"),
    ("models/mlp.py", "from flax import nnx"),
    ("pipelines/loop.py", "import optax"),
    ("rl/losses.py", "from orbax import checkpoint"),
    ("training/optimizer.py", "from ml_collections import ConfigDict"),
    ("surprise/x.py", ""),
  ],
)
def test_a_forbidden_edge_is_found(path, source):
  assert len(layering_faults(source, f"{PACKAGE}/{path}")) == 1


@pytest.mark.parametrize(
  ("path", "source"),
  [
    ("search/mcts.py", "from reasoning_rl import masking, tree as tree_lib"),
    ("search/mcts.py", "from reasoning_rl.search import selection"),
    ("search/mcts.py", "from . import selection\nfrom ..types import Tree"),
    ("search/mcts.py", "import flax.struct"),
    ("tree.py", "from reasoning_rl.types import Trajectory"),
    ("models/mlp.py", "from flax import linen as nn"),
    ("training/optimizer.py", "import optax\nimport orbax.checkpoint"),
    ("evaluation/report.py", "from reasoning_rl import decoding, search"),
    ("pipelines/loop.py", "import ml_collections\nfrom reasoning_rl import rl"),
    ("__init__.py", "__version__ = '0.1.0'"),
  ],
)
def test_an_allowed_edge_is_let_through(path, source):
  assert layering_faults(source, f"{PACKAGE}/{path}") == []


@pytest.mark.parametrize(
  "source",
  [
    "import pickle",
    "from cloudpickle import loads",
    "eval('1')",
    "exec(code)",
    "yaml.load(text)",
    "numpy.load(path, allow_pickle=True)",
    "import mctx",
  ],
)
def test_a_forbidden_call_or_module_is_found(source):
  assert len(safety_faults(source, "x.py")) == 1


def test_one_file_may_run_programs_and_no_module_imports_it():
  assert safety_faults("exec(code)", RUNS_PROGRAMS) == []
  assert len(safety_faults("eval(code)", RUNS_PROGRAMS)) == 1
  name = RUNS_PROGRAMS.removesuffix(".py").replace("/", ".")
  for source, path in sources(PACKAGE, "scripts", "benchmarks"):
    package = ".".join(pathlib.PurePath(path).parts[:-1])
    assert name not in imported_names(ast.parse(source), package), path


def test_lookalikes_of_forbidden_calls_are_let_through():
  source = """
  jax.eval_shape(f, x)
  spec.loader.exec_module(module)
  numpy.load(path, allow_pickle=False)
  model.eval()
  """
  assert safety_faults(textwrap.dedent(source), "x.py") == []


def test_long_files_and_functions_are_found():
  body = "  x = 1\n"
  documented = 'def f():\n  """A.\n\n  B.\n  """\n'
  fits = documented + body * (MAX_FUNCTION_LINES - 1)
  assert size_faults(fits, "x.py") == []
  assert len(size_faults(fits + body, "x.py")) == 1
  assert size_faults("x = 1\n" * MAX_FILE_LINES, "x.py") == []
  assert len(size_faults("x = 1\n" * (MAX_FILE_LINES + 1), "x.py")) == 1
