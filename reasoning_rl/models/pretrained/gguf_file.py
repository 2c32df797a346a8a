"""GGUF files, as llama.cpp and its kin use them, read as one layout.

Tensors appear under their Hugging Face names, dense, and as Hugging Face has
them: whoever loads them need not know the format. It has no checksum: a
changed byte of a weight is another weight, and only the source of the file
can vouch for it.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from reasoning_rl import extras
from reasoning_rl.models.pretrained import (
  gguf_config,
  gguf_header,
  gguf_names,
  mapped,
)
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo

_DENSE = {
  "F32": np.dtype("<f4"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NO_WEIGHTS = ("I8", "I16", "I32", "I64", "F64")
_CHUNK = 1 << 18  # Numbers made dense at once: they stay in the cache.


class GGUFSource:
  """The tensors and the config of a GGUF file.

  Attributes:
    metadata: All that the file says of itself, the tokenizer included.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Reads and checks the header; no weight is loaded.

    Args:
      path: The file.

    Raises:
      PretrainedError: If it cannot be used.
    """
    self._file = mapped.MappedFile(pathlib.Path(path))
    header = gguf_header.read_header(self._file)
    self.metadata: dict[str, Any] = header.metadata
    self._model = gguf_config.Metadata(header.metadata, str(path))
    self._heads = self._model.heads()
    self._entries: dict[str, gguf_header.Entry] = {}
    self._rope_factors: gguf_header.Entry | None = None
    layers = self._model.layers()
    for name, entry in header.entries.items():
      if name == gguf_names.ROPE_FACTORS:
        self._rope_factors = entry
        continue
      new = gguf_names.hugging_face_name(self._model.architecture, name, layers)
      if new is None:
        raise PretrainedError(
          f"{path} has a tensor {name!a}, which no dense"
          f" {self._model.architecture} of {layers} layers has"
        )
      self._check_rows(new, entry.info.shape)
      self._entries[new] = entry

  def tensors(self) -> Mapping[str, TensorInfo]:
    """Returns what is there, by its Hugging Face names."""
    return {name: entry.info for name, entry in self._entries.items()}

  def read(self, name: str) -> np.ndarray:
    """Returns one tensor, dense: float32, or bfloat16 if stored so.

    Args:
      name: Its Hugging Face name.

    Raises:
      PretrainedError: If there is none, or it is not of finite floats.
    """
    if name not in self._entries:
      raise PretrainedError(f"there is no tensor {name!r} in this model")
    architecture = self._model.architecture
    numbers = self._dense(name, self._entries[name])
    if gguf_names.interleaved(architecture, name):
      return gguf_names.halves(numbers, self._heads_of(name))
    if gguf_names.shifted(architecture, name):
      return numbers.astype(np.float32) - 1
    return numbers

  def config(self) -> dict[str, Any]:
    """Returns what config.json says of the model in the Hugging Face layout.

    Raises:
      PretrainedError: If the file does not say enough, or what such a config
        cannot say.
    """
    shapes = {n: entry.info.shape for n, entry in self._entries.items()}
    factors = self._rope_factors
    dense = factors and self._dense(gguf_names.ROPE_FACTORS, factors)
    return gguf_config.hugging_face_config(self._model, shapes, dense)

  def _heads_of(self, name: str) -> int:
    return self._heads[0 if ".q_proj." in name else 1]

  def _check_rows(self, name: str, shape: tuple[int, ...]) -> None:
    """Refuses rows that cannot be those of pairs in the model's heads."""
    if gguf_names.interleaved(self._model.architecture, name):
      if shape[0] % (2 * self._heads_of(name)):
        raise PretrainedError(
          f"{self._file.path} has {shape[0]} rows in {name}, which do not"
          f" belong to {self._heads_of(name)} heads: fetch it again"
        )

  def _dense(self, name: str, entry: gguf_header.Entry) -> np.ndarray:
    """Returns a tensor's numbers as they are stored."""
    kind, shape = entry.info.dtype, entry.info.shape
    if kind in _NO_WEIGHTS:
      raise PretrainedError(
        f"{name} in {self._file.path} is stored as {kind}, which weights are"
        " not: fetch another file of the model"
      )
    if kind in _DENSE:
      dtype = _DENSE[kind]
      count = entry.size // dtype.itemsize
      numbers = self._file.array(entry.offset, count, dtype)
      if kind == "F16":
        numbers = numbers.astype(np.float32)
    else:
      raw = self._file.array(entry.offset, entry.size, np.dtype(np.uint8))
      numbers = _dequantise(raw, kind)
    if not mapped.finite(numbers):
      raise PretrainedError(
        f"{name} in {self._file.path} has infinite numbers or NaN: fetch it"
        " again"
      )
    return numbers.reshape(shape)


def _dequantise(raw: np.ndarray, kind: str) -> np.ndarray:
  """Returns the numbers that blocks of a kind of the `gguf` package hold."""
  quants = extras.require("gguf.quants", "hf")
  kind_number = extras.require("gguf", "hf").GGMLQuantizationType[kind]
  block, width = gguf_header.BLOCKS[kind]
  blocks = raw.size // width
  numbers = np.empty(blocks * block, np.float32)
  step = _CHUNK // block
  with np.errstate(all="ignore"):  # Damaged scales are refused afterwards.
    for start in range(0, blocks, step):
      some = raw[start * width : (start + step) * width]
      dense = quants.dequantize(some[None], kind_number)
      numbers[start * block : start * block + dense.size] = dense[0]
  return numbers
