"""Tests of `reasoning_rl.data.token_spec`: tokenizer files of any origin."""

from __future__ import annotations

import copy
import json
import random
import time

import pytest

from reasoning_rl.data import hf_tokenizer, token_files, token_spec

TokenizerError = token_files.TokenizerError
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
REPLACE = {"type": "Replace", "pattern": {"String": " "}}
WEIRD = (None, True, -1, 2**40, 1e300, "", "a", "\ud800", [], {}, [[]], [None])


@pytest.fixture(scope="module")
def fields(byte_level_tokenizers):
  return json.loads(byte_level_tokenizers("smollm").to_str())


def read(content: bytes):
  """Returns the tokenizer in the content of a file, in at most 2 seconds."""
  start = time.process_time()
  try:
    parsed = token_files.parse_json(content, "t.json")
    if parsed.get("kind") == "huggingface":
      return hf_tokenizer.HuggingFaceTokenizer._from_saved(parsed, "t.json")
    spec = token_spec.check_spec(parsed, "t.json")
    return hf_tokenizer.HuggingFaceTokenizer(spec, {}, name="t.json")
  finally:
    assert time.process_time() - start < 2


def added(**changes):
  token = {"id": 600, "content": "<x>", "special": True}
  return {"added_tokens": [token | changes]}


def model(**changes):
  return {"model": changes}


HOSTILE_FIELDS = {
  "no model": {"model": None},
  "a list as model": {"model": []},
  "another model": model(type="Unigram"),
  "a number as model type": model(type=3),
  "no vocabulary": model(vocab=None),
  "an empty vocabulary": model(vocab={}),
  "a list as vocabulary": model(vocab=["a"]),
  "no newline": model(vocab={"a": 0}, merges=[]),
  "a negative id": model(vocab={"a": -1}),
  "an id beyond 32 bits": model(vocab={"a": 2**32}),
  "an id beyond the limit": model(vocab={"a": token_spec.MAX_IDS}),
  "a fraction as id": model(vocab={"a": 1.5}),
  "a whole fraction as id": model(vocab={"a": 1.0}),
  "a boolean as id": model(vocab={"a": True}),
  "text as id": model(vocab={"a": "1"}),
  "no id": model(vocab={"a": None}),
  "the same id twice": model(vocab={"a": 1, "b": 1}),
  "an empty token": model(vocab={"": 1}),
  "an endless token": model(vocab={"a" * 9999: 1}),
  "half a surrogate pair": model(vocab={"\ud800": 1}),
  "text as merges": model(merges="a b"),
  "no merges": model(merges=None),
  "a merge of one": model(merges=[["a"]]),
  "a merge of three": model(merges=[["a", "b", "c"]]),
  "a merge of numbers": model(merges=[[1, 2]]),
  "a merge of lists": model(merges=[[["a"], ["b"]]]),
  "a merge of nothing": model(merges=[None]),
  "an object as merge": model(merges=[{"t": 1, "h": 2}]),
  "a merge without space": model(merges=["ab"]),
  "a merge into no token": model(merges=[["a", "\u0100"]]),
  "a merge of no token": model(merges=[["qqqq", "a"]]),
  "random merges": model(dropout=0.5),
  "a prefix of subwords": model(continuing_subword_prefix="éé"),
  "an end of words": model(end_of_word_suffix="</w>"),
  "an unknown token without id": model(unk_token="<none>"),
  "a number as unknown token": model(unk_token=3),
  "a list as unknown token": model(unk_token=[]),
  "text as flag": model(byte_fallback="yes"),
  "a number as flag": model(ignore_merges=1),
  "an object as added tokens": {"added_tokens": {}},
  "numbers as added tokens": {"added_tokens": [1]},
  "an added token without text": added(content=None),
  "an empty added token": added(content=""),
  "an endless added token": added(content="a" * 9999),
  "half a pair in an added token": added(content="\udfff"),
  "an added token without id": added(id=None),
  "a negative added id": added(id=-5),
  "a huge added id": added(id=2**31),
  "an added id that is taken": added(id=30),
  "an added token with another id": added(content="a", id=600),
  "a number as special": added(special=1),
  "text as strip": added(lstrip="no"),
  "a list as normalized": added(normalized=[]),
  "an unknown splitter": {"pre_tokenizer": {"type": "Whitespace"}},
  "a splitter without type": {"pre_tokenizer": {}},
  "text as splitter": {"pre_tokenizer": "ByteLevel"},
  "a slow pattern": {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "(a+)+$"}}},
  "a broken pattern": {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "(("}}},
  "a huge pattern": {
    "pre_tokenizer": SPLIT | {"pattern": {"Regex": "(a{999}){999}"}}
  },
  "a splitter that drops": {
    "pre_tokenizer": SPLIT | {"pattern": {"String": " "}, "behavior": "Removed"}
  },
  "a text as digits flag": {
    "pre_tokenizer": {"type": "Digits", "individual_digits": "yes"}
  },
  "a splitter without its field": {"pre_tokenizer": {"type": "Digits"}},
  "many splitters": {
    "pre_tokenizer": {
      "type": "Sequence",
      "pretokenizers": [{"type": "ByteLevel"}] * 99,
    }
  },
  "a sequence of nothing": {"pre_tokenizer": {"type": "Sequence"}},
  "nested sequences": {
    "pre_tokenizer": {
      "type": "Sequence",
      "pretokenizers": [{"type": "Sequence", "pretokenizers": []}],
    }
  },
  "a growing normalizer": {"normalizer": REPLACE | {"content": " " * 99}},
  "a normalizer that drops": {"normalizer": REPLACE | {"content": ""}},
  "a normalizer by pattern": {
    "normalizer": REPLACE | {"pattern": {"Regex": "(a+)+$"}, "content": "b"}
  },
  "a table as normalizer": {
    "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
  },
  "a lower-casing normalizer": {"normalizer": {"type": "Lowercase"}},
  "a list as decoder": {"decoder": []},
  "an unknown decoder": {"decoder": {"type": "WordPiece"}},
  "a decoder with another text": {
    "decoder": {"type": "Strip", "content": "a", "start": 1, "stop": 0}
  },
  "a list as post-processor": {"post_processor": [1]},
}

