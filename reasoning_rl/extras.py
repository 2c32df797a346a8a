"""Optional packages: imported where they are used, or asked for by name."""

from __future__ import annotations

import importlib
import types

EXTRAS = ("hf", "verify", "tasks")


class MissingExtraError(ImportError):
  """An optional package is not installed; says which command installs it."""


def require(module: str, extra: str) -> types.ModuleType:
  """Returns an optional module.

  Args:
    module: The module's dotted name.
    extra: The extra of pyproject.toml that installs it.

  Raises:
    MissingExtraError: If the module is not installed.
  """
  if extra not in EXTRAS:
    raise ValueError(f"unknown extra {extra!r}: use one of {EXTRAS}")
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    missing = (error.name or "").split(".")[0]
    if missing != module.split(".")[0]:
      raise  # Installed, and itself in want of something.
    raise MissingExtraError(
      f"{missing} is not installed, and this needs it: run"
      f" pip install -e '.[{extra}]'"
    ) from error
