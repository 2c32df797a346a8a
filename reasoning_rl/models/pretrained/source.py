"""What a file of weights offers, whatever its format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np


class PretrainedError(ValueError):
  """A model's files cannot be used; says which one, why and what to do."""


@dataclasses.dataclass(frozen=True)
class TensorInfo:
  """A tensor as its file's header announces it, checked and not yet read.

  Attributes:
    shape: Its sizes, slowest first.
    dtype: The file's own name of how it is stored, as in "BF16" or "Q4_1".
  """

  shape: tuple[int, ...]
  dtype: str


@runtime_checkable
class TensorSource(Protocol):
  """Named tensors that are read one at a time."""

  def tensors(self) -> Mapping[str, TensorInfo]:
    """Returns what is there, by the file's own names."""

  def read(self, name: str) -> np.ndarray:
    """Returns one tensor: float32, or bfloat16 where it is stored so.

    Raises:
      PretrainedError: If the tensor is missing, cut short or of no known kind.
    """