HOSTILE_BYTES = {
  "nothing": b"",
  "a space": b" ",
  "no JSON": b"garbage",
  "no object": b"[1, 2]",
  "a number": b"3",
  "no number": b'{"model": NaN}',
  "beyond numbers": b'{"model": -Infinity}',
  "an endless number": b'{"model": ' + b"9" * 99_999 + b"}",
  "deep lists": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
  "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
  "open lists": b"[" * 700_000,
  "many lists": b'{"a":[' + b",".join([b"[]"] * 900_000) + b"]}",
  "many numbers": b'{"a":[' + b",".join([b"1"] * 3_000_000) + b"]}",
  "no UTF-8": b'{"model": "\xff\xfe"}',
  "another encoding": '{"model": {}}'.encode("utf-16"),
  "zeros": b"\0" * 4096,
  "a key twice": b'{"model": {"vocab": {"a": 1, "a": 2}}}',
  "too large": b" " * (token_files.MAX_BYTES + 1),
  "saved without parts": b'{"kind": "huggingface"}',
  "saved with a list": b'{"kind": "huggingface", "tokenizer": [], "config": 1}',
}


@pytest.mark.parametrize("case", HOSTILE_FIELDS)
def test_a_hostile_part_is_the_typed_error(case, fields):
  hostile = copy.deepcopy(fields)
  for key, value in HOSTILE_FIELDS[case].items():
    if key == "model" and isinstance(value, dict):
      hostile["model"] |= value
    else:
      hostile[key] = value
  with pytest.raises(TokenizerError, match=r"t\.json"):
    read(json.dumps(hostile).encode())


