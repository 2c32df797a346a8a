"""Files of tokenizers: bounded reading, whole writing, one typed error."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

# The largest of the known families (Gemma 3) takes 34 MB, 0.6 million merges
# and 0.3 million tokens. What is beyond these limits is no tokenizer, and is
# refused before it is parsed, for parsing multiplies its size.
MAX_BYTES = 48 * 2**20
_MAX_COUNTS = {b",": 2_000_000, b":": 750_000, b"[": 750_000, b"{": 50_000}


class TokenizerError(ValueError):
  """A tokenizer's file or settings cannot be used; says what is wrong."""


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the object that a JSON file holds.

  Raises:
    TokenizerError: If the file is missing, too large or not one JSON object.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as file:
      content = file.read(MAX_BYTES + 1)
  except OSError as error:
    raise TokenizerError(
      f"{path} cannot be read ({error.strerror}); give a tokenizer's file."
    ) from error
  return parse_json(content, str(path))


def parse_json(content: bytes, name: str) -> dict[str, Any]:
  """Returns the object in `content`; `name` stands in error messages."""
  if len(content) > MAX_BYTES:
    raise TokenizerError(
      f"{name} is larger than {MAX_BYTES // 2**20} MiB, which no tokenizer is."
    )
  for mark, limit in _MAX_COUNTS.items():
    if content.count(mark) > limit:
      raise TokenizerError(
        f"{name} holds more than {limit} times {mark.decode()!r}, which no"
        " tokenizer does."
      )
  try:
    fields = json.loads(
      content.decode("utf-8"),
      object_pairs_hook=_unique_object,
      parse_constant=_refuse_constant,
    )
  except (ValueError, RecursionError) as error:
    raise TokenizerError(
      f"{name} is not a tokenizer's JSON ({error}); give the complete file."
    ) from error
  if not isinstance(fields, dict):
    raise TokenizerError(
      f"{name} holds no JSON object; give the complete file."
    )
  return fields


def checked_ids(ids: Iterable[int], vocab_size: int) -> list[int]:
  """Returns `ids` as a list, or says which one no token has."""
  ids = [int(index) for index in ids]
  if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
    wrong = next(index for index in ids if not 0 <= index < vocab_size)
    raise ValueError(
      f"Token id {wrong} is outside this tokenizer's {vocab_size} ids; decode"
      " with the tokenizer that the model was trained with."
    )
  return ids


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
  """Replaces `path` in one move, so that no reader sees half a file."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.incomplete")
  partial.write_bytes(content)
  os.replace(partial, path)


def to_json(fields: Any) -> bytes:
  """Returns `fields` as JSON in one fixed form."""
  return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  fields = dict(pairs)
  if len(fields) != len(pairs):
    raise ValueError("one key stands twice in an object")
  return fields


def _refuse_constant(name: str) -> None:
  raise ValueError(f"{name} is no number")
