"""What a Hugging Face tokenizer.json says, checked part by part.

The `tokenizers` package trusts its files: some make it panic, and a pattern or
a replacement of an attacker's choice makes encoding as slow or as large as he
likes. So every part is checked here, and only the parts that byte-pair
tokenizers of the known families are made of are let through: the splitting
patterns are those below and no others.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from reasoning_rl.data import token_files

MAX_IDS = 2**19
SPACE_MARK = "\u2581"
_MAX_TOKEN_LENGTH = 4096
# Tokens that steer a model, though some files do not flag them as special.
CONTROL = re.compile(
  r"<\|.*\|>|</?think>|</?tool_(call|response)>|<(start|end)_of_\w+>"
  r"|<unused\d+>|<\w+_soft_token>"
)

_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
_WORDS = (
  rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}%s|"
  r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = _WORDS % ""
LLAMA3_PATTERN = _WORDS % "{1,3}"
GPT2_PATTERN = (
  rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|"
  r"\s+(?!\S)|\s+"
)
_PATTERNS = (QWEN2_PATTERN, LLAMA3_PATTERN, GPT2_PATTERN)

# For every part: the fields it may have beside its type, and their values.
_BOOL = (True, False)
_BYTE_LEVEL = {
  "add_prefix_space": _BOOL,
  "trim_offsets": _BOOL,
  "use_regex": _BOOL,
}
_METASPACE = {
  "replacement": (SPACE_MARK,),
  "prepend_scheme": ("first", "always", "never"),
  "split": _BOOL,
  "add_prefix_space": _BOOL,
  "str_rep": (SPACE_MARK,),
}
_NORMALIZERS = {
  "NFC": {},
  "NFKC": {},
  "Prepend": {"prepend": (SPACE_MARK,)},
  "Replace": {"pattern": ({"String": " "},), "content": (SPACE_MARK,)},
}
_PRE_TOKENIZERS = {
  "ByteLevel": _BYTE_LEVEL,
  "Digits": {"individual_digits": _BOOL},
  "Metaspace": _METASPACE,
  "Split": {
    "pattern": ({"String": " "}, *({"Regex": p} for p in _PATTERNS)),
    "behavior": ("Isolated", "MergedWithPrevious"),
    "invert": (False,),
  },
}
_DECODERS = {
  "ByteLevel": _BYTE_LEVEL,
  "ByteFallback": {},
  "Fuse": {},
  "Metaspace": _METASPACE,
  "Replace": {"pattern": ({"String": SPACE_MARK},), "content": (" ",)},
  "Strip": {"content": (" ",), "start": (0, 1), "stop": (0, 1)},
}


@dataclasses.dataclass(frozen=True)
class AddedToken:
  """A token that is looked for in the text before anything is merged.

  Attributes:
    id: Its id.
    content: Its text.
    special: Whether it is a control token.
    normalized: Whether it is looked for in the normalised text.
    single_word: Whether it must stand between spaces or punctuation.
    lstrip: Whether it swallows the spaces before it.
    rstrip: Whether it swallows the spaces behind it.
  """

  id: int
  content: str
  special: bool = False
  normalized: bool = True
  single_word: bool = False
  lstrip: bool = False
  rstrip: bool = False


@dataclasses.dataclass(frozen=True)
class TokenizerSpec:
  """A byte-pair tokenizer as plain data.

  Attributes:
    vocab: The id of every token of the model.
    merges: Pairs of tokens, first merged first.
    added: Tokens that are found before merging, by id.
    normalizer: Changes the text first; None changes nothing.
    pre_tokenizer: Splits the text into what is merged apart.
    decoder: Turns tokens back into text.
    post_processor: Kept for export only: what it adds, it adds elsewhere.
    unk_token: Stands for what cannot be written.
    byte_fallback: Whether that is written byte by byte instead.
    fuse_unk: Whether unknown characters in a row become one token.
    ignore_merges: Whether a word that is a token is taken as it is.
  """

  vocab: dict[str, int]
  merges: list[tuple[str, str]]
  added: tuple[AddedToken, ...]
  normalizer: dict[str, Any] | None
  pre_tokenizer: dict[str, Any] | None
  decoder: dict[str, Any] | None
  post_processor: dict[str, Any] | None = None
  unk_token: str | None = None
  byte_fallback: bool = False
  fuse_unk: bool = False
  ignore_merges: bool = False

  def to_fields(self) -> dict[str, Any]:
    """Returns the contents of a tokenizer.json."""
    return {
      "version": "1.0",
      "truncation": None,
      "padding": None,
      "added_tokens": [dataclasses.asdict(token) for token in self.added],
      "normalizer": self.normalizer,
      "pre_tokenizer": self.pre_tokenizer,
      "post_processor": self.post_processor,
      "decoder": self.decoder,
      "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": self.unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": self.fuse_unk,
        "byte_fallback": self.byte_fallback,
        "ignore_merges": self.ignore_merges,
        "vocab": self.vocab,
        "merges": [list(pair) for pair in self.merges],
      },
    }


def check_spec(fields: Mapping[str, Any], name: str) -> TokenizerSpec:
  """Returns the tokenizer that the fields of a tokenizer.json describe.

  Args:
    fields: The file's contents, of any origin.
    name: Stands in error messages.

  Raises:
    TokenizerError: If a part is missing, of a wrong type or unknown.
  """
  try:
    if not isinstance(fields.get("model"), Mapping):
      raise _Wrong("it has no model")
    model = fields["model"]
    vocab = _check_vocab(model.get("vocab"))
    unk_token = _check_model_options(model, vocab)
    return TokenizerSpec(
      vocab=vocab,
      merges=_check_merges(model.get("merges"), vocab),
      added=_check_added(fields.get("added_tokens"), vocab),
      normalizer=_check_parts(fields, "normalizer", _NORMALIZERS),
      pre_tokenizer=_check_parts(fields, "pre_tokenizer", _PRE_TOKENIZERS),
      decoder=_check_parts(fields, "decoder", _DECODERS),
      post_processor=_check_type(
        fields.get("post_processor"), dict | None, "post_processor"
      ),
      unk_token=unk_token,
      byte_fallback=_check_flag(model, "byte_fallback"),
      fuse_unk=_check_flag(model, "fuse_unk"),
      ignore_merges=_check_flag(model, "ignore_merges"),
    )
  except _Wrong as error:
    raise token_files.TokenizerError(
      f"{name} is no tokenizer that this library can read: {error}."
    ) from None


class _Wrong(Exception):
  """What is wrong with a file, without its name."""


def _check_type(value: Any, kind: Any, what: str) -> Any:
  if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
    raise _Wrong(f"its {what} is {_short(value)}")
  return value


def _check_flag(fields: Mapping[str, Any], key: str) -> bool:
  return _check_type(fields.get(key, False), bool, key)


def _check_id(index: Any, what: str) -> int:
  if type(index) is not int or not 0 <= index < MAX_IDS:
    raise _Wrong(f"the id of {what!r:.60} is {_short(index)}")
  return index


def _check_text(text: Any, what: str) -> str:
  if not isinstance(text, str) or not 0 < len(text) <= _MAX_TOKEN_LENGTH:
    raise _Wrong(f"{what} is {_short(text)}")
  try:
    text.encode("utf-8")
  except UnicodeEncodeError:
    raise _Wrong(f"{what} holds half of a surrogate pair") from None
  return text


def _check_vocab(vocab: Any) -> dict[str, int]:
  if not isinstance(vocab, Mapping) or not vocab:
    raise _Wrong(f"its vocabulary is {_short(vocab)}")
  if len(vocab) > MAX_IDS:
    raise _Wrong(f"its vocabulary holds more than {MAX_IDS} tokens")
  for token, index in vocab.items():
    if type(index) is not int or not 0 <= index < MAX_IDS:
      _check_id(index, token)
    if not isinstance(token, str) or not 0 < len(token) <= _MAX_TOKEN_LENGTH:
      _check_text(token, "a token")
  try:
    "".join(vocab).encode("utf-8")
  except UnicodeEncodeError:
    raise _Wrong("a token holds half of a surrogate pair") from None
  if len(set(vocab.values())) != len(vocab):
    raise _Wrong("two tokens of its vocabulary have the same id")
  return dict(vocab)


def _check_model_options(
  model: Mapping[str, Any], vocab: Mapping[str, int]
) -> str | None:
  if model.get("type", "BPE") != "BPE":
    raise _Wrong(
      f"its model is {_short(model['type'])}, and BPE is what is read"
    )
  for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
    if model.get(key) not in (None, "", 0):
      raise _Wrong(f"its {key} is {_short(model[key])}, which is not supported")
  unk_token = model.get("unk_token")
  if unk_token is not None and (
    not isinstance(unk_token, str) or unk_token not in vocab
  ):
    raise _Wrong(f"its unknown token {_short(unk_token)} has no id")
  return unk_token


def _check_merges(merges: Any, vocab: Mapping[str, int]) -> list:
  if not isinstance(merges, list):
    raise _Wrong(f"its list of merges is {_short(merges)}")
  checked = []
  for merge in merges:
    pair = merge.split(" ") if isinstance(merge, str) else merge
    try:
      first, second = pair
      known = type(pair) in (list, tuple) and first in vocab and second in vocab
      known = known and first + second in vocab
    except (TypeError, ValueError):
      known = False
    if not known:
      raise _Wrong(f"its merge {_short(merge)} is not of two tokens into one")
    checked.append((first, second))
  return checked


def _check_added(
  added: Any, vocab: Mapping[str, int]
) -> tuple[AddedToken, ...]:
  if not isinstance(added, list | None):
    raise _Wrong(f"its list of added tokens is {_short(added)}")
  text_of = {}
  ids = {index: token for token, index in vocab.items()}
  checked = []
  for fields in added or []:
    _check_type(fields, Mapping, "added token")
    content = _check_text(fields.get("content"), "an added token")
    index = _check_id(fields.get("id"), content)
    if content in text_of or ids.setdefault(index, content) != content:
      raise _Wrong(
        f"two tokens have the id {index} or the text {content!r:.60}"
      )
    if vocab.get(content, index) != index:
      raise _Wrong(f"the token {content!r:.60} has two ids")
    text_of[content] = index
    special = _check_flag(fields, "special")
    checked.append(
      AddedToken(
        id=index,
        content=content,
        special=special,
        normalized=_check_flag(
          {"normalized": not special, **fields}, "normalized"
        ),
        single_word=_check_flag(fields, "single_word"),
        lstrip=_check_flag(fields, "lstrip"),
        rstrip=_check_flag(fields, "rstrip"),
      )
    )
  return tuple(sorted(checked, key=lambda token: token.id))


def _check_parts(
  fields: Mapping[str, Any], key: str, known: Mapping[str, Any]
) -> dict[str, Any] | None:
  """Returns a normalizer, splitter or decoder that holds known parts only."""
  part = _check_type(fields.get(key), dict | None, key)
  if part is None:
    return None
  if part.get("type") != "Sequence":
    return _check_part(part, key, known)
  plural = {"pre_tokenizer": "pretokenizers"}.get(key, key + "s")
  parts = _check_type(part.get(plural), list, plural)
  if len(parts) > 6:
    raise _Wrong(f"its {key} has {len(parts)} parts")
  parts = [_check_part(part, key, known) for part in parts]
  return {"type": "Sequence", plural: parts}


def _check_part(part: Any, key: str, known: Mapping[str, Any]) -> dict:
  kind = part.get("type") if isinstance(part, dict) else None
  if not isinstance(kind, str) or kind not in known:
    raise _Wrong(f"its {key} {_short(part)} is not one of {sorted(known)}")
  for field, value in part.items():
    if field != "type" and not any(
      type(value) is type(allowed) and value == allowed
      for allowed in known[kind].get(field, ())
    ):
      raise _Wrong(f"{field}={_short(value)} of its {key} {kind} is not known")
  return dict(part)


def _short(value: Any) -> str:
  """Returns a value for a message, whatever its size."""
  if isinstance(value, Mapping | list):
    return f"a {type(value).__name__} of {len(value)}"
  return repr(value if not isinstance(value, str) else value[:60])[:80]
