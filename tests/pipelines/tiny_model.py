"""A tiny pretrained model with a tokenizer, and a config that starts from it.

The tokenizer is trained by the package `tokenizers`; the weights are random.
"""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np
import tokenizers

from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import export
from reasoning_rl.pipelines import config_file
from reasoning_rl.tasks import word_problems

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
TASK = dict(
  operators="+-",
  max_number=12,
  max_result=9,
  shots=0,
  reasoning="none",
  prompt_style="chat",
)
_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def texts(count: int = 200) -> list[str]:
  """Returns what such a model reads and writes."""
  task = word_problems.WordProblems(**TASK)
  problems = [task.problem("train", i) for i in range(count)]
  said = [text for problem in problems for _, text in problem.messages]
  written = [line for p in problems for line in task.demonstration(p)]
  return ["system\nuser\nassistant\n", *said, *written]


def write_tokenizer(folder: pathlib.Path, more: tuple[str, ...] = ()) -> int:
  """Trains a byte-level tokenizer into a folder; returns its size."""
  splits = tokenizers.pre_tokenizers
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = splits.Sequence(
    [
      splits.Digits(individual_digits=True),
      splits.ByteLevel(add_prefix_space=False),
    ]
  )
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=1000,  # More than they make.
    special_tokens=_CONTROL,
    initial_alphabet=sorted(splits.ByteLevel.alphabet()),
    show_progress=False,
  )
  tokenizer.train_from_iterator([*texts(), *more], trainer)
  folder.mkdir(parents=True, exist_ok=True)
  tokenizer.save(str(folder / "tokenizer.json"))
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  return tokenizer.get_vocab_size()


def write(folder: pathlib.Path, **changes) -> pathlib.Path:
  """Writes a model of two layers into a folder, which it returns."""
  made = folder.with_name(f"{folder.name}-tokenizer")
  size = write_tokenizer(made)
  config = transformer.NetworkConfig(
    **dict(
      vocab_size=size,
      model_size=32,
      num_layers=2,
      num_heads=4,
      num_kv_heads=2,
      head_size=8,
      mlp_size=48,
      max_positions=256,
      tied_embedding=False,
    )
    | changes
  )
  shapes = jax.eval_shape(network_lib.Network(config).init, jax.random.key(0))
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(x.ndim == 1, 0.2, x.shape).astype(np.float32), shapes
  )
  card = export.ModelCard("tiny", "Random.", "", "cc0-1.0", "None.")
  files = sorted(made.iterdir())
  export.export(folder, config, params, card, tokenizer_files=files)
  return folder


def config(model: pathlib.Path | str, **changes):
  """Returns a config of few and small steps that starts from a model.

  Args:
    model: Its folder.
    **changes: Values of keys, whose dots are double underscores.
  """
  config = config_file.load(CONFIGS / "smollm2_words.py", "")
  config.model.path = str(model)
  config.task.word_problems.update(TASK)
  config.network.lora_rank = 2
  config.data.update(
    max_prompt_tokens=72,
    max_thought_tokens=12,
    max_thoughts=2,
    max_completion_tokens=12,
  )
  config.sft.update(batch_size=16, validation_problems=8, demonstrations=32)
  config.sft.update(validate_every=1000, min_steps=0)
  config.collect.update(
    problems=8, rollouts=4, labelled=8, label_rollouts=2, rows=16
  )
  config.prm.update(steps=2, batch_size=8)
  config.imitation.update(steps=2, batch_size=8)
  config.rl.update(steps=2, problems_per_step=4, rollouts=2)
  config.search.update(beam_candidates=2, mcts_candidates=2)
  config.evaluate.update(
    problems=8,
    first_problem=0,
    validation_problems=4,
    budgets=(1, 2),
    trees=1,
    rows=16,
  )
  for learner in (config.sft, config.prm, config.imitation, config.rl):
    learner.optimizer.warmup_steps = 1  # Of few.
  for key, value in changes.items():
    *sections, name = key.split("__")
    section = config
    for part in sections:
      section = section[part]
    section[name] = value
  return config.lock()
