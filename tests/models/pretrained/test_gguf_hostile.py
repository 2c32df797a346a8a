"""Damaged and hostile GGUF files: refused by a sentence, or read."""

from __future__ import annotations

import os
import struct

import ml_dtypes
import numpy as np
import pytest

from reasoning_rl.models.pretrained import gguf_file
from reasoning_rl.models.pretrained.source import PretrainedError
from tests.models.pretrained import gguf_reference as reference
from tests.models.pretrained import hostile

# The reader imports it when it meets blocks, which is no memory of a file.
pytest.importorskip("gguf.quants")
MUTATED = 5_000
build, text, tensor = reference.build, reference.text, reference.tensor
with_key, with_table = reference.with_key, reference.with_table
array, u32, string = reference.array, reference.u32, reference.string
GOOD = build()
HUGE = (1 << 16, 1 << 31, (1 << 32) - 1, 1 << 60, (1 << 63) - 1, (1 << 64) - 1)


def read_all(path):
  source = gguf_file.GGUFSource(path)
  for name, info in source.tensors().items():
    read = source.read(name)
    assert read.shape == info.shape
    assert read.dtype in (np.float32, ml_dtypes.bfloat16)
  source.config()


def refusal(path):
  return hostile.refused(lambda: read_all(path), os.path.getsize(path))


def nested(depth, kind=4, count=1):
  """Returns arrays in arrays; the innermost holds `count` values."""
  outer = struct.pack("<IQ", 9, 1) * (depth - 1)
  return (
    struct.pack("<I", 9) + outer + struct.pack("<IQ", kind, count) + bytes(4)
  )


def raw_key(raw):
  return build([*keys(), raw + u32(1)])


def keys(leave_out=""):
  return [
    text(key) + value
    for key, value in reference.METADATA.items()
    if key != leave_out
  ]


