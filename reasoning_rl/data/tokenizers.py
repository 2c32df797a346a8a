"""Tokenizers: text to token ids and back, without losing a character.

A thought ends with the newline token, so every tokenizer has one newline token
that never merges with its neighbours. Ids are kept through a whole search and
text is never encoded twice: encoding a prefix and its continuation apart may
give other ids than encoding them together.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import sentencepiece

from reasoning_rl.data import hf_tokenizer, token_files, token_spec

THOUGHT_DELIMITER = "\n"
_SPACE_MARK = "\u2581"  # SentencePiece writes spaces as this character.
_MAX_UNUSED_ROWS = 2048  # Qwen2.5 and Phi leave up to 905 at the end.


@runtime_checkable
class Tokenizer(Protocol):
  """What the rest of the library needs from a tokenizer.

  Attributes:
    vocab_size: Number of ids; every id is below it.
    pad_id: Fills rows up; may also be a real token, so never infer masks.
    bos_id: Opens a sequence; None where the tokenizer has no such token.
    end_id: Ends a completion.
    thought_end_id: Ends a thought: the newline token.
  """

  vocab_size: int
  pad_id: int
  bos_id: int | None
  end_id: int
  thought_end_id: int

  def encode(self, text: str) -> list[int]:
    """Returns the ids of `text`, with no opening or end token added."""
    ...

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text of `ids`, leaving padding and end tokens out."""
    ...

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the tokenizer to one file, which `load_tokenizer` reads."""
    ...

  def fingerprint(self) -> str:
    """Returns a SHA-256 that changes whenever an id may change."""
    ...


class CharacterTokenizer:
  """One token per character; id 0 is padding and id 1 the end token."""

  pad_id = 0
  bos_id = None
  end_id = 1
  _FIRST_CHARACTER_ID = 2

  def __init__(self, alphabet: str):
    """Numbers the characters of `alphabet`, a newline included, in order."""
    if len(set(alphabet)) != len(alphabet):
      repeated = next(c for c in alphabet if alphabet.count(c) > 1)
      raise ValueError(
        f"The alphabet holds {repeated!r} more than once; list each character"
        " once."
      )
    if THOUGHT_DELIMITER not in alphabet:
      raise ValueError(
        "The alphabet has no newline; add it, because it ends a thought."
      )
    self.alphabet = alphabet
    self.vocab_size = self._FIRST_CHARACTER_ID + len(alphabet)
    self._id_of = {
      character: index
      for index, character in enumerate(alphabet, self._FIRST_CHARACTER_ID)
    }
    self._text_of = ["", "", *alphabet]
    self.thought_end_id = self._id_of[THOUGHT_DELIMITER]

  def encode(self, text: str) -> list[int]:
    """Returns one id per character."""
    try:
      return [self._id_of[character] for character in text]
    except KeyError as error:
      raise ValueError(
        f"The character {error.args[0]!r} is not in the tokenizer's alphabet;"
        " add it to the alphabet or remove it from the text."
      ) from None

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text of `ids`, leaving padding and end tokens out."""
    ids = token_files.checked_ids(ids, self.vocab_size)
    return "".join([self._text_of[index] for index in ids])

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes a JSON file."""
    token_files.write_bytes(path, self._to_json())

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> CharacterTokenizer:
    """Reads what `save` wrote."""
    try:
      fields = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
      if fields["kind"] != "character":
        raise ValueError(f"kind {fields['kind']!r}")
      return cls(fields["alphabet"])
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{path} is not a character tokenizer ({error}); give the file that"
        " CharacterTokenizer.save wrote."
      ) from error

  def fingerprint(self) -> str:
    """Returns the SHA-256 of the alphabet and its order."""
    return hashlib.sha256(self._to_json()).hexdigest()

  def _to_json(self) -> bytes:
    fields = {"kind": "character", "alphabet": self.alphabet}
    return json.dumps(fields, sort_keys=True).encode("utf-8")


class SentencePieceTokenizer:
  """Subword tokens of a SentencePiece model, own or somebody else's."""

  def __init__(self, model: bytes, name: str = "the SentencePiece model"):
    """Reads a serialized model; `name` stands in error messages."""
    try:
      self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
      self.vocab_size = self._processor.get_piece_size()
    except RuntimeError as error:
      raise ValueError(
        f"{name} is not a SentencePiece model; give a complete .model file."
      ) from error
    if not model or self.vocab_size == 0:
      raise ValueError(f"{name} is empty; give a complete .model file.")
    self._model = model
    processor = self._processor
    self.end_id = processor.eos_id()
    if self.end_id < 0:
      raise ValueError(f"{name} has no end token; train one with an eos piece.")
    self.bos_id = processor.bos_id() if processor.bos_id() >= 0 else None
    # Models without a padding piece fill up with the end token, as is usual.
    self.pad_id = processor.pad_id() if processor.pad_id() >= 0 else self.end_id
    self.thought_end_id = self._find_thought_end(name)
    self._skipped = {self.pad_id, self.end_id, self.bos_id}
    pieces = processor.id_to_piece(list(range(self.vocab_size)))
    self._control_ids = {
      index
      for index, piece in enumerate(pieces)
      if piece[0] == "<" and token_spec.CONTROL.fullmatch(piece)
    }

  @classmethod
  def from_file(cls, path: str | os.PathLike[str]) -> SentencePieceTokenizer:
    """Reads a `.model` file."""
    return cls(pathlib.Path(path).read_bytes(), name=str(path))

  load = from_file

  @classmethod
  def train(
    cls,
    texts: Iterable[str],
    path: str | os.PathLike[str],
    vocab_size: int,
  ) -> SentencePieceTokenizer:
    """Trains byte-pair merges on `texts` and writes the model to `path`.

    Nothing is normalised away: spaces and newlines survive a round trip, the
    newline is a token of its own, and numbers are spelt digit by digit.

    Args:
      texts: Training text; a character that is absent cannot be encoded later.
      path: Where the model file goes.
      vocab_size: Pieces, padding, end and unknown included.

    Returns:
      The tokenizer.
    """
    model = io.BytesIO()
    try:
      sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="bpe",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=[THOUGHT_DELIMITER],
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        character_coverage=1.0,
        # Longer texts would be left out in silence.
        max_sentence_length=2**30,
        num_threads=1,
        minloglevel=2,
      )
    except RuntimeError as error:
      raise ValueError(
        f"SentencePiece cannot train {vocab_size} pieces on these texts:"
        f" {str(error).rsplit('] ', 1)[-1]}"
      ) from error
    tokenizer = cls(model.getvalue(), name=str(path))
    tokenizer.save(path)
    return tokenizer

  def encode(self, text: str) -> list[int]:
    """Returns the ids of `text`, with no opening or end token added."""
    ids = self._processor.encode(text)
    unknown = self._processor.unk_id()
    if unknown in ids or _SPACE_MARK in text:
      pieces = self._processor.encode(text, out_type=str)
      lost = (
        piece for i, piece in zip(ids, pieces, strict=True) if i == unknown
      )
      raise ValueError(
        f"The tokenizer cannot write {next(lost, _SPACE_MARK)!r}; train it on"
        " text that holds it or remove it from the text."
      )
    if not self._control_ids.isdisjoint(ids):
      raise ValueError(
        "The text spells a control token, such as '<end_of_turn>', and a"
        " SentencePiece model cannot tell it from the token itself; remove it"
        " from the text or use the model's tokenizer.json."
      )
    return ids

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text of `ids`, leaving padding and end tokens out."""
    ids = token_files.checked_ids(ids, self.vocab_size)
    return self._processor.decode([i for i in ids if i not in self._skipped])

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the `.model` file."""
    token_files.write_bytes(path, self._model)

  def fingerprint(self) -> str:
    """Returns the SHA-256 of the model file."""
    return hashlib.sha256(self._model).hexdigest()

  def _find_thought_end(self, name: str) -> int:
    unknown = self._processor.unk_id()
    for piece in (THOUGHT_DELIMITER, "<0x0A>"):  # The latter: byte fallback.
      index = self._processor.piece_to_id(piece)
      if index != unknown:
        return index
    raise ValueError(
      f"{name} has no newline token; train it with the newline as a"
      " user-defined symbol, because it ends a thought."
    )


