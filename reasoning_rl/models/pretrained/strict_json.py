"""JSON from other people's files, bounded before it becomes objects."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import numpy as np

from reasoning_rl.models.pretrained.source import PretrainedError


def parse_object(
  data: bytes,
  where: str,
  *,
  max_depth: int = 32,
  max_containers: int = 100_000,
  max_commas: int = 1_000_000,
) -> dict[str, Any]:
  """Returns the JSON object in `data`, refusing what JSON proper lacks.

  NaN, infinities, repeated keys, bad UTF-8 and anything after the object are
  refused. The caller bounds the length of `data`.

  Args:
    data: The text.
    where: What an error calls it.
    max_depth: How deeply lists and objects may stand in each other.
    max_containers: How many of them there may be: an empty list takes two
      bytes here and many more in memory.
    max_commas: How many values there may be, nearly.

  Raises:
    PretrainedError: If it is anything else.
  """
  depth, containers, commas = _outline(data)
  if depth > max_depth or containers > max_containers or commas > max_commas:
    raise PretrainedError(
      f"{where} has {commas} values in {containers} lists and objects, {depth}"
      f" deep: at most {max_commas}, {max_containers} and {max_depth} are read"
    )

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
      raise PretrainedError(f"{where} names something twice: fetch it again")
    return value

  try:
    value = json.loads(
      data.decode("utf-8"),
      object_pairs_hook=unique,
      parse_constant=_refuse_constant,
    )
  except PretrainedError:
    raise
  except (ValueError, RecursionError) as error:
    raise PretrainedError(
      f"{where} is not JSON ({str(error)[:80]}): fetch it again"
    ) from error
  if not isinstance(value, dict):
    raise PretrainedError(f"{where} is not a JSON object: fetch it again")
  return value


def _refuse_constant(name: str) -> NoReturn:
  raise ValueError(f"{name} is not a number of JSON")


def _outline(data: bytes) -> tuple[int, int, int]:
  """Returns the greatest depth, the lists and objects, and the commas."""
  # Without escapes, each quotation mark opens or closes a string. Where they
  # are no escapes the text is no JSON, and is refused before what follows.
  plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
  if not plain:
    return 0, 0, 0
  text = np.frombuffer(plain, np.uint8)
  outside = ~np.logical_xor.accumulate(text == ord('"'))
  opens = ((text == ord("[")) | (text == ord("{"))) & outside
  closes = ((text == ord("]")) | (text == ord("}"))) & outside
  steps = opens.astype(np.int8) - closes.astype(np.int8)
  depth = np.cumsum(steps, dtype=np.int32).max()
  commas = (text == ord(",")) & outside
  return int(depth), int(opens.sum()), int(commas.sum())
