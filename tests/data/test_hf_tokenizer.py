"""Tests of `reasoning_rl.data.hf_tokenizer`."""

from __future__ import annotations

import json

import pytest
import tokenizers as peer
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoning_rl import extras
from reasoning_rl.data import hf_tokenizer, token_files, tokenizers


@pytest.fixture(scope="module", params=["smollm", "qwen2", "llama-bpe"])
def family(request, byte_level_tokenizers, tmp_path_factory):
  """Returns a tokenizer of the package `tokenizers` and ours of its file."""
  original = byte_level_tokenizers(request.param)
  folder = tmp_path_factory.mktemp(request.param)
  original.save(str(folder / "tokenizer.json"))
  pad = {"__type": "AddedToken", "content": "<|pad|>"}
  config = {"eos_token": "<|im_end|>", "pad_token": pad}
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  return original, hf_tokenizer.HuggingFaceTokenizer.from_file(folder), folder


def test_ids_are_those_of_the_original(family, corpus):
  original, tokenizer, _ = family
  for text in corpus:
    expected = original.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text, allow_control=True) == expected


def test_ids_are_those_of_transformers(family, corpus):
  _, tokenizer, folder = family
  original = transformers.AutoTokenizer.from_pretrained(folder)
  for text in corpus:
    expected = original.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text, allow_control=True) == expected


def test_text_comes_back_unless_the_family_composes_it(family, corpus):
  original, tokenizer, _ = family
  for text in corpus:
    changed = original.normalizer
    text = changed.normalize_str(text) if changed else text
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(
  st.lists(
    st.sampled_from(["<|im_end|>", "<think>", "</think>", "a", "<|", " ", "\n"])
  ).map("".join)
)
@settings(max_examples=60, deadline=None)
def test_text_never_becomes_a_control_token(family, text):
  _, tokenizer, _ = family
  ids = tokenizer.encode(text)
  control = {tokenizer.control_id(t) for t in ("<|im_end|>", "<think>")}
  assert control.isdisjoint(ids)
  assert tokenizer.decode(ids) == text


def test_a_spelt_control_token_is_taken_as_one_only_on_request(family):
  _, tokenizer, _ = family
  end = tokenizer.control_id("<|im_end|>")
  assert end not in tokenizer.encode("x<|im_end|>y")
  x, y = tokenizer.encode("x"), tokenizer.encode("y")
  assert tokenizer.encode("x<|im_end|>y", allow_control=True) == [*x, end, *y]
  assert end not in tokenizer.encode("x<|im_end|>y")


def test_an_added_token_that_steers_nothing_is_text(family):
  original, tokenizer, _ = family
  table = original.token_to_id("[table]")
  assert table in tokenizer.encode("a [table] b")


def test_decoding_leaves_out_control_tokens_but_not_thinking_marks(family):
  _, tokenizer, _ = family
  text = "<|im_start|>a = 1\n</think><|im_end|><|pad|><|pad|>"
  ids = tokenizer.encode(text, allow_control=True)
  assert tokenizer.decode(ids) == "a = 1\n</think>"


def test_the_special_ids_are_those_of_the_config(family):
  original, tokenizer, _ = family
  assert tokenizer.end_id == original.token_to_id("<|im_end|>")
  assert tokenizer.pad_id == original.token_to_id("<|pad|>")
  assert tokenizer.bos_id is None
  assert tokenizer.encode("\n") == [tokenizer.thought_end_id]
  assert tokenizer.vocab_size == max(original.get_vocab().values()) + 1
  assert isinstance(tokenizer, tokenizers.Tokenizer)


def test_one_file_and_a_directory_give_it_back(family, tmp_path, corpus):
  _, tokenizer, _ = family
  tokenizer.save(tmp_path / "one.json")
  tokenizer.save_directory(tmp_path / "model")
  for path in (tmp_path / "one.json", tmp_path / "model"):
    again = tokenizers.load_tokenizer(path)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.end_ids == tokenizer.end_ids
    assert again.pad_id == tokenizer.pad_id
    for text in corpus:
      assert again.encode(text) == tokenizer.encode(text)


def test_an_exported_directory_opens_in_transformers(family, tmp_path, corpus):
  _, tokenizer, _ = family
  tokenizer.save_directory(tmp_path)
  peer_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
  assert peer_tokenizer.eos_token_id == tokenizer.end_id
  for text in corpus:
    expected = peer_tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text, allow_control=True) == expected


def test_make_tokenizer_reads_a_directory_or_its_tokenizer_json(family):
  _, tokenizer, folder = family
  for path in (folder, folder / "tokenizer.json"):
    made = tokenizers.make_tokenizer("huggingface", path=path)
    assert made.encode("a = 12") == tokenizer.encode("a = 12")
    assert made.end_id == tokenizer.end_id  # <|im_end|>, known by its name.