def make_tokenizer(
  kind: str, *, alphabet: str = "", path: str | os.PathLike[str] = ""
) -> Tokenizer:
  """Returns the tokenizer that a config names.

  Args:
    kind: "character" (needs `alphabet`), "sentencepiece" or "huggingface"
      (these need `path`).
    alphabet: Characters, a newline included.
    path: A SentencePiece `.model` file; or a pretrained model's directory or
      its tokenizer.json.
  """
  if kind == "character":
    return CharacterTokenizer(alphabet)
  if kind == "sentencepiece":
    return SentencePieceTokenizer.from_file(path)
  if kind == hf_tokenizer.KIND:
    return hf_tokenizer.HuggingFaceTokenizer.from_file(path)
  raise ValueError(
    f"Unknown tokenizer {kind!r}; choose 'character', 'sentencepiece' or"
    " 'huggingface'."
  )


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Reads a tokenizer of any kind.

  Args:
    path: What a tokenizer's `save` wrote, a SentencePiece `.model` file, a
      tokenizer.json, or a pretrained model's directory.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    return hf_tokenizer.HuggingFaceTokenizer.from_file(path)
  if path.suffix != ".json":
    return SentencePieceTokenizer.from_file(path)
  fields = token_files.read_json(path)
  if "model" in fields or fields.get("kind") == hf_tokenizer.KIND:
    return hf_tokenizer.HuggingFaceTokenizer.from_file(path)
  return CharacterTokenizer.load(path)


def check_matches_model(tokenizer: Tokenizer, vocab_size: int) -> None:
  """Refuses a tokenizer that cannot be the one a model was trained with.

  Args:
    tokenizer: The tokenizer.
    vocab_size: Rows of the model's embedding. Models round it up, so a few may
      be without a token.

  Raises:
    TokenizerError: If tokens have no row, or many rows no token.
  """
  rows = vocab_size - tokenizer.vocab_size
  if 0 <= rows <= _MAX_UNUSED_ROWS:
    return
  raise token_files.TokenizerError(
    f"The tokenizer has {tokenizer.vocab_size} ids and the model"
    f" {vocab_size}; use the tokenizer that the model was trained with."
  )