@pytest.mark.parametrize("case", HOSTILE_BYTES)
def test_hostile_bytes_are_the_typed_error(case):
  with pytest.raises(TokenizerError, match=r"t\.json") as error:
    read(HOSTILE_BYTES[case])
  assert len(str(error.value)) < 500


def test_a_file_cut_anywhere_is_the_typed_error(fields):
  content = json.dumps(fields).encode()
  for length in range(0, len(content), 61):
    with pytest.raises(TokenizerError):
      read(content[:length])


def test_mutated_bytes_give_a_tokenizer_or_the_typed_error(fields):
  content = json.dumps(fields, separators=(",", ":")).encode()
  rng = random.Random(0)
  refused = 0
  for _ in range(2500):
    mutated = bytearray(content)
    for _ in range(rng.randint(1, 6)):
      at = rng.randrange(len(mutated))
      mutated[at] = rng.choice((rng.randrange(256), *b'{}[]",:0-9'))
    refused += is_refused_or_works(bytes(mutated))
  assert refused > 1000


def test_mutated_values_give_a_tokenizer_or_the_typed_error(fields):
  content = json.dumps(fields)
  rng = random.Random(1)
  refused = 0
  for _ in range(400):
    mutated = json.loads(content)
    node = mutated
    while True:
      keys = list(node) if isinstance(node, dict) else range(len(node))
      key = rng.choice(keys)
      if not isinstance(node[key], dict | list) or not node[key]:
        break
      if rng.random() < 0.2:
        break
      node = node[key]
    if rng.random() < 0.3:
      del node[key]
    else:
      node[key] = rng.choice(WEIRD)
    refused += is_refused_or_works(json.dumps(mutated).encode())
  assert refused > 100


def is_refused_or_works(content: bytes) -> bool:
  try:
    tokenizer = read(content)
  except TokenizerError:
    return True
  start = time.process_time()
  for text in ("a<|im_end|> 12\n", "é" * 50 + "a" * 500):
    try:
      ids = tokenizer.encode(text)
    except ValueError:
      continue
    assert all(0 <= index < tokenizer.vocab_size for index in ids)
    assert isinstance(tokenizer.decode(ids), str)
  assert time.process_time() - start < 2
  return False


@pytest.mark.parametrize(
  "config",
  [
    {"eos_token": "<none>"},
    {"eos_token": 3},
    {"eos_token": {"content": []}},
    {"eos_token": "<|im_end|>", "pad_token": "\ud800"},
    {"eos_token": "<|im_end|>", "bos_token": ["a"]},
  ],
)
def test_a_hostile_config_is_the_typed_error(config, fields, tmp_path):
  (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  with pytest.raises(TokenizerError, match="_token that has no id"):
    hf_tokenizer.HuggingFaceTokenizer.from_file(tmp_path)


@pytest.mark.parametrize("ends", [[-1], [2**40], ["a"], [True], {}, [9999], ""])
def test_hostile_end_tokens_are_refused(ends, fields, tmp_path):
  (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
  content = json.dumps({"eos_token_id": ends})
  (tmp_path / "generation_config.json").write_text(content)
  with pytest.raises(ValueError, match="end tokens|Token id 9999"):
    hf_tokenizer.HuggingFaceTokenizer.from_file(tmp_path)


def test_code_named_by_a_file_is_not_kept(fields, tmp_path):
  (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
  config = {"auto_map": {"AutoTokenizer": "evil.py"}, "eos_token": "<|im_end|>"}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  tokenizer = hf_tokenizer.HuggingFaceTokenizer.from_file(tmp_path)
  tokenizer.save_directory(tmp_path / "out")
  assert "evil" not in (tmp_path / "out/tokenizer_config.json").read_text()


def test_a_missing_file_is_named(tmp_path):
  for path in (tmp_path / "none.json", tmp_path):
    with pytest.raises(TokenizerError, match=r"\.json cannot be read"):
      hf_tokenizer.HuggingFaceTokenizer.from_file(path)
