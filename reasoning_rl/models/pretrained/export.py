"""From params to a folder that other programs open as a model.

The folder holds the weights as safetensors, config.json, a model card and, if
the caller has them, the files of the tokenizer. It appears at once when all of
it is written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import families, safetensors_folder
from reasoning_rl.models.pretrained import parameter_names as names_lib
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo

MAX_SHARD_BYTES = 5_000_000_000
TOKENIZER_FILES = (
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
)
_TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
_DTYPES = {"float32": "F32", "bfloat16": "BF16"}


@dataclasses.dataclass(frozen=True)
class ModelCard:
  """What README.md says of an exported model.

  Attributes:
    name: Its heading.
    summary: What the model is and what it is for.
    base_model: What it was made from: a name on the hub, or a path. Empty: it
      was trained from the beginning.
    licence: Its short name, as in "apache-2.0"; that of the base model binds.
    licence_terms: What else the licence asks to be said or passed on.
    training: How it was trained.
    results: What was measured, and how.
    limits: What it is not good for.
    languages: Codes of two letters.
    tags: Words to find it by.
  """

  name: str
  summary: str
  base_model: str
  licence: str
  training: str
  licence_terms: str = ""
  results: str = ""
  limits: str = ""
  languages: tuple[str, ...] = ("en",)
  tags: tuple[str, ...] = ("reasoning",)


def export(
  directory: str | os.PathLike[str],
  config: transformer.NetworkConfig,
  params: network_lib.Params,
  card: ModelCard,
  *,
  dtype: str | None = None,
  tokens: Mapping[str, int | Sequence[int]] | None = None,
  tokenizer_files: Sequence[str | os.PathLike[str]] = (),
  max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
  """Writes a model in the Hugging Face layout.

  Heads other than the language head have no place in it and are left out.

  Args:
    directory: The folder; it must not exist, or be empty.
    config: The network's.
    params: Its parameters, all within reach of this process.
    card: What the model card says.
    dtype: What the weights are stored in, "float32" or "bfloat16"; by default
      what the network is in.
    tokens: `bos_token_id`, `eos_token_id` (one or several) and `pad_token_id`,
      as far as there are any.
    tokenizer_files: Files to copy into the folder; `TOKENIZER_FILES` of the
      base model are such.
    max_shard_bytes: Largest file of weights; a single tensor may exceed it.

  Raises:
    ValueError: If no family has the network's rules, or params do not fit.
    PretrainedError: If it cannot be written.
  """
  folder = pathlib.Path(directory)
  values = families.hugging_face_config(config)
  dtype = dtype or config.dtype
  if dtype not in _DTYPES:
    raise ValueError(f"dtype is {dtype!r}; use 'float32' or 'bfloat16'.")
  values["torch_dtype"] = dtype
  tokens = _checked_tokens(tokens or {}, config.vocab_size)
  table = {p.name: p for p in _parameters(config)}
  leaves = {name: _leaf(params, p) for name, p in table.items()}
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise PretrainedError(f"{folder} is there already: choose another folder")
  temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
  try:
    temporary.mkdir(parents=True)
    _write_weights(temporary, table, leaves, _DTYPES[dtype], max_shard_bytes)
    _write_json(temporary / families.CONFIG, values | tokens)
    if tokens:
      _write_json(temporary / "generation_config.json", tokens)
    for file in tokenizer_files:
      shutil.copyfile(file, temporary / pathlib.Path(file).name)
    text = card_text(card, config, dtype)
    (temporary / "README.md").write_text(text, encoding="utf-8")
    os.replace(temporary, folder)
  except OSError as error:
    raise PretrainedError(
      f"cannot write {folder}: {error.strerror or error}"
    ) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _checked_tokens(
  tokens: Mapping[str, int | Sequence[int]], vocab_size: int
) -> dict[str, Any]:
  """Returns the special tokens as JSON has them."""
  checked: dict[str, Any] = {}
  for key, value in tokens.items():
    ids = [value] if isinstance(value, int) else list(value)
    if key not in _TOKEN_KEYS or not all(0 <= x < vocab_size for x in ids):
      raise ValueError(
        f"tokens has {key!r}: {value!r}; use ids below {vocab_size} of"
        f" {', '.join(_TOKEN_KEYS)}."
      )
    checked[key] = value if isinstance(value, int) else ids
  return checked


def _parameters(
  config: transformer.NetworkConfig,
) -> tuple[names_lib.Parameter, ...]:
  """Returns what is written; what opens it asks for a language head."""
  if not config.tied_embedding and "language" not in config.heads:
    raise ValueError(
      "a network without a language head can be exported only if its embedding"
      " is tied: give the policy's params instead."
    )
  return names_lib.parameters(config)


def _leaf(params: Any, parameter: names_lib.Parameter) -> Any:
  """Returns one of the params, checked and not yet fetched."""
  name = "/".join(parameter.path)
  leaf = params
  for part in parameter.path:
    if not isinstance(leaf, Mapping) or part not in leaf:
      raise ValueError(f"params lack {name!r}: they are of another network.")
    leaf = leaf[part]
  if tuple(leaf.shape) != parameter.shape:
    raise ValueError(
      f"parameter {name!r} has the shape {tuple(leaf.shape)}; by the config it"
      f" is {parameter.shape}."
    )
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    raise ValueError(
      f"parameter {name!r} is spread over processes: gather the params first."
    )
  return leaf


def _write_weights(
  folder: pathlib.Path,
  table: Mapping[str, names_lib.Parameter],
  leaves: Mapping[str, Any],
  dtype: str,
  max_shard_bytes: int,
) -> None:
  """Writes the weights into one file, or into several with an index."""
  infos = {n: TensorInfo(p.file_shape, dtype) for n, p in table.items()}
  # One tensor at a time is on the host.
  fetch = lambda name: table[name].to_file(np.asarray(leaves[name]))
  safetensors_folder.write_folder(
    folder, infos, fetch, max_shard_bytes=max_shard_bytes
  )


def _write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
  path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def card_text(
  card: ModelCard, config: transformer.NetworkConfig, dtype: str
) -> str:
  """Returns README.md: a header that the hub reads, and what people read.

  Args:
    card: What the caller knows of the model.
    config: The network's.
    dtype: What the weights are stored in.
  """
  header: dict[str, Any] = dict(license=card.licence)
  if card.base_model:
    header["base_model"] = card.base_model
  header |= dict(
    language=list(card.languages),
    library_name="transformers",
    pipeline_tag="text-generation",
    tags=list(card.tags),
  )
  # JSON is YAML, so that nothing in a value can end it.
  lines = ["---"]
  lines += [f"{key}: {json.dumps(value)}" for key, value in header.items()]
  lines += ["---", "", f"# {card.name}", "", card.summary]
  family = families.family_of(config)
  size = sum(
    int(np.prod(p.shape, dtype=np.int64)) for p in names_lib.parameters(config)
  )
  facts = [
    f"- Base model: {card.base_model or 'none; trained from the beginning'}",
    f"- Licence: {card.licence}",
    f"- Architecture: {families.CLASSES[family]}, {config.num_layers} layers,"
    f" {size:,} parameters, {dtype}",
    f"- Context: {config.max_positions:,} tokens",
  ]
  left_out = [head for head in config.heads if head != "language"]
  if left_out:
    facts.append(f"- Not in these files: its heads {', '.join(left_out)}")
  lines += ["", *facts, "", "## Training", "", card.training]
  for title, text in (
    ("Results", card.results),
    ("Limits", card.limits),
    ("Licence", card.licence_terms),
  ):
    if text:
      lines += ["", f"## {title}", "", text]
  return "\n".join(lines) + "\n"
