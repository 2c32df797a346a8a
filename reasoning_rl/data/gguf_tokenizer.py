"""The tokenizer in a GGUF file's metadata, as a tokenizer.json.

GGUF keeps the tokens and, for the GPT-2 kind, the merges, but only a name for
how text is split; for the SentencePiece kind it keeps the tokens' scores, from
which the merges follow. The keys are those of the GGUF specification,
`tokenizer.ggml.*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reasoning_rl.data import token_spec
from reasoning_rl.data.token_files import TokenizerError

_PREFIX = "tokenizer.ggml."
# Every cut of every piece is looked up. SentencePiece's own limit is 16
# characters a piece, and Gemma 3 has 1.4 million in all.
_MAX_PIECE_LENGTH = 64
_MAX_CHARACTERS = 2_500_000
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6


def _byte_characters() -> list[str]:
  """Returns the printable character that stands for each byte in GPT-2.

  Printable Latin-1 characters stand for themselves, and the other bytes, in
  order, for the characters from U+0100.
  """
  printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
  others = [byte for byte in range(256) if byte not in printable]
  return [
    chr(byte if byte in printable else 256 + others.index(byte))
    for byte in range(256)
  ]


BYTE_CHARACTERS = _byte_characters()

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}
_BYTE_LEVEL |= {"trim_offsets": True, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _split_by(pattern: str) -> list[dict[str, Any]]:
  split = {"type": "Split", "pattern": {"Regex": pattern}}
  split |= {"behavior": "Isolated", "invert": False}
  return [split, _BYTE_LEVEL | {"use_regex": False}]


# How the names in `tokenizer.ggml.pre` split: parts, NFC first, whole words.
_SPLITS = {
  "gpt-2": ([_BYTE_LEVEL], False, False),
  "default": ([_BYTE_LEVEL], False, False),
  "smollm": ([_DIGITS, _BYTE_LEVEL], False, False),
  "llama-bpe": (_split_by(token_spec.LLAMA3_PATTERN), False, True),
  "qwen2": (_split_by(token_spec.QWEN2_PATTERN), True, False),
}


def convert(
  metadata: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the contents of a tokenizer.json and a tokenizer_config.json.

  Args:
    metadata: A GGUF file's keys and values, of any origin.
    name: Stands in error messages.

  Raises:
    TokenizerError: If a key is missing, of a wrong type or unknown.
  """
  tokens = _read_list(metadata, "tokens", str, name)
  types = _read_list(metadata, "token_type", int, name)
  if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
    raise TokenizerError(
      f"{name} holds {len(tokens)} tokens, {len(set(tokens))} different ones"
      f" and {len(types)} types of them; these numbers have to be equal."
    )
  kind = metadata.get(_PREFIX + "model")
  if kind == "gpt2":
    fields = _byte_level_fields(metadata, tokens, types, name)
  elif kind == "llama":
    fields = _sentencepiece_fields(metadata, tokens, types, name)
  else:
    raise TokenizerError(
      f"{name} holds a tokenizer of the kind {kind!r:.60}; 'gpt2' and 'llama'"
      " can be read."
    )
  config = _config(metadata, tokens, name)
  if config["add_bos_token"] and "bos_token" in config:
    fields["post_processor"] = _opening(
      config["bos_token"], metadata[_PREFIX + "bos_token_id"]
    )
  return fields, config


def _byte_level_fields(
  metadata: Mapping[str, Any],
  tokens: Sequence[str],
  types: Sequence[int],
  name: str,
) -> dict[str, Any]:
  pre = metadata.get(_PREFIX + "pre", "default")
  if not isinstance(pre, str) or pre not in _SPLITS:
    raise TokenizerError(
      f"{name} splits text as {pre!r:.60}, and {sorted(_SPLITS)} are known;"
      " give the model's tokenizer.json instead."
    )
  parts, composed, whole_words = _SPLITS[pre]
  return {
    "added_tokens": [
      _added(index, token, kind == _CONTROL)
      for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
      if kind in (_CONTROL, _USER_DEFINED)
    ],
    "normalizer": {"type": "NFC"} if composed else None,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts},
    "decoder": _BYTE_LEVEL,
    "model": {
      "type": "BPE",
      "ignore_merges": whole_words,
      "vocab": {token: index for index, token in enumerate(tokens)},
      "merges": _read_list(metadata, "merges", str, name),
    },
  }


