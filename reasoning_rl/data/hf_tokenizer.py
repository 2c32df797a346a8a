"""Tokenizers of pretrained models, through the `tokenizers` package.

Text and control tokens are kept apart. `encode` is for text of any origin: a
problem that holds "<|im_end|>" gets the ids of those ten characters, never the
one id that ends a turn. Control tokens are put between texts by their ids, as
`reasoning_rl.data.chat` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reasoning_rl import extras
from reasoning_rl.data import gguf_tokenizer, token_files, token_spec
from reasoning_rl.data.token_files import TokenizerError

KIND = "huggingface"
_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>")


class HuggingFaceTokenizer:
  """Byte-pair tokens of a tokenizer.json or of a GGUF file's metadata.

  Attributes:
    vocab_size: Number of ids, those of added tokens included.
    pad_id: The padding token, or the end token where there is none.
    bos_id: Opens a sequence; None where the tokenizer adds no such token.
    end_id: Ends a completion.
    end_ids: All that end one: the end of a text and the end of a turn.
    thought_end_id: The newline token.
    control_tokens: The text of every control token, by id.
    chat_template: The template that came with it; never executed.
  """

  def __init__(
    self,
    spec: token_spec.TokenizerSpec,
    config: Mapping[str, Any],
    end_ids: Sequence[int] = (),
    name: str = "the tokenizer",
  ):
    """Builds the tokenizer.

    Args:
      spec: What `token_spec.check_spec` returned.
      config: Fields of a tokenizer_config.json.
      end_ids: Ends of a completion beside the end token of `config`.
      name: Stands in error messages.
    """
    self._spec = spec
    self._name = name
    # The tokens are in `spec` already, and code named by a file is never run.
    ignored = ("added_tokens_decoder", "auto_map")
    self._config = {k: v for k, v in config.items() if k not in ignored}
    self._id_of = {**spec.vocab, **{t.content: t.id for t in spec.added}}
    self.vocab_size = max(self._id_of.values()) + 1
    self._control_of = {
      token.content: token.id
      for token in spec.added
      if token.special or token_spec.CONTROL.fullmatch(token.content)
    }
    self.control_tokens = {i: text for text, i in self._control_of.items()}
    self._control_ids = frozenset(self._control_of.values())
    self._set_special_ids(end_ids)
    self._set_alphabet()
    self._tokenizer = self._build()
    self._tokenizer.encode_special_tokens = True
    self._with_control = None
    template = self._config.get("chat_template")
    self.chat_template = template if isinstance(template, str) else ""

  @classmethod
  def from_file(cls, path: str | os.PathLike[str]) -> HuggingFaceTokenizer:
    """Reads a model's directory, one tokenizer.json, or what `save` wrote."""
    path = pathlib.Path(path)
    if not path.is_dir():
      fields = token_files.read_json(path)
      if fields.get("kind") == KIND:
        return cls._from_saved(fields, str(path))
      return cls(token_spec.check_spec(fields, str(path)), {}, name=str(path))
    fields = token_files.read_json(path / "tokenizer.json")
    config, generation = {}, {}
    if (path / "special_tokens_map.json").exists():
      config.update(token_files.read_json(path / "special_tokens_map.json"))
    if (path / "tokenizer_config.json").exists():
      config.update(token_files.read_json(path / "tokenizer_config.json"))
    if (path / "generation_config.json").exists():
      generation = token_files.read_json(path / "generation_config.json")
    if (path / "chat_template.jinja").exists():
      config["chat_template"] = _read_template(path / "chat_template.jinja")
    end_ids = generation.get("eos_token_id")
    end_ids = end_ids if isinstance(end_ids, list) else [end_ids]
    end_ids = [index for index in end_ids if index is not None]
    spec = token_spec.check_spec(fields, str(path / "tokenizer.json"))
    return cls(spec, config, _checked_ends(end_ids, str(path)), str(path))

  load = from_file

  @classmethod
  def from_gguf(
    cls, metadata: Mapping[str, Any], name: str = "the GGUF file"
  ) -> HuggingFaceTokenizer:
    """Builds the tokenizer that a GGUF file's metadata describe.

    Args:
      metadata: The file's keys and values: plain numbers, strings and lists.
      name: Stands in error messages.
    """
    fields, config = gguf_tokenizer.convert(metadata, name)
    return cls(token_spec.check_spec(fields, name), config, name=name)

  def encode(self, text: str, allow_control: bool = False) -> list[int]:
    """Returns the ids of `text`, with no opening or end token added.

    Args:
      text: Text of any origin.
      allow_control: Take control tokens that the text spells as such. Only for
        text that was written by the program itself.
    """
    self._refuse_unwritable(text)
    tokenizer = self._tokenizer
    if allow_control:
      if self._with_control is None:
        self._with_control = self._build()
      tokenizer = self._with_control
    ids = _call(
      self._name, tokenizer.encode, text, add_special_tokens=False
    ).ids
    if not allow_control:
      if self._unknown_id in ids:
        raise ValueError(
          "The text holds a character that the tokenizer cannot write; remove"
          " it from the text."
        )
      if not self._control_ids.isdisjoint(ids):
        raise ValueError(
          "The text spells a control token in a way that this tokenizer cannot"
          " tell from the token itself; remove it from the text."
        )
    return ids

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text of `ids`, without padding, end and control tokens."""
    ids = token_files.checked_ids(ids, self.vocab_size)
    kept = [index for index in ids if index not in self._skipped]
    return _call(
      self._name, self._tokenizer.decode, kept, skip_special_tokens=False
    )

  def control_id(self, token: str) -> int:
    """Returns the id of a control token, such as "<|im_end|>"."""
    if token not in self._control_of:
      raise TokenizerError(
        f"{self._name} has no control token {token!r:.60}; choose the chat"
        " template that the model was trained with."
      )
    return self._control_of[token]

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the tokenizer to one JSON file."""
    token_files.write_bytes(path, self._to_json())

  def save_directory(self, path: str | os.PathLike[str]) -> None:
    """Writes a tokenizer.json and a tokenizer_config.json, as models have."""
    path = pathlib.Path(path)
    config = {
      "tokenizer_class": "PreTrainedTokenizerFast",
      "clean_up_tokenization_spaces": False,
      **self._config,
    }
    for key, token in config.items():
      if key.endswith("_token") and isinstance(token, dict):
        config[key] = token.get("content")  # Files of old have both forms.
    for file, fields in (
      ("tokenizer.json", self._spec.to_fields()),
      ("tokenizer_config.json", config),
    ):
      content = json.dumps(fields, ensure_ascii=False, indent=1)
      token_files.write_bytes(path / file, content.encode("utf-8"))

  def fingerprint(self) -> str:
    """Returns a SHA-256 of all that an id depends on."""
    special = [self.pad_id, self.bos_id, *self.end_ids]
    content = token_files.to_json([self._spec.to_fields(), special])
    return hashlib.sha256(content).hexdigest()

  def _to_json(self) -> bytes:
    return token_files.to_json(
      {
        "kind": KIND,
        "tokenizer": self._spec.to_fields(),
        "config": self._config,
        "end_ids": list(self.end_ids),
      }
    )

  @classmethod
  def _from_saved(
    cls, fields: Mapping[str, Any], name: str
  ) -> HuggingFaceTokenizer:
    parts = (fields.get("tokenizer"), fields.get("config"))
    if not all(isinstance(part, dict) for part in parts):
      raise TokenizerError(
        f"{name} is incomplete; give what HuggingFaceTokenizer.save wrote."
      )
    end_ids = _checked_ends(fields.get("end_ids"), name)
    return cls(token_spec.check_spec(parts[0], name), parts[1], end_ids, name)

  def _named(self, key: str) -> int | None:
    """Returns the id of the token that the config names, None if it doesn't."""
    token = self._config.get(key)
    if isinstance(token, dict):
      token = token.get("content")
    if token is None:
      return None
    if not isinstance(token, str) or token not in self._id_of:
      raise TokenizerError(
        f"{self._name} names a {key} that has no id ({token!r:.60}); mend its"
        " tokenizer_config.json."
      )
    return self._id_of[token]

  def _set_special_ids(self, end_ids: Sequence[int]) -> None:
    end = self._named("eos_token")
    ends = ([] if end is None else [end]) + list(end_ids)
    # The end of a text ends a turn as well, in whichever order they are named.
    for known in (_END_OF_TURN, _END_OF_TEXT):
      ends += [i for t, i in self._control_of.items() if t in known]
    if not ends:
      ends = [self._id_of[t] for t in _END_OF_TEXT if t in self._id_of]
    if not ends:
      raise TokenizerError(
        f"{self._name} names no end token; give the model's directory with its"
        " tokenizer_config.json."
      )
    self.end_ids = tuple(
      token_files.checked_ids(dict.fromkeys(ends), self.vocab_size)
    )
    self.end_id = self.end_ids[0]
    pad = self._named("pad_token")
    self.pad_id = self.end_id if pad is None else pad
    opening = self._named("bos_token")
    self.bos_id = opening if self._adds_opening() else None
    special = [token.id for token in self._spec.added if token.special]
    self._skipped = {*self.end_ids, self.pad_id, opening, *special}

  def _adds_opening(self) -> bool:
    adds = self._config.get("add_bos_token")
    if isinstance(adds, bool):
      return adds
    opening = self._config.get("bos_token")
    if isinstance(opening, dict):
      opening = opening.get("content")
    # In a template that adds it, it is {"SpecialToken": {"id": "<s>", ...}}.
    marks = json.dumps(self._spec.post_processor)
    return f'"SpecialToken": {{"id": {json.dumps(opening)}' in marks

  def _set_alphabet(self) -> None:
    """Finds the newline token and what cannot be written."""
    spec = self._spec
    parts = (spec.pre_tokenizer or {}).get("pretokenizers")
    parts = [spec.pre_tokenizer or {}] if parts is None else parts
    self._byte_level = any(
      part["type"] == "ByteLevel" for part in parts if part
    )
    if self._byte_level:
      names = gguf_tokenizer.BYTE_CHARACTERS
    else:
      names = [f"<0x{byte:02X}>" for byte in range(256)]
    self._unwritable = {b for b in range(256) if names[b] not in spec.vocab}
    newline = self._id_of.get(names[ord("\n")])
    if not self._byte_level:
      newline = self._id_of.get("\n", newline)
      if spec.unk_token is None and (
        self._unwritable or not spec.byte_fallback
      ):
        raise TokenizerError(
          f"{self._name} would drop characters it does not know; it needs a"
          " token for every byte, or one for the unknown."
        )
      self._unwritable = set()
    if newline is None:
      raise TokenizerError(
        f"{self._name} has no newline token, and a thought ends with one."
      )
    self.thought_end_id = newline
    unknown = None if self._byte_level else spec.unk_token
    self._unknown_id = None if unknown is None else spec.vocab[unknown]

  def _refuse_unwritable(self, text: str) -> None:
    """Refuses what would come back changed; the original drops it."""
    try:
      content = text.encode("utf-8")
    except UnicodeEncodeError as error:
      raise ValueError(
        f"The text holds half of a surrogate pair at character {error.start},"
        " which no tokenizer can write; remove it."
      ) from None
    if not self._byte_level:
      if token_spec.SPACE_MARK in text:
        raise ValueError(
          f"The tokenizer cannot write {token_spec.SPACE_MARK!r}, because it"
          " stands for a space; remove it from the text."
        )
    elif self._unwritable and not self._unwritable.isdisjoint(content):
      lost = next(c for c in text if self._unwritable & set(c.encode()))
      raise ValueError(
        f"The tokenizer cannot write {lost!r}; remove it from the text."
      )

  def _build(self) -> Any:
    """Returns the package's tokenizer, which would trust its file.

    The model is handed over as objects: as JSON it takes twice as long.
    """
    tokenizers = extras.require("tokenizers", "hf")
    spec = self._spec
    frame = spec.to_fields() | {"added_tokens": [], "post_processor": None}
    frame["model"] = {"type": "BPE", "vocab": {}, "merges": []}
    tokenizer = _call(
      self._name, tokenizers.Tokenizer.from_str, json.dumps(frame)
    )
    tokenizer.model = _call(
      self._name,
      tokenizers.models.BPE,
      # With the added tokens in it, they get the ids that the file gives them.
      vocab=self._id_of,
      merges=spec.merges,
      unk_token=spec.unk_token,
      fuse_unk=spec.fuse_unk,
      byte_fallback=spec.byte_fallback,
      ignore_merges=spec.ignore_merges,
    )
    added = [
      tokenizers.AddedToken(
        token.content,
        special=token.id in self._control_ids,
        normalized=token.normalized,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
      )
      for token in spec.added
    ]
    _call(self._name, tokenizer.add_tokens, added)
    return tokenizer


def _call(name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
  """Calls the `tokenizers` package, which raises bare exceptions and panics.

  A panic of its Rust code derives from BaseException and can't be imported.
  """
  try:
    return function(*args, **kwargs)
  except BaseException as error:
    if not isinstance(error, Exception) and (
      type(error).__name__ != "PanicException"
    ):
      raise
    raise TokenizerError(
      f"The tokenizers package cannot use {name} ({str(error)[:200]}); give a"
      " complete tokenizer.json."
    ) from error


def _checked_ends(end_ids: Any, name: str) -> list[int]:
  if not isinstance(end_ids, list) or any(
    type(index) is not int or not 0 <= index < token_spec.MAX_IDS
    for index in end_ids
  ):
    raise TokenizerError(f"{name} names end tokens that are no ids.")
  return end_ids


def _read_template(path: pathlib.Path) -> str:
  try:
    with path.open("rb") as file:
      return file.read(2**20).decode("utf-8")
  except (OSError, ValueError) as error:
    raise TokenizerError(f"{path} cannot be read as text ({error}).") from error
