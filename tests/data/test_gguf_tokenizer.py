"""Tests of `reasoning_rl.data.gguf_tokenizer`."""

from __future__ import annotations

import json
import random
import time

import pytest
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2 as protobuf

from reasoning_rl.data import (
  gguf_tokenizer,
  hf_tokenizer,
  token_files,
  tokenizers,
)

read = hf_tokenizer.HuggingFaceTokenizer.from_gguf
KEY = "tokenizer.ggml."


def byte_level_metadata(original, pre):
  """Returns what llama.cpp writes for a tokenizer.json."""
  fields = json.loads(original.to_str())
  kinds = {t["id"]: 3 if t["special"] else 4 for t in fields["added_tokens"]}
  id_of = original.get_vocab()
  tokens = sorted(id_of, key=id_of.__getitem__)
  return {
    KEY + "model": "gpt2",
    KEY + "pre": pre,
    KEY + "tokens": tokens,
    KEY + "token_type": [kinds.get(i, 1) for i in range(len(tokens))],
    KEY + "merges": [" ".join(pair) for pair in fields["model"]["merges"]],
    KEY + "eos_token_id": id_of["<|im_end|>"],
    KEY + "padding_token_id": id_of["<|pad|>"],
    "tokenizer.chat_template": "{{ messages }}",
  }


def sentencepiece_metadata(model, prefix):
  """Returns what llama.cpp writes for a SentencePiece model."""
  proto = protobuf.ModelProto.FromString(model)
  pieces = proto.pieces
  return {
    KEY + "model": "llama",
    KEY + "tokens": [
      p.piece.replace("\u2581", " ") if p.type == 4 else p.piece for p in pieces
    ],
    KEY + "scores": [p.score for p in pieces],
    KEY + "token_type": [p.type for p in pieces],
    KEY + "bos_token_id": proto.trainer_spec.bos_id,
    KEY + "eos_token_id": proto.trainer_spec.eos_id,
    KEY + "add_space_prefix": prefix,
  }


@pytest.fixture(
  scope="module", params=["smollm", "qwen2", "llama-bpe", "gpt-2"]
)
def byte_level(request, byte_level_tokenizers):
  original = byte_level_tokenizers(request.param)
  return original, byte_level_metadata(original, request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["llama", "gemma"])
def pieces(request, sentencepiece_models):
  model = sentencepiece_models(request.param)
  return model, sentencepiece_metadata(model, request.param)


def test_byte_level_ids_are_those_of_the_original(byte_level, corpus):
  original, metadata = byte_level
  tokenizer = read(metadata)
  for text in corpus:
    expected = original.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text, allow_control=True) == expected


def test_smollm_spells_every_digit(byte_level_tokenizers):
  # Not so in transformers' own conversion, for it ignores how text is split.
  tokenizer = read(
    byte_level_metadata(byte_level_tokenizers("smollm"), "smollm")
  )
  ids = tokenizer.encode("12345 ²³")
  assert [tokenizer.decode([i]) for i in ids[:6]] == [*"12345", " "]
  whole = read(byte_level_metadata(byte_level_tokenizers("gpt-2"), "gpt-2"))
  assert len(whole.encode("12345")) < 5


def test_sentencepiece_ids_are_those_of_sentencepiece(pieces, corpus):
  model, metadata = pieces
  original = sentencepiece.SentencePieceProcessor(model_proto=model)
  tokenizer = read(metadata)
  for text in corpus:
    assert tokenizer.encode(text) == original.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_llama_ids_are_those_of_transformers(
  sentencepiece_models, tmp_path, corpus
):
  model = sentencepiece_models(True)
  (tmp_path / "tokenizer.model").write_bytes(model)
  original = transformers.LlamaTokenizer.from_pretrained(tmp_path, legacy=True)
  tokenizer = read(sentencepiece_metadata(model, prefix=True))
  for text in corpus:
    # transformers takes "</s>" in a text as the control token, and leaves the
    # prefix out before a space, which SentencePiece (above) does not.
    if "<" not in text and not text.startswith(" "):
      expected = original.encode(text, add_special_tokens=False)
      assert tokenizer.encode(text) == expected


def test_an_exported_directory_opens_in_transformers(pieces, tmp_path, corpus):
  tokenizer = read(pieces[1])
  tokenizer.save_directory(tmp_path)
  exported = transformers.AutoTokenizer.from_pretrained(tmp_path)
  again = tokenizers.load_tokenizer(tmp_path)
  for text in corpus:
    ids = tokenizer.encode(text, allow_control=True)
    assert exported.encode(text, add_special_tokens=False) == ids
    assert exported.encode(text) == [tokenizer.bos_id, *ids]
    assert again.encode(text, allow_control=True) == ids


