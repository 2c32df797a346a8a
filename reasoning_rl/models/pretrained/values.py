"""Values of a config that somebody else wrote, asked for by type and range."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from reasoning_rl.models.pretrained.source import PretrainedError


class Values:
  """An object of a JSON file; a key that is null counts as one not given."""

  def __init__(self, values: Mapping[str, Any], where: str):
    """Wraps the values.

    Args:
      values: What the object holds.
      where: What an error calls it.
    """
    self.values = values
    self.where = where

  def integer(
    self, key: str, most: int, default: int | None = None, least: int = 1
  ) -> int:
    """Returns an integer between `least` and `most`."""
    value = self._get(key, default)
    if type(value) is not int or not least <= value <= most:
      self.refuse(key, f"it must be an integer from {least} to {most}")
    return value

  def number(
    self, key: str, default: float | None = None, most: float = 1e30
  ) -> float:
    """Returns a finite number above 0."""
    value = self._get(key, default)
    if type(value) not in (int, float) or not 0 < value <= most:
      self.refuse(key, f"it must be a number above 0, {most:g} at most")
    return float(value)

  def boolean(self, key: str, default: bool) -> bool:
    """Returns true or false."""
    value = self._get(key, default)
    if type(value) is not bool:
      self.refuse(key, "it must be true or false")
    return value

  def text(self, key: str, default: str, known: Collection[str]) -> str:
    """Returns one of the `known` texts."""
    value = self._get(key, default)
    if not isinstance(value, str) or value not in known:
      self.refuse(key, f"{', '.join(sorted(known))} are read")
    return value

  def inner(self, key: str) -> Values | None:
    """Returns an object within this one, if there is one."""
    value = self.values.get(key)
    if value is None:
      return None
    if not isinstance(value, dict):
      self.refuse(key, "it must be an object")
    return Values(value, f"{key} in {self.where}")

  def refuse(self, key: str, why: str) -> NoReturn:
    """Raises a PretrainedError about one key."""
    said = ascii(self.values.get(key))
    said = said if len(said) <= 60 else said[:60] + "..."
    raise PretrainedError(f"{self.where} says {said} of {key!r}: {why}")

  def _get(self, key: str, default: Any) -> Any:
    value = self.values.get(key)
    value = default if value is None else value
    if value is None:
      raise PretrainedError(f"{self.where} says nothing about {key!r}")
    if isinstance(value, float) and not math.isfinite(value):
      self.refuse(key, "it must be finite")
    return value
