"""Tests of `reasoning_rl.data.tokenizers`."""

from __future__ import annotations

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoning_rl.data import tokenizers

ALPHABET = "\n 0123456789=+ab"
TEXTS = [
  "a = 3 + 15 = 18\nb = a + 2 = 20\n  b: 20\n",
  "ab = 467467467467 abab 9\n",
] * 10


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  path = tmp_path_factory.mktemp("pieces") / "task.model"
  return tokenizers.SentencePieceTokenizer.train(TEXTS, path, 24), path


def test_characters_are_numbered_after_padding_and_end():
  tokenizer = tokenizers.CharacterTokenizer("\nxy")
  assert tokenizer.encode("y\nx") == [4, 2, 3]
  assert tokenizer.thought_end_id == 2
  assert tokenizer.vocab_size == 5
  assert tokenizer.decode([4, 2, 3, 1, 0, 0]) == "y\nx"


@given(st.text(alphabet=ALPHABET))
@settings(max_examples=50, deadline=None)
def test_both_kinds_give_back_every_space_and_newline(trained, text):
  for tokenizer in (tokenizers.CharacterTokenizer(ALPHABET), trained[0]):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert ids.count(tokenizer.thought_end_id) == text.count("\n")
    assert all(0 <= index < tokenizer.vocab_size for index in ids)


def test_a_number_is_spelt_digit_by_digit(trained):
  tokenizer, _ = trained
  ids = tokenizer.encode("467")
  assert [tokenizer.decode([index]) for index in ids] == ["4", "6", "7"]


def test_decoding_leaves_padding_and_end_out(trained):
  tokenizer, _ = trained
  ids = tokenizer.encode("a = 3")
  padded = [*ids, tokenizer.end_id, tokenizer.pad_id, tokenizer.pad_id]
  assert tokenizer.decode(padded) == "a = 3"


def test_saved_tokenizers_load_with_the_same_ids(trained, tmp_path):
  character = tokenizers.CharacterTokenizer(ALPHABET)
  for tokenizer, name in ((character, "t.json"), (trained[0], "t.model")):
    tokenizer.save(tmp_path / name)
    again = tokenizers.load_tokenizer(tmp_path / name)
    assert isinstance(again, tokenizers.Tokenizer)
    assert again.encode("a = 12\n") == tokenizer.encode("a = 12\n")
    assert again.fingerprint() == tokenizer.fingerprint()


def test_the_fingerprint_changes_with_the_order_of_the_alphabet():
  one = tokenizers.CharacterTokenizer("\nab").fingerprint()
  assert one != tokenizers.CharacterTokenizer("\nba").fingerprint()


def test_training_twice_gives_the_same_model(trained, tmp_path):
  again = tokenizers.SentencePieceTokenizer.train(TEXTS, tmp_path / "m", 24)
  assert again.fingerprint() == trained[0].fingerprint()


def test_make_tokenizer_builds_what_the_config_names(trained):
  made = tokenizers.make_tokenizer("character", alphabet=ALPHABET)
  assert made.vocab_size == len(ALPHABET) + 2
  made = tokenizers.make_tokenizer("sentencepiece", path=trained[1])
  assert made.fingerprint() == trained[0].fingerprint()
  with pytest.raises(ValueError, match="Unknown tokenizer 'words'"):
    tokenizers.make_tokenizer("words")


def test_an_unknown_character_is_named(trained):
  for tokenizer in (tokenizers.CharacterTokenizer(ALPHABET), trained[0]):
    with pytest.raises(ValueError, match="'é'"):
      tokenizer.encode("a = é")


def test_the_mark_that_sentencepiece_uses_for_a_space_is_refused(trained):
  # It would come back as a space.
  with pytest.raises(ValueError, match="\u2581"):
    trained[0].encode("a\u2581b")


def test_ids_outside_the_vocabulary_are_refused(trained):
  for tokenizer in (tokenizers.CharacterTokenizer(ALPHABET), trained[0]):
    for wrong in (-1, tokenizer.vocab_size):
      with pytest.raises(ValueError, match=f"Token id {wrong} is outside"):
        tokenizer.decode([0, wrong])


def test_an_alphabet_needs_a_newline_and_no_repetition():
  with pytest.raises(ValueError, match="no newline"):
    tokenizers.CharacterTokenizer("ab")
  with pytest.raises(ValueError, match="'a' more than once"):
    tokenizers.CharacterTokenizer("\naba")


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"kind": "x"}'])
def test_a_damaged_tokenizer_file_is_named(content, tmp_path):
  for name in ("t.json", "t.model"):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name):
      tokenizers.load_tokenizer(path)


def test_a_model_without_a_newline_piece_is_refused(tmp_path):
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_prefix=str(tmp_path / "foreign"),
    vocab_size=22,
    model_type="bpe",
    minloglevel=2,
  )
  with pytest.raises(ValueError, match="no newline token"):
    tokenizers.load_tokenizer(tmp_path / "foreign.model")


@pytest.mark.parametrize("prefix", [True, False])
def test_a_model_of_others_gives_the_ids_of_sentencepiece(
  sentencepiece_models, corpus, prefix
):
  # With bytes to fall back on; with a space put first, or tokens of the user's.
  model = sentencepiece_models(prefix)
  original = sentencepiece.SentencePieceProcessor(model_proto=model)
  tokenizer = tokenizers.SentencePieceTokenizer(model)
  for text in corpus:
    ids = tokenizer.encode(text)
    assert ids == original.encode(text)
    assert tokenizer.decode(ids) == text
  assert tokenizer.end_id not in tokenizer.encode("</s>")
  assert tokenizer.encode("a\n")[-1] == tokenizer.thought_end_id


def test_a_spelt_control_token_of_a_sentencepiece_model_is_refused(tmp_path):
  # SentencePiece cannot tell a user's symbol in a text from the symbol.
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_prefix=str(tmp_path / "turns"),
    vocab_size=30,
    model_type="bpe",
    user_defined_symbols=["\n", "<end_of_turn>", "<b>"],
    minloglevel=2,
  )
  tokenizer = tokenizers.load_tokenizer(tmp_path / "turns.model")
  assert len(tokenizer.encode("a = <b>")) == 4
  with pytest.raises(ValueError, match="spells a control token"):
    tokenizer.encode("a = <end_of_turn>")


def test_too_many_pieces_are_refused_with_the_reason(tmp_path):
  with pytest.raises(ValueError, match="9999 pieces.*too high"):
    tokenizers.SentencePieceTokenizer.train(TEXTS, tmp_path / "m", 9999)