def test_the_special_ids_are_those_of_the_metadata(byte_level, pieces):
  original, metadata = byte_level
  tokenizer = read(metadata)
  assert tokenizer.end_id == original.token_to_id("<|im_end|>")
  assert tokenizer.pad_id == original.token_to_id("<|pad|>")
  assert tokenizer.bos_id is None
  assert tokenizer.chat_template == "{{ messages }}"
  processor = sentencepiece.SentencePieceProcessor(model_proto=pieces[0])
  tokenizer = read(pieces[1])
  assert tokenizer.end_id == tokenizer.pad_id == processor.eos_id()
  assert tokenizer.bos_id == processor.bos_id()
  assert tokenizer.encode("a\n")[-1] == tokenizer.thought_end_id
  assert tokenizer.vocab_size == processor.get_piece_size()


def test_user_defined_tokens_behind_a_prefix_are_refused(sentencepiece_models):
  metadata = sentencepiece_metadata(sentencepiece_models(False), prefix=True)
  with pytest.raises(
    token_files.TokenizerError, match="tokenizer.json instead"
  ):
    read(metadata)


def test_every_union_of_two_tokens_is_a_merge_best_first():
  # "abc" (score -1) is "ab" + "c" and "a" + "bc"; "bc" (-2) is "b" + "c".
  scores = {"a": -4, "b": -5, "c": -6, "ab": -3, "bc": -2, "abc": -1}
  assert gguf_tokenizer.merges_of(scores) == [
    *(("a", "bc"), ("ab", "c"), ("b", "c"), ("a", "b"))
  ]


def test_a_byte_has_the_character_that_gpt2_gives_it():
  characters = gguf_tokenizer.BYTE_CHARACTERS
  assert characters[ord("A")] == "A"
  assert characters[ord(" ")] == "Ġ"
  assert characters[ord("\n")] == "Ċ"
  assert len(set(characters)) == 256


HOSTILE = {
  "model": (None, 3, "bert", ["gpt2"]),
  "pre": ("unheard-of", 3, None, ["gpt-2"]),
  "tokens": (None, "abc", [], [1, 2], ["a", "a"], ["a"] * (2**19 + 1)),
  "token_type": (None, [], [1], ["a"], [1.5]),
  "merges": (None, "a b", [1], ["ab"], ["a b c"], ["zz zz"], [["a", "b"]]),
  "eos_token_id": (-1, 2**40, "2", 1.0, True, [2]),
  "padding_token_id": (-1, 2**40, "2"),
}
HOSTILE_PIECES = {
  "scores": (None, [], [1.0], ["a"]),
  "unknown_token_id": (-1, 2**40, "2"),
}


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_metadata_are_the_typed_error(key, byte_level):
  for value in HOSTILE[key]:
    with pytest.raises(token_files.TokenizerError, match="the GGUF file"):
      read(byte_level[1] | {KEY + key: value})


@pytest.mark.parametrize("key", HOSTILE_PIECES)
def test_hostile_pieces_are_the_typed_error(key, pieces):
  for value in HOSTILE_PIECES[key]:
    with pytest.raises(token_files.TokenizerError, match="the GGUF file"):
      read(pieces[1] | {KEY + key: value})


def test_a_piece_of_endless_length_is_refused_at_once(pieces):
  # Looking up all of its cuts would take hours.
  tokens = [*pieces[1][KEY + "tokens"][:-1], "a" * 2_000_000]
  start = time.process_time()
  with pytest.raises(token_files.TokenizerError, match="more than 64"):
    read(pieces[1] | {KEY + "tokens": tokens})
  assert time.process_time() - start < 2


def test_mutated_metadata_give_a_tokenizer_or_the_typed_error(pieces):
  rng = random.Random(0)
  refused = 0
  for _ in range(150):
    metadata = {
      k: list(v) if isinstance(v, list) else v for k, v in pieces[1].items()
    }
    values = metadata[rng.choice(list(metadata))]
    if isinstance(values, list):
      weird = (None, -1, 2**40, "", "\ud800", "a", [], 1.5, True, float("nan"))
      values[rng.randrange(len(values))] = rng.choice(weird)
    else:
      del metadata[rng.choice(list(metadata))]
    start = time.process_time()
    try:
      read(metadata).encode("a b")
    except token_files.TokenizerError:
      refused += 1
    assert time.process_time() - start < 2
  assert refused > 50
