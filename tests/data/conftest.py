"""Trajectories that the tests of this folder share."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest

from reasoning_rl import types
from reasoning_rl.data import records as records_lib


def make_trajectory(rows: int, seed: int = 0) -> types.Trajectory:
  """Returns random trajectories padded with zeros: Lp 5, L 8, T 3."""
  rng = np.random.default_rng(seed)
  prompt_length = rng.integers(0, 6, rows, dtype=np.int32)
  completion_length = rng.integers(3, 9, rows, dtype=np.int32)
  thought_count = rng.integers(0, 4, rows, dtype=np.int32)
  thought_end = np.zeros((rows, 3), np.int32)
  for row in range(rows):
    count = thought_count[row]
    ends = rng.choice(completion_length[row], count, replace=False)
    thought_end[row, :count] = np.sort(ends)

  def ints(length, size):
    mask = np.arange(size) < length[:, None]
    return np.where(mask, rng.integers(1, 60, mask.shape), 0).astype(np.int32)

  def floats(length, size):
    mask = np.arange(size) < length[:, None]
    return np.where(mask, rng.random(mask.shape), 0).astype(np.float32)

  real = np.arange(3) < thought_count[:, None]
  return types.Trajectory(
    problem_id=rng.integers(0, 9, rows, dtype=np.int32),
    prompt=ints(prompt_length, 5),
    prompt_length=prompt_length,
    completion=ints(completion_length, 8),
    completion_length=completion_length,
    thought_end=thought_end,
    thought_count=thought_count,
    behavior_logprobs=-floats(completion_length, 8),
    policy_logprobs=-floats(completion_length, 8),
    forced_mask=floats(completion_length, 8) > 0.6,
    outcome_reward=rng.integers(0, 2, rows).astype(np.float32),
    labels=floats(thought_count, 3),
    label_mask=real & (rng.random((rows, 3)) < 0.7),
    thought_rewards=floats(thought_count, 3),
    thought_visits=ints(thought_count, 3),
    thought_values=floats(thought_count, 3),
  )


@pytest.fixture
def trajectory() -> types.Trajectory:
  """Returns seven random trajectories."""
  return make_trajectory(7)


@pytest.fixture
def lineage() -> records_lib.Lineage:
  """Returns a lineage with a different text in every field."""
  return records_lib.Lineage(
    problem="arithmetic/train",
    sampler="temperature 1.0",
    weights_version="iteration 2",
    rng_path="0/3",
    verifier_version="arithmetic 1",
  )


TRAINING_TEXTS = [
  "the number is 12345 and 67 of 100, x = 3 + 15 = 18.\n\n",
  "def f(x):\n    return x ** 2  # it's we'll THE'RE they've\n",
  "naïve café 中文 今天天气 ١٢٣ é 🤖👍 <b>bold</b> $\\frac{1}{2}$\r\n",
] * 8
_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s|"
  r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_USER_DEFINED = ["\n", "\n\n", "\u2581\u2581", "\t", "<b>"]
_ADDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")


def _corpus() -> list[str]:
  fixed = [
    *("", " ", "hello world", "12345 67 3.14 1,000,000 0x1F", "\r\n\r\nx\r"),
    "def f(x):\n\treturn x**2  # ok\n\n\n  y = 3\n",
    "naïve café Ünïcödé ß e\u0301 ﬁ \u00a0\u2003z \u200b\ufeff|\u202e",
    "👩\u200d👩\u200d👧\u200d👦 🤖🇩🇪 x👍🏽",
    *("今天天气很好。計算 12 + 7", "안녕하세요 세계", "مرحبا ١٢٣ १२३ ๑๒"),
    *("a  b   c    d\t\te\n\n\n\nf ", " leading", "trailing \n"),
    *("'s 't I'll WE'RE they've", "x²+y³=½ Ⅷ ①", "   \n  \n x"),
    *("<|im_end|> <think>a</think> <0x0A> <b>x</b>", "</s><eos><unk>"),
    *("$\\frac{a}{b}$ == != <= >>", "word" * 50, " " * 40 + "x" + "\n" * 35),
  ]
  rng = np.random.default_rng(0)
  alphabet = list("ab eé1 2\n\t.,'sSt<>|_中👍  ²ſİ")
  lengths = rng.integers(1, 40, 200)
  return fixed + ["".join(rng.choice(alphabet, size)) for size in lengths]


@pytest.fixture(scope="session")
def corpus() -> list[str]:
  """Returns digits, code, accents, emoji, spaces, scripts, control tokens."""
  return _corpus()


@pytest.fixture(scope="session")
def byte_level_tokenizers():
  """Returns what trains a byte-level tokenizer as a family splits text."""
  return _train_byte_level


def _train_byte_level(pre: str, missing: tuple[int, ...] = ()):
  """Returns a tokenizer of the package `tokenizers`, splits written afresh."""
  import tokenizers
  from tokenizers import pre_tokenizers as splits

  def split_by(pattern):
    plain = splits.ByteLevel(add_prefix_space=False, use_regex=False)
    return [splits.Split(tokenizers.Regex(pattern), "isolated"), plain]

  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.BPE(ignore_merges=pre == "llama-bpe")
  )
  parts = {
    "smollm": lambda: [
      splits.Digits(individual_digits=True),
      splits.ByteLevel(add_prefix_space=False),
    ],
    "gpt-2": lambda: [splits.ByteLevel(add_prefix_space=False)],
    "qwen2": lambda: split_by(_WORDS % ""),
    "llama-bpe": lambda: split_by(_WORDS % "{1,3}"),
  }[pre]()
  tokenizer.pre_tokenizer = splits.Sequence(parts)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  if pre == "qwen2":
    tokenizer.normalizer = tokenizers.normalizers.NFC()
  alphabet = sorted(splits.ByteLevel.alphabet())
  left_out = [chr(256 + byte) for byte in missing]  # Of control characters.
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=420,
    special_tokens=list(_ADDED),
    initial_alphabet=[c for c in alphabet if c not in left_out],
    show_progress=False,
  )
  tokenizer.train_from_iterator(TRAINING_TEXTS, trainer)
  text = dict(normalized=False, special=False)
  for token in ("<think>", "</think>", "[table]"):
    tokenizer.add_tokens([tokenizers.AddedToken(token, **text)])
  return tokenizer


@pytest.fixture(scope="session")
def sentencepiece_models():
  """Returns what trains a SentencePiece model with bytes to fall back on."""
  return functools.cache(_train_sentencepiece)


def _train_sentencepiece(prefix: bool) -> bytes:
  import sentencepiece

  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TRAINING_TEXTS),
    model_writer=model,
    vocab_size=420,
    model_type="bpe",
    byte_fallback=True,
    # As Gemma has them; models with the prefix, as Llama 2, have none.
    user_defined_symbols=[] if prefix else _USER_DEFINED,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    add_dummy_prefix=prefix,
    split_digits=True,
    allow_whitespace_only_pieces=True,
    minloglevel=2,
  )
  return model.getvalue()