CRAFTED = {
  "empty": b"",
  "magic alone": b"GGUF",
  "magic of another": build(magic=b"GGML"),
  "magic reversed": build(magic=b"FUGG"),
  "magic in small": build(magic=b"gguf"),
  "zip": b"PK\x03\x04" + bytes(100),
  "html": b"<!DOCTYPE html><html><body>404</body></html>",
  "safetensors": struct.pack("<Q", 2) + b"{}",
  "pickle": b"\x80\x02}q\x00." + bytes(60),
  "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(60),
  "zeros": bytes(4096),
  "ones": b"\xff" * 4096,
  "magic and ones": b"GGUF" + b"\xff" * 4096,
  "rest behind": GOOD + bytes(40),
  "data missing": build(data=b""),
  "data short": build(data=reference.DATA[:-1]),
  "no tensors": build(table=[], data=b""),
  "key twice": build([*keys(), keys()[1]]),
  "tensor twice": with_table(reference.TABLE[0], reference.TABLE[0]),
  "no metadata": build({}),
  "key of no utf-8": raw_key(text(b"\xff\xfe")),
  "key with nul": raw_key(text(b"a\0b")),
  "key with newline": raw_key(text("a\nb")),
  "key without name": raw_key(text("")),
  "key too long": raw_key(text("a" * 257)),
  "key of surrogates": raw_key(text(b"\xed\xa0\x80")),
  "text of no utf-8": with_key("x", string(b"\xff")),
  "texts of no utf-8": with_key("x", array(8, 2, text("a") + text(b"\xc3"))),
  "text cut in a character": with_key("general.name", string(b"\xf0\x9f")),
  "bool of two": with_key("x", struct.pack("<IB", 7, 2)),
  "bools of two": with_key("x", array(7, 3, b"\0\1\2")),
  "name of no utf-8": with_table(tensor(b"\xff", [4, 2])),
  "name empty": with_table(tensor("", [4, 2])),
  "name too long": with_table(tensor("a" * 257, [4, 2])),
  "name with nul": with_table(tensor("output.weight\0", [4, 2])),
  "path as a name": with_table(tensor("../../etc/passwd", [4, 2])),
  "no embedding": with_table(reference.TABLE[1], data=bytes(96)),
  "overlap": with_table(
    reference.TABLE[0], tensor("blk.0.attn_q.weight", [4, 4])
  ),
  "half overlap": with_table(
    tensor("token_embd.weight", [4, 4]),
    tensor("blk.0.attn_q.weight", [4, 4], offset=32),
  ),
  "gap": with_table(
    reference.TABLE[0],
    tensor("blk.0.attn_q.weight", [4, 4], offset=64),
    data=bytes(128),
  ),
  "gap first": with_table(
    tensor("token_embd.weight", [4, 2], offset=32), data=bytes(64)
  ),
  "not aligned": with_table(
    reference.TABLE[0], tensor("blk.0.attn_q.weight", [4, 4], offset=36)
  ),
  "rows of half a head": with_table(
    reference.TABLE[0], tensor("blk.0.attn_q.weight", [4, 2], offset=32)
  ),
  "embedding of one dimension": with_table(tensor("token_embd.weight", [24])),
  "NaN": build(data=struct.pack("<f", float("nan")) + reference.DATA[4:]),
  "infinity": build(data=struct.pack("<f", float("inf")) + reference.DATA[4:]),
  "NaN in a scale": with_table(
    tensor("token_embd.weight", [32, 1], kind=8), data=b"\xff\x7f" + bytes(30)
  ),
  "infinite scale of zeros": with_table(
    tensor("token_embd.weight", [32, 1], kind=8),
    data=b"\x00\x7c" + bytes(32),
  ),
  "layers of another": build(
    reference.METADATA | {"llama.block_count": u32(0)}
  ),
  "split": with_key("split.count", struct.pack("<IH", 2, 4)),
  "split of text": with_key("split.count", string("1")),
}
CRAFTED |= {f"cut at {at}": GOOD[:at] for at in range(1, len(GOOD), 9)}
CRAFTED |= {
  f"version {version}": build(version=version)
  for version in (0, 1, 4, 255, 1 << 24, 3 << 24, (1 << 32) - 1)
}
CRAFTED |= {
  f"tensors {count}": build(tensors=count) for count in (0, 1, 3, *HUGE)
}
CRAFTED |= {
  f"pairs {count}": build(pairs=count) for count in (0, 1, 7, 9, *HUGE)
}
CRAFTED |= {
  f"key of {length} bytes": raw_key(struct.pack("<Q", length) + b"abc")
  for length in HUGE
}
CRAFTED |= {
  f"text of {length} bytes": with_key("x", struct.pack("<IQ", 8, length) + b"a")
  for length in (2_000, *HUGE)
}
CRAFTED |= {
  f"{count} of type {kind}": with_key("x", array(kind, count, bytes(20)))
  for count in (2_000, *HUGE)
  for kind in (0, 4, 7, 8, 9, 12)
}
CRAFTED |= {
  f"last of {count} texts of {length}": with_key(
    "x", array(8, count, text("ab") + struct.pack("<Q", length) + b"cd")
  )
  for count in (2, 3)
  for length in HUGE
}
CRAFTED |= {
  f"type {kind}": with_key("x", struct.pack("<I", kind) + bytes(8))
  for kind in (13, 255, 1 << 31, (1 << 32) - 1)
}
CRAFTED |= {
  f"array of type {kind}": with_key("x", array(kind, 1, bytes(8)))
  for kind in (13, 255, (1 << 32) - 1)
}
CRAFTED |= {f"nested {d}": with_key("x", nested(d)) for d in (4, 5, 99, 50_000)}
CRAFTED |= {
  "many empty arrays": lambda: with_key(
    "x", array(9, 5 << 20, bytes(60_000_000))
  ),
  "many empty texts": lambda: with_key("x", array(8, 5 << 20, bytes(40 << 20))),
  "many bytes": lambda: with_key("x", array(0, 60_000_000, bytes(60_000_000))),
  "a header too long": lambda: with_key("x", string(b"a" * (65 << 20))),
  "cut in many texts": lambda: with_key(
    "x", array(8, 3 << 20, bytes(24 << 20))
  )[: 20 << 20],
}
CRAFTED |= {
  f"alignment {value}": with_key("general.alignment", u32(value))
  for value in (0, 1, 2, 4, 12, 31, 33, 512, 1 << 31, (1 << 32) - 1)
}
CRAFTED["alignment of text"] = with_key("general.alignment", string("32"))
CRAFTED["alignment of floats"] = with_key(
  "general.alignment", reference.f32(32.0)
)
CRAFTED |= {
  f"shape {shape}": with_table(tensor("token_embd.weight", shape))
  for shape in (
    *([], [0], [4, 0], [0, 0], [4, 3], [3, 2], [1] * 5, [1] * 1_000, [24, 2]),
    *([1 << 32, 1 << 32], [1 << 63, 2], [1 << 62, 4], [(1 << 64) - 1] * 4),
    *([(1 << 64) - 1, 1], [1 << 40], [4, 1 << 62], [1 << 16] * 4),
  )
}
CRAFTED |= {
  f"{dims} dimensions": with_table(
    text("token_embd.weight") + struct.pack("<IQQIQ", dims, 4, 2, 0, 0)
  )
  for dims in (0, 3, 5, 1 << 16, (1 << 32) - 1)
}
CRAFTED |= {
  f"offset {offset}": with_table(
    tensor("token_embd.weight", [4, 6], offset=offset)
  )
  for offset in (
    1,
    31,
    32,
    96,
    1 << 31,
    (1 << 63),
    (1 << 64) - 32,
    (1 << 64) - 1,
  )
}
CRAFTED |= {
  f"tensor of type {kind}": with_table(
    tensor("token_embd.weight", [4, 6], kind)
  )
  for kind in (1, 2, 3, 4, 5, 8, 9, 12, 14, 15, 24, 26, 30, 31, 39, 1 << 31)
}
CRAFTED |= {
  f"{key} {name}": build(reference.METADATA | {key: value})
  for key in reference.METADATA
  if not key.startswith("tokenizer")
  for name, value in {
    "empty": string(""),
    "a list": array(4, 2, bytes(8)),
    "negative": struct.pack("<Ii", 5, -1),
    "zero": u32(0),
    "most": u32((1 << 32) - 1),
    "true": struct.pack("<IB", 7, 1),
    "NaN": reference.f32(float("nan")),
    "long": struct.pack("<IQ", 10, (1 << 64) - 1),
  }.items()
}
CRAFTED |= {
  f"without {key}": build(keys(leave_out=key))
  for key in reference.METADATA
  if not key.startswith("tokenizer")
}