def _sentencepiece_fields(
  metadata: Mapping[str, Any],
  tokens: list[str],
  types: Sequence[int],
  name: str,
) -> dict[str, Any]:
  """Returns a SentencePiece tokenizer of merges with bytes to fall back on."""
  mark = token_spec.SPACE_MARK
  scores = _read_list(metadata, "scores", int | float, name)
  if len(scores) != len(tokens):
    raise TokenizerError(
      f"{name} holds {len(tokens)} tokens and {len(scores)} scores of them."
    )
  # llama.cpp writes the spaces of user-defined tokens as spaces.
  tokens = [
    token.replace(" ", mark) if kind == _USER_DEFINED else token
    for token, kind in zip(tokens, types, strict=True)
  ]
  score_of = {
    token: score
    for token, score, kind in zip(tokens, scores, types, strict=True)
    if kind not in (_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE)
  }
  _check_lengths(score_of, name)
  unknown = [i for i, kind in enumerate(types) if kind == _UNKNOWN]
  unknown = unknown or [metadata.get(_PREFIX + "unknown_token_id")]
  prefixed = metadata.get(_PREFIX + "add_space_prefix", True) is not False
  if prefixed and _USER_DEFINED in types:
    # The prefix comes first in SentencePiece, and such tokens do here.
    raise TokenizerError(
      f"{name} puts a space before every text and has user-defined tokens, and"
      " both at once can't be read; give the model's tokenizer.json instead."
    )
  return {
    "added_tokens": [
      _added(index, token, kind != _USER_DEFINED, kind == _USER_DEFINED)
      for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
      if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ],
    **_space_fields(prefixed),
    "model": {
      "type": "BPE",
      "unk_token": _token_at(tokens, unknown[0], "unknown", name),
      "fuse_unk": True,
      "byte_fallback": True,
      "vocab": {token: index for index, token in enumerate(tokens)},
      "merges": merges_of(score_of),
    },
  }


def _space_fields(prefixed: bool) -> dict[str, Any]:
  """Returns the parts that write spaces as marks, and marks as spaces."""
  mark = token_spec.SPACE_MARK
  prepend = {"type": "Prepend", "prepend": mark}
  to_marks = {"type": "Replace", "pattern": {"String": " "}, "content": mark}
  to_spaces = {"type": "Replace", "pattern": {"String": mark}, "content": " "}
  strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
  decoders = [to_spaces, {"type": "ByteFallback"}, {"type": "Fuse"}]
  return {
    "normalizer": {
      "type": "Sequence",
      "normalizers": [prepend] * prefixed + [to_marks],
    },
    "pre_tokenizer": None,
    "decoder": {
      "type": "Sequence",
      "decoders": decoders + [strip] * prefixed,
    },
  }


def _check_lengths(pieces: Iterable[str], name: str) -> None:
  lengths = [len(token) for token in pieces]
  if max(lengths, default=0) > _MAX_PIECE_LENGTH or (
    sum(lengths) > _MAX_CHARACTERS
  ):
    raise TokenizerError(
      f"{name} holds a piece of more than {_MAX_PIECE_LENGTH} characters or"
      f" more than {_MAX_CHARACTERS} in all, which no SentencePiece model does."
    )


def merges_of(score_of: Mapping[str, float]) -> list[tuple[str, str]]:
  """Returns the merges that SentencePiece makes, the first ones first.

  SentencePiece joins the two neighbours whose union has the highest score,
  whatever they are: every way to split a token in two tokens is a merge.

  Args:
    score_of: The score of every token that may be merged into.
  """
  ranked = sorted(score_of, key=score_of.__getitem__, reverse=True)
  return [
    (token[:cut], token[cut:])
    for token in ranked
    for cut in range(1, len(token))
    if token[:cut] in score_of and token[cut:] in score_of
  ]


def _added(
  index: int, content: str, special: bool, normalized: bool = False
) -> dict[str, Any]:
  fields = {"id": index, "content": content, "special": special}
  return fields | {"normalized": normalized}


def _opening(token: str, index: int) -> dict[str, Any]:
  """Returns what lets other libraries open every text with `token`."""
  opening = {"SpecialToken": {"id": token, "type_id": 0}}
  first = {"Sequence": {"id": "A", "type_id": 0}}
  second = {"Sequence": {"id": "B", "type_id": 1}}
  described = {"id": token, "ids": [index], "tokens": [token]}
  return {
    "type": "TemplateProcessing",
    "single": [opening, first],
    "pair": [opening, first, opening, second],
    "special_tokens": {token: described},
  }


def _config(
  metadata: Mapping[str, Any], tokens: Sequence[str], name: str
) -> dict[str, Any]:
  config = {}
  for key, short in (
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("pad_token", "padding"),
    ("unk_token", "unknown"),
  ):
    index = metadata.get(f"{_PREFIX}{short}_token_id")
    if index is not None:
      config[key] = _token_at(tokens, index, short, name)
  # llama.cpp's default: the SentencePiece kind opens a text, the other doesn't.
  adds = metadata.get(_PREFIX + "add_bos_token")
  kind = metadata.get(_PREFIX + "model")
  config["add_bos_token"] = adds if isinstance(adds, bool) else kind == "llama"
  template = metadata.get("tokenizer.chat_template")
  if isinstance(template, str):
    config["chat_template"] = template
  return config


def _token_at(tokens: Sequence[str], index: Any, what: str, name: str) -> str:
  if type(index) is not int or not 0 <= index < len(tokens):
    raise TokenizerError(
      f"{name} gives its {what} token the id {index!r:.60}, which is not one of"
      f" its {len(tokens)} tokens."
    )
  return tokens[index]


def _read_list(
  metadata: Mapping[str, Any], key: str, kind: Any, name: str
) -> list:
  values = metadata.get(_PREFIX + key)
  limit = token_spec.MAX_IDS
  if not isinstance(values, list) or len(values) > limit:
    raise TokenizerError(
      f"{name} has no list {_PREFIX}{key} of at most {limit} values."
    )
  if not all(isinstance(value, kind) for value in values):
    raise TokenizerError(f"{name} has a list {_PREFIX}{key} of mixed types.")
  return values
