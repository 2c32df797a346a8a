"""GGUF's blocks, one number at a time, and files built byte by byte."""

from __future__ import annotations

import struct

import numpy as np

# Of each type of blocks: its number, the numbers in a block, and their bytes.
KINDS = {
  "Q4_1": (3, 32, 20),
  "Q5_0": (6, 32, 22),
  "Q8_0": (8, 32, 34),
  "Q4_K": (12, 256, 144),
  "Q6_K": (14, 256, 210),
}


def half(raw):
  return float(np.frombuffer(bytes(raw[:2]), "<f2")[0])


def q4_1(raw):
  scale, least, codes = half(raw), half(raw[2:]), raw[4:]
  return [(c & 15) * scale + least for c in codes] + [
    (c >> 4) * scale + least for c in codes
  ]


def q5_0(raw):
  scale, codes = half(raw), raw[6:]
  high = int.from_bytes(bytes(raw[2:6]), "little")
  low = [c & 15 for c in codes] + [c >> 4 for c in codes]
  return [((c | (high >> i & 1) << 4) - 16) * scale for i, c in enumerate(low)]


def q8_0(raw):
  return [(c - 256 if c > 127 else c) * half(raw) for c in raw[2:]]


def q4_k(raw):
  scale, least, packed, codes = half(raw), half(raw[2:]), raw[4:16], raw[16:]
  numbers = []
  for part in range(8):
    if part < 4:
      a, b = packed[part] & 63, packed[part + 4] & 63
    else:
      a = packed[part + 4] & 15 | packed[part - 4] >> 6 << 4
      b = packed[part + 4] >> 4 | packed[part] >> 6 << 4
    for code in codes[part // 2 * 32 :][:32]:
      code = code >> 4 if part % 2 else code & 15
      numbers.append(scale * a * code - least * b)
  return numbers


def q6_k(raw):
  low, high, scales, scale = raw[:128], raw[128:192], raw[192:208], raw[208:]
  numbers = []
  for i in range(256):
    part, place = i // 128, i % 128
    code = low[64 * part + place % 64]
    code = code >> 4 if place >= 64 else code & 15
    code |= (high[32 * part + place % 32] >> 2 * (place // 32) & 3) << 4
    factor = scales[i // 16]
    factor = factor - 256 if factor > 127 else factor
    numbers.append(half(scale) * factor * (code - 32))
  return numbers


DENSE = {"Q4_1": q4_1, "Q5_0": q5_0, "Q8_0": q8_0, "Q4_K": q4_k, "Q6_K": q6_k}
HALVES = {"Q4_1": (0, 2), "Q5_0": (0,), "Q8_0": (0,), "Q4_K": (0, 2)}
HALVES |= {"Q6_K": (208,)}


def random_blocks(kind, rows, blocks, seed=0):
  """Returns bytes [rows, ...] whose scales are of a sensible size."""
  rng = np.random.default_rng(seed)
  width = KINDS[kind][2]
  raw = rng.integers(0, 256, (rows, blocks, width), dtype=np.uint8)
  for at in HALVES[kind]:
    scale = rng.uniform(-1, 1, (rows, blocks, 1)).astype("<f2")
    raw[:, :, at : at + 2] = scale.view(np.uint8)
  return raw.reshape(rows, -1)


def dense(kind, raw):
  """Returns what the blocks of each row say."""
  width = KINDS[kind][2]
  rows = [
    [
      x
      for at in range(0, len(row), width)
      for x in DENSE[kind](row[at:][:width])
    ]
    for row in raw.tolist()
  ]
  return np.array(rows)


# Values as they stand in a file: a type and the bytes.


def text(value):
  raw = value if isinstance(value, bytes) else value.encode()
  return struct.pack("<Q", len(raw)) + raw


def u32(value):
  return struct.pack("<II", 4, value)


def f32(value):
  return struct.pack("<If", 6, value)


def string(value):
  return struct.pack("<I", 8) + text(value)


def array(kind, count, raw):
  return struct.pack("<IIQ", 9, kind, count) + raw


def tensor(name, shape, kind=0, offset=0):
  """Returns a row of the table; `shape` with the fastest size first."""
  sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
  return text(name) + sizes + struct.pack("<IQ", kind, offset)


METADATA = {
  "general.architecture": string("llama"),
  "llama.block_count": u32(1),
  "llama.context_length": u32(16),
  "llama.embedding_length": u32(4),
  "llama.feed_forward_length": u32(4),
  "llama.attention.head_count": u32(2),
  "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
  "tokenizer.ggml.tokens": array(8, 2, text("a") + text("b")),
}
TABLE = [
  tensor("token_embd.weight", [4, 2]),
  tensor("blk.0.attn_q.weight", [4, 4], offset=32),
]
DATA = np.arange(24, dtype=np.float32).tobytes()


def build(
  metadata=METADATA,
  table=TABLE,
  data=DATA,
  *,
  magic=b"GGUF",
  version=3,
  tensors=None,
  pairs=None,
  alignment=32,
):
  """Returns a file; counts are what is there, or as they are given."""
  if isinstance(metadata, dict):
    metadata = [text(key) + value for key, value in metadata.items()]
  tensors = len(table) if tensors is None else tensors
  pairs = len(metadata) if pairs is None else pairs
  header = magic + struct.pack("<IQQ", version, tensors, pairs)
  header += b"".join(metadata) + b"".join(table)
  return header + bytes(-len(header) % alignment) + data


def with_key(key, value):
  """Returns a file with one more key, or another value of one."""
  return build(METADATA | {key: value})


def with_table(*rows, data=DATA):
  return build(table=list(rows), data=data)
