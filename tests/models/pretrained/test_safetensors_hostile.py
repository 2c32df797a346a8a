"""Damaged and hostile safetensors files: refused by a sentence, or read."""

from __future__ import annotations

import functools
import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest

from reasoning_rl.models.pretrained import safetensors_file
from reasoning_rl.models.pretrained.source import PretrainedError
from tests.models.pretrained import hostile

FULL = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MUTATED = 5_000


def read_all(path):
  source = safetensors_file.SafetensorsSource(path)
  for name, info in source.tensors().items():
    if info.dtype in ("F32", "F16", "BF16"):
      array = source.read(name)
      assert array.shape == info.shape
      assert array.dtype in (np.float32, ml_dtypes.bfloat16)


def refusal(path):
  return hostile.refused(lambda: read_all(path), os.path.getsize(path))


def packed(header, data=bytes(8), length=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return (
    struct.pack("<Q", len(text) if length is None else length) + text + data
  )


def entry(**changes):
  return packed({"a": FULL | changes})


def text_entry(**changes):
  """Like `entry`, with values that stand in the JSON as they are given."""
  parts = {"dtype": '"F32"', "shape": "[2]", "data_offsets": "[0,8]"} | changes
  inner = ",".join(f'"{key}":{value}' for key, value in parts.items())
  return packed(('{"a":{' + inner + "}}").encode())


def deep(marks):
  return packed(b'{"a":' + marks)


GOOD = packed({"a": FULL})
CRAFTED = {
  "empty": b"",
  "length alone": struct.pack("<Q", 0),
  "length of no header": struct.pack("<Q", 0) + bytes(8),
  "length cut": GOOD[:7],
  "zip": b"PK\x03\x04" + bytes(60),
  "gguf": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(60),
  "pickle": b"\x80\x02}q\x00." + bytes(60),
  "html": b"<!DOCTYPE html><html><body>404</body></html>",
  "blank before": packed(b" " + json.dumps({"a": FULL}).encode()),
  "list": packed([FULL]),
  "text": packed("a"),
  "number": packed(b"1"),
  "no json": packed(b"{a}"),
  "two objects": packed(b"{}{}", b""),
  "rest after": GOOD + b"\0",
  "rest before": packed({"a": FULL}, bytes(9)),
  "data missing": packed({"a": FULL}, b""),
  "nothing announced": packed({}, bytes(8)),
  "metadata of numbers": packed({"a": FULL, "__metadata__": {"x": 1}}),
  "metadata list": packed({"a": FULL, "__metadata__": []}),
  "metadata null": packed({"a": FULL, "__metadata__": None}),
  "metadata nested": packed({"a": FULL, "__metadata__": {"x": {"y": "z"}}}),
  "no utf-8": packed(b'{"\xff\xfe": 1}'),
  "utf-16": packed(json.dumps({"a": FULL}).encode("utf-16-le")),
  "bom": packed(b"\xef\xbb\xbf" + json.dumps({"a": FULL}).encode()),
  "nul in name": packed({"a\0b": FULL}),
  "surrogate in name": packed(b'{"\\ud800": {}}'),
  "newline in name": packed({"a\nb": FULL}),
  "no name": packed({"": FULL}),
  "long name": packed({"a" * 257: FULL}),
  "huge name": lambda: packed({"a" * 2_000_000: FULL}),
  "name twice": packed(
    b'{"a":%b,"a":%b}' % (json.dumps(FULL).encode(), json.dumps(FULL).encode())
  ),
  "shape twice": text_entry(shape='[2],"shape":[2]'),
  "entry null": packed({"a": None}),
  "entry list": packed({"a": [1, 2]}),
  "key missing": packed({"a": {"dtype": "F32", "shape": [2]}}),
  "key more": entry(extra=1),
  "overlap": packed({"a": FULL, "b": FULL}),
  "half overlap": packed({"a": FULL, "b": FULL | {"data_offsets": [4, 12]}}),
  "gap": packed({"a": FULL, "b": FULL | {"data_offsets": [12, 20]}}, bytes(20)),
  "gap first": packed({"a": FULL | {"data_offsets": [8, 16]}}, bytes(16)),
  "inside": packed(
    {"a": FULL, "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
  ),
  "empty one inside": packed(
    {"a": FULL, "b": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]}}
  ),
  "many": lambda: packed({f"{i}": FULL for i in range(31_000)}),
  "unclosed string of escapes": lambda: packed(b'{"' + b'\\"' * 3_000_000),
  "backslashes": lambda: packed(b'{"' + b"\\" * 2_000_001),
  "many empty lists": lambda: packed(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"),
  "many objects": lambda: packed(b'{"a":[' + b"{}," * 3_000_000 + b"{}]}"),
  "many zeros": lambda: packed(b'{"a":[' + b"0," * 3_000_000 + b"0]}"),
  "many texts": lambda: packed(b'{"a":[' + b'"ab",' * 1_000_000 + b'""]}'),
  "long number": lambda: packed(b'{"a":' + b"9" * 1_000_000 + b"}"),
  "long exponent": lambda: packed(b'{"a":1e' + b"9" * 1_000_000 + b"}"),
}
CRAFTED |= {
  f"depth {depth} of {mark[:1]!r}": functools.partial(deep, mark * depth)
  for depth in (4, 5, 100, 1_000, 100_000, 4_000_000)
  for mark in (b"[", b'{"a":')
  if depth * len(mark) < 12_000_000
}
CRAFTED |= {
  f"closed depth {depth}": packed(b'{"a":' + b"[" * depth + b"]" * depth + b"}")
  for depth in (5, 990, 5_000)
}
CRAFTED |= {
  f"length {length}": packed({"a": FULL}, length=length)
  for length in (1, 2, 40, 100, 1 << 20, 1 << 31, 1 << 32, (1 << 63) - 1)
  + (1 << 63, (1 << 64) - 1, (1 << 64) - 8, 100_000_001)
}
CRAFTED |= {f"cut at {at}": GOOD[:at] for at in range(1, len(GOOD), 3)}
CRAFTED |= {
  f"shape {value}": text_entry(shape=value)
  for value in (
    *("null", "{}", '"2"', "2", "true", "[true,2]", "[2.0]", "[-2]", "[-1,-2]"),
    *("[1e1]", "[[2]]", "[NaN]", "[Infinity]", "[-0.0]", '["2"]', "[null]"),
    *("[3]", "[1]", "[]", "[0]", "[2,0]", "[4294967296,4294967296]"),
    *(
      "[9223372036854775807,2]",
      "[9223372036854775808]",
      "[4611686018427387905]",
    ),
    *(
      "[18446744073709551618]",
      "[2305843009213693952,8]",
      "[2" + ",2" * 64 + "]",
    ),
    *(
      "[1,1,1,1,1,1,1,1,2]",
      "[" + "9" * 5_000 + "]",
      "[2" + ",1" * 99_999 + "]",
    ),
  )
}
CRAFTED |= {
  f"offsets {value}": text_entry(data_offsets=value)
  for value in (
    *("null", "{}", "[]", "[0]", "[0,8,8]", "[8,0]", "[-8,0]", "[0,-8]"),
    *(
      "[0,9]",
      "[0,7]",
      "[1,9]",
      "[8,16]",
      "[0.0,8.0]",
      "[false,8]",
      '["0","8"]',
    ),
    *("[0,1e999]", "[0,NaN]", "[0,18446744073709551616]", "[[0],[8]]"),
    *("[18446744073709551608,18446744073709551616]", "[9223372036854775800,8]"),
    "[-9223372036854775808,-9223372036854775800]",
  )
}
CRAFTED |= {
  f"dtype {value}": text_entry(dtype=value)
  for value in (
    *("null", "1", "[]", "{}", '""', '"f32"', '"F32 "', '"F16"', '"F64"'),
    *('"COMPLEX64"', '"\\ud800"', '"' + "F" * 100_000 + '"', '"Q4_1"'),
  )
}


@pytest.mark.parametrize("name", sorted(CRAFTED))
def test_a_crafted_file_is_refused_by_one_sentence(tmp_path, name):
  path = tmp_path / "model.safetensors"
  crafted = CRAFTED[name]
  path.write_bytes(crafted() if callable(crafted) else crafted)
  message = refusal(path)
  assert message is not None
  assert len(message) < 600 + len(str(path))


def test_the_file_that_the_crafted_ones_are_made_of_is_read(tmp_path):
  path = tmp_path / "model.safetensors"
  for good in (GOOD, text_entry(), packed(json.dumps({"a": FULL}).encode())):
    path.write_bytes(good)
    assert refusal(path) is None


def index_of(shard, text=None):
  return text or json.dumps({"weight_map": {"a": shard}})


INDICES = {
  f"shard {shard!r}": index_of(shard)
  for shard in (
    *("../x.safetensors", "/etc/passwd", "/x.safetensors", "..", ".", ""),
    *("a/../x.safetensors", "./x.safetensors", "a/x.safetensors", "x.bin"),
    *(
      "..\\x.safetensors",
      "C:x.safetensors",
      "x.safetensors\0",
      "~.safetensors",
    ),
    *("x.safetensors\n", "-x.safetensors", ".safetensors", "x" * 300, None, 1),
    *(
      ["x.safetensors"],
      {"x": 1},
      "file:///x.safetensors",
      "missing.safetensors",
    ),
    *("\ud800.safetensors", "x.safetensors/", "$HOME.safetensors"),
    *("folder.safetensors", "outside.safetensors", "circle.safetensors"),
    *("pipe.safetensors", "empty.safetensors", "dangling.safetensors"),
  )
} | {
  "empty": "",
  "no object": "[]",
  "no map": "{}",
  "empty map": '{"weight_map": {}}',
  "map list": '{"weight_map": ["x.safetensors"]}',
  "map null": '{"weight_map": null}',
  "NaN": '{"metadata": NaN, "weight_map": {"a": "x.safetensors"}}',
  "tensor twice": index_of("x.safetensors").replace("}", ', "a": "b"}', 1),
  "tensor missing": index_of("x.safetensors").replace("a", "c"),
  "one more": index_of("x.safetensors").replace(
    "}", ', "b": "x.safetensors"}', 1
  ),
  "tensor left out": '{"weight_map": {"b": "y.safetensors"}}',
  "tensor of another": '{"weight_map": {"a": "y.safetensors"}}',
  "deep": '{"weight_map": ' + "[" * 100_000,
  "truncated": '{"weight_map": {"a": "x.safe',
  "many": json.dumps(
    {"weight_map": {f"{i}": "x.safetensors" for i in range(31_000)}}
  ),
  "many shards": json.dumps(
    {"weight_map": {f"{i}": f"{i}.safetensors" for i in range(1_001)}}
  ),
  "too large": " " * (17 << 20) + "{}",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
  """Returns a folder of shards, and of what must not be taken for one."""
  folder = tmp_path_factory.mktemp("shards")
  inner = folder / "model"
  inner.mkdir()
  write = safetensors_file.write_safetensors
  write(folder / "x.safetensors", {"a": np.ones(2, np.float32)})
  write(inner / "x.safetensors", {"a": np.ones(2, np.float32)})
  two = {"b": np.ones(2, np.float32), "c": np.ones(1, np.float32)}
  write(inner / "y.safetensors", two)
  (inner / "folder.safetensors").mkdir()
  (inner / "empty.safetensors").touch()
  (inner / "outside.safetensors").symlink_to("../x.safetensors")
  (inner / "circle.safetensors").symlink_to("circle.safetensors")
  (inner / "dangling.safetensors").symlink_to("nowhere")
  os.mkfifo(inner / "pipe.safetensors")
  return inner


@pytest.mark.parametrize("name", sorted(INDICES))
def test_an_index_that_misleads_is_refused(shards, name):
  path = shards / safetensors_file.INDEX
  path.write_text(INDICES[name], errors="surrogatepass")
  size = path.stat().st_size
  message = hostile.refused(lambda: read_all(shards), size)
  assert message is not None and "nowhere" not in message


def test_the_index_that_the_misleading_ones_are_made_of_is_read(shards):
  path = shards / safetensors_file.INDEX
  path.write_text(index_of("x.safetensors"))
  assert hostile.refused(lambda: read_all(shards), 100) is None


@pytest.mark.parametrize(
  "name", [safetensors_file.WEIGHTS, "model.safetensors.index.json"]
)
def test_a_link_out_of_the_folder_is_refused(tmp_path, name):
  folder = tmp_path / "model"
  folder.mkdir()
  (tmp_path / "x").write_bytes(GOOD)
  (folder / name).symlink_to("../x")
  with pytest.raises(PretrainedError, match="outside of the model's folder"):
    safetensors_file.SafetensorsSource(folder)


@pytest.mark.parametrize(
  "path", ["nowhere", "", "a\0b", "x" * 5_000, "/dev/null"]
)
def test_what_is_no_model_is_refused(tmp_path, monkeypatch, path):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(PretrainedError):
    safetensors_file.SafetensorsSource(path)


def test_mutated_files_are_refused_or_read(tmp_path):
  # Few distinct bytes, so that splices of one part of a header fit another.
  arrays = {
    f"layers.{i}.weight": np.full((2, i + 1), i, dtype)
    for i, dtype in enumerate(
      [np.float32, np.float16, ml_dtypes.bfloat16, np.float32]
    )
  }
  path = tmp_path / "model.safetensors"
  originals = [GOOD, packed({"a": FULL, "__metadata__": {"format": "pt"}})]
  for some in (arrays, {"a": arrays["layers.0.weight"]}):
    safetensors_file.write_safetensors(path, some)
    originals.append(path.read_bytes())
  outcomes = set()
  for data in hostile.mutations(originals, MUTATED, seed=4):
    path.write_bytes(data)
    outcomes.add(refusal(path) is None)
  assert outcomes == {True, False}


def test_mutated_indices_are_refused_or_read(shards):
  path = shards / safetensors_file.INDEX
  original = index_of("x.safetensors").encode()
  outcomes = set()
  for data in hostile.mutations([original], MUTATED // 10, seed=5):
    path.write_bytes(data)
    size = len(data)
    outcomes.add(hostile.refused(lambda: read_all(shards), size) is None)
  assert outcomes == {True, False}