@pytest.mark.parametrize("name", sorted(CRAFTED))
def test_a_crafted_file_is_refused_by_one_sentence(tmp_path, name):
  path = tmp_path / "x.gguf"
  crafted = CRAFTED[name]
  path.write_bytes(crafted() if callable(crafted) else crafted)
  message = refusal(path)
  assert message is not None
  assert len(message) < 600 + len(str(path))


@pytest.mark.parametrize(
  "good",
  [
    GOOD,
    # Up to the alignment.
    with_table(tensor("token_embd.weight", [4, 1]), data=bytes(32)),
    with_table(tensor("token_embd.weight", [4, 1]), data=bytes(16)),
    with_key("x", nested(3)),
    with_key("x", array(0, 0, b"")),
    with_key("general.alignment", u32(32)),
    build(version=2),
  ],
)
def test_the_files_that_the_crafted_ones_are_made_of_are_read(tmp_path, good):
  path = tmp_path / "x.gguf"
  path.write_bytes(good)
  assert refusal(path) is None


def test_another_alignment_is_followed(tmp_path):
  path = tmp_path / "x.gguf"
  metadata = reference.METADATA | {"general.alignment": u32(256)}
  table = [tensor("token_embd.weight", [4, 6])]
  path.write_bytes(build(metadata, table, alignment=256))
  read = gguf_file.GGUFSource(path).read("model.embed_tokens.weight")
  np.testing.assert_array_equal(read, np.arange(24).reshape(6, 4))


@pytest.mark.parametrize(
  "path", ["nowhere", "", ".", "a\0b", "x" * 5_000, "/dev/null"]
)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, path):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(PretrainedError):
    gguf_file.GGUFSource(path)


def test_a_pipe_is_refused_at_once(tmp_path):
  os.mkfifo(tmp_path / "x.gguf")
  with pytest.raises(PretrainedError, match="not a file"):
    gguf_file.GGUFSource(tmp_path / "x.gguf")


def test_what_a_terminal_would_obey_is_not_printed(tmp_path):
  path = tmp_path / "x.gguf"
  escape = "\x1b]0;title\x07"
  for data in (
    with_table(tensor(escape, [4, 6])),
    build(reference.METADATA | {"general.architecture": string(escape)}),
    raw_key(text(escape)),
  ):
    path.write_bytes(data)
    message = refusal(path)
    assert message is not None and "\x1b" not in message


def quantised(kind):
  number, block, _ = reference.KINDS[kind]
  raw = reference.random_blocks(kind, rows=2, blocks=1)
  table = [tensor("token_embd.weight", [block, 2], kind=number)]
  return build(table=table, data=raw.tobytes())


def test_mutated_files_are_refused_or_read(tmp_path):
  path = tmp_path / "x.gguf"
  originals = [GOOD, *map(quantised, reference.KINDS)]
  originals.append(with_key("x", array(9, 1, array(5, 2, bytes(8))[4:])))
  outcomes = set()
  for data in hostile.mutations(originals, MUTATED, seed=6):
    path.write_bytes(data)
    outcomes.add(refusal(path) is None)
  assert outcomes == {True, False}
