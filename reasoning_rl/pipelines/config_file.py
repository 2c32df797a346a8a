"""Config files: Python files whose `get_config()` returns a ConfigDict."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import inspect
import os
import pathlib
import sys
import traceback
import types

import ml_collections

from reasoning_rl.pipelines.errors import ConfigError


def split_variant(source: str) -> tuple[pathlib.Path, str]:
  """Splits `configs/x.py:variant`; the variant is "" where none is named."""
  path, colon, variant = source.rpartition(":")
  if not colon or pathlib.Path(source).exists():
    path, variant = source, ""
  return pathlib.Path(path).expanduser(), variant


def load_base(path: pathlib.Path) -> ml_collections.ConfigDict:
  """Returns the config of the `base.py` beside `path`, or of the checkout."""
  checkout = pathlib.Path(__file__).parents[2] / "configs"
  for folder in (path.parent, checkout):
    if (folder / "base.py").is_file():
      return load(folder / "base.py", "")
  raise ConfigError(
    f"there is no base.py beside {path}: it has to list every config key"
  )


def load(path: pathlib.Path, variant: str) -> ml_collections.ConfigDict:
  """Returns what `get_config(variant)` of a file gives, or `get_config()`."""
  if not path.is_file():
    raise ConfigError(f"config file {path} does not exist")
  if path.suffix != ".py":
    raise ConfigError(
      f"config file {path} is no Python file: its name ends .py"
    )
  try:
    get_config = getattr(_import(path), "get_config", None)
    if get_config is None:
      raise ConfigError(f"config file {path} has no get_config()")
    if variant and not inspect.signature(get_config).parameters:
      raise ConfigError(f"config file {path} has no variants: drop :{variant}")
    config = get_config(variant) if variant else get_config()
  except ConfigError:
    raise
  except Exception as error:  # The file's own code may raise anything.
    where = f"{path}{_line_of(error, path)}"
    raise ConfigError(
      f"config file {where} cannot be loaded: {type(error).__name__}: {error}"
    ) from error
  if not isinstance(config, ml_collections.ConfigDict):
    raise ConfigError(f"get_config() of {path} must return a ConfigDict")
  return config


def _line_of(error: Exception, path: pathlib.Path) -> str:
  """Returns `, line 12`, the last line of `path` that `error` came through."""
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if pathlib.Path(frame.filename).resolve() == path.resolve()
  ]
  return f", line {lines[-1]}" if lines else ""


def _import(path: pathlib.Path) -> types.ModuleType:
  """Imports a file as a member of a package that is the file's folder.

  So `from . import base` finds the neighbour, wherever the process was
  started, and files of the same name in two folders are two modules.
  """
  folder = path.resolve().parent
  digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
  package_name = f"reasoning_rl_configs_{digest}"
  if package_name not in sys.modules:
    spec = importlib.machinery.ModuleSpec(package_name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[package_name] = importlib.util.module_from_spec(spec)
  spec = importlib.util.spec_from_file_location(
    f"{package_name}.{path.stem}", path
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
