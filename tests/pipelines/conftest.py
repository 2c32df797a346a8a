"""A stage whose one dataset is small, and a folder with a small tokenizer."""

import json
import pathlib

import numpy as np
import pytest

from reasoning_rl import types
from reasoning_rl.data import batching
from reasoning_rl.pipelines import collect, config_file, train_sft
from reasoning_rl.pipelines import stage as stage_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="trajectories")
def fixture_trajectories():
  """Four solutions of two thoughts: two right and alike, two wrong."""
  completion = np.array([[5, 6, 7], [5, 6, 7], [8, 6, 7], [9, 6, 0]], np.int32)
  rows = np.zeros((4, 2), np.float32)
  return types.Trajectory(
    problem_id=np.array([1, 1, 1, 2], np.int32),
    prompt=np.full((4, 2), 3, np.int32),
    prompt_length=np.full(4, 2, np.int32),
    completion=completion,
    completion_length=np.array([3, 3, 3, 2], np.int32),
    thought_end=np.array([[0, 2], [0, 2], [0, 2], [0, 1]], np.int32),
    thought_count=np.full(4, 2, np.int32),
    behavior_logprobs=np.zeros((4, 3), np.float32),
    policy_logprobs=np.zeros((4, 3), np.float32),
    forced_mask=np.zeros((4, 3), bool),
    outcome_reward=np.array([1, 1, 0, 0], np.float32),
    labels=np.array([[0, 1], [0.5, 1], [0, 0], [0.5, 0]], np.float32),
    label_mask=np.array([[1, 1], [0, 0], [1, 1], [1, 1]], bool),
    thought_rewards=rows,
    thought_visits=rows.astype(np.int32),
    thought_values=rows,
  )


@pytest.fixture(name="collected")
def fixture_collected(monkeypatch, tmp_path, trajectories):
  """A stage whose one dataset is `trajectories`."""
  monkeypatch.setattr(collect, "load", lambda stage, names: trajectories)
  seed = batching.supervised_batch([[1, 1]], [[2, 2, 2]], 2, 3)
  monkeypatch.setattr(train_sft, "demonstrations", lambda stage: seed)
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    yield stage


# What the small tokenizer has learnt to write.
_TEXTS = [
  "Step 1: We have 12 + 7 = 19 pens.\n\nStep 2: So the answer is 19.\n",
  "def add(a, b):\n    return a + b\n\n\nQuestion: How many are there?\n",
  "- first\n- second\n\n$$\n\\frac{1}{2}\n$$\n\n```python\nx = 1\n```\n",
] * 8


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
  """A folder with a byte-level tokenizer, its digits single, as SmolLM2's."""
  import tokenizers
  from tokenizers import pre_tokenizers as splits

  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = splits.Sequence(
    [
      splits.Digits(individual_digits=True),
      splits.ByteLevel(add_prefix_space=False),
    ]
  )
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=400,
    special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    initial_alphabet=sorted(splits.ByteLevel.alphabet()),
    show_progress=False,
  )
  tokenizer.train_from_iterator(_TEXTS, trainer)
  folder = tmp_path_factory.mktemp("tokenizer")
  tokenizer.save(str(folder / "tokenizer.json"))
  named = json.dumps({"eos_token": "<|im_end|>"})
  (folder / "tokenizer_config.json").write_text(named)
  return folder