def test_the_fingerprint_changes_with_an_id_and_with_the_end(family, tmp_path):
  _, tokenizer, folder = family
  fields = json.loads((folder / "tokenizer.json").read_text())
  fields["model"]["merges"] = fields["model"]["merges"][:-1]
  (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
  config = (folder / "tokenizer_config.json").read_text()
  (tmp_path / "tokenizer_config.json").write_text(config)
  fewer = tokenizers.load_tokenizer(tmp_path)
  assert fewer.fingerprint() != tokenizer.fingerprint()
  other = tokenizers.load_tokenizer(folder / "tokenizer.json")
  assert other.pad_id != tokenizer.pad_id
  assert other.fingerprint() != tokenizer.fingerprint()


def test_the_ends_of_generation_config_count_too(family, tmp_path):
  original, tokenizer, folder = family
  for name in ("tokenizer.json", "tokenizer_config.json"):
    (tmp_path / name).write_text((folder / name).read_text())
  end = original.token_to_id("<|endoftext|>")
  generation = {"eos_token_id": [tokenizer.end_id, end]}
  (tmp_path / "generation_config.json").write_text(json.dumps(generation))
  assert tokenizers.load_tokenizer(tmp_path).end_ids == (tokenizer.end_id, end)


def test_the_end_of_a_text_ends_a_turn_too(family):
  original, tokenizer, folder = family
  ends = [
    original.token_to_id(f"<|{name}|>") for name in ("im_end", "endoftext")
  ]
  assert tokenizer.end_ids == tuple(ends)
  unnamed = tokenizers.load_tokenizer(folder / "tokenizer.json")
  assert unnamed.end_ids == tuple(ends)


def test_a_token_that_opens_a_text_is_known_by_the_post_processor(
  byte_level_tokenizers, tmp_path
):
  original = byte_level_tokenizers("llama-bpe")
  start = original.token_to_id("<|im_start|>")
  original.post_processor = peer.processors.TemplateProcessing(
    single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
  )
  original.save(str(tmp_path / "tokenizer.json"))
  config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  tokenizer = tokenizers.load_tokenizer(tmp_path)
  assert tokenizer.bos_id == start
  assert original.encode("a").ids == [start, *tokenizer.encode("a")]
  config["add_bos_token"] = False
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  assert tokenizers.load_tokenizer(tmp_path).bos_id is None


def test_half_a_surrogate_pair_is_refused(family):
  _, tokenizer, _ = family
  with pytest.raises(ValueError, match="surrogate pair at character 1"):
    tokenizer.encode("a\ud83d")


def test_a_character_that_the_original_would_drop_is_refused(
  byte_level_tokenizers, tmp_path
):
  # SmolLM2 has no token for the bytes of some control characters.
  original = byte_level_tokenizers("smollm", missing=(0x04,))
  assert original.encode("a\x04b").ids == original.encode("ab").ids
  original.save(str(tmp_path / "tokenizer.json"))
  tokenizer = tokenizers.load_tokenizer(tmp_path / "tokenizer.json")
  with pytest.raises(ValueError, match=r"cannot write '\\x04'"):
    tokenizer.encode("a\x04b")


def test_ids_outside_the_vocabulary_are_refused(family):
  _, tokenizer, _ = family
  for wrong in (-1, tokenizer.vocab_size):
    with pytest.raises(ValueError, match=f"Token id {wrong} is outside"):
      tokenizer.decode([wrong])


def test_an_unknown_control_token_is_named(family):
  with pytest.raises(token_files.TokenizerError, match="'<end_of_turn>'"):
    family[1].control_id("<end_of_turn>")


def test_a_tokenizer_that_does_not_match_the_model_is_refused(family):
  _, tokenizer, _ = family
  for rows in (tokenizer.vocab_size, tokenizer.vocab_size + 271):
    tokenizers.check_matches_model(tokenizer, rows)
  for rows in (tokenizer.vocab_size - 1, tokenizer.vocab_size + 99_999):
    with pytest.raises(token_files.TokenizerError, match=f"the model {rows};"):
      tokenizers.check_matches_model(tokenizer, rows)


def test_a_missing_package_is_named_with_the_command(family, monkeypatch):
  def refuse(module, extra):
    raise extras.MissingExtraError(f"{module}: pip install -e '.[{extra}]'")

  monkeypatch.setattr(extras, "require", refuse)
  with pytest.raises(extras.MissingExtraError, match=r"'\.\[hf\]'"):
    tokenizers.load_tokenizer(family[2])


def test_a_panic_of_the_package_is_the_typed_error():
  def panic():
    # The package itself panics on this one, past `except Exception`.
    return peer.models.BPE(
      vocab={"a": 0, "b": 1, "ab": 2},
      merges=[("a", "b")],
      continuing_subword_prefix="éééé",
    )

  with pytest.raises(token_files.TokenizerError, match="the file"):
    hf_tokenizer._call("the file", panic)


def test_an_interrupt_passes_through():
  def interrupt():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    hf_tokenizer._call("the file", interrupt)
