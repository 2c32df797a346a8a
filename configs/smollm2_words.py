"""SmolLM2-135M-Instruct teaches itself word problems, from final answers."""

import ml_collections

from . import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """Returns the config.

  Args:
    variant: "" (half an hour on two cores) or "gpu" (half an hour on one
      data-centre GPU).
  """
  config = base.get_config()
  config.model.path = "runs/models/smollm2-135m-instruct"
  config.tokenizer.update(kind="huggingface", chat="smollm2")
  config.task.name = "word_problems"
  config.data.update(
    rename=False,
    max_prompt_tokens=256,
    max_thought_tokens=24,
    max_thoughts=4,
    max_completion_tokens=48,
  )
  # At 1 a third of the samples never find an end.
  config.sampling.temperature = 0.7
  _make_small(config)
  if variant == "gpu":
    _make_gpu(config)
  elif variant:
    raise ValueError(f"smollm2_words.py has no variant {variant!r}; try 'gpu'.")
  return config


def _make_small(config):
  """Sizes for two cores."""
  config.network.update(lora_rank=16, lora_alpha=32.0)
  config.checkpoint_every = 1000  # A learner is short; its end is kept.
  config.sft.max_steps = 0  # The start is the pretrained model.
  config.sft.validation_problems = 64
  config.collect.update(
    problems=128, rollouts=8, labelled=128, label_rollouts=4, rows=64
  )
  config.prm.update(trunk="shared", kind="head", steps=60, batch_size=16)
  config.imitation.update(steps=12, batch_size=32)
  config.rl.update(steps=12, problems_per_step=8, rollouts=8)
  config.loop.update(iterations=1, baselines=("rejection",))
  config.search.update(beam_candidates=4, mcts_candidates=4)
  config.evaluate.update(
    problems=300,
    validation_problems=64,
    budgets=(1, 4, 8),
    methods=("beam",),
    rows=64,
  )


def _make_gpu(config):
  """Sizes for one data-centre GPU."""
  config.model.dtype = "bfloat16"
  config.collect.update(
    problems=2048, labelled=2048, label_rollouts=8, rows=2048
  )
  config.prm.update(steps=200, batch_size=64)
  config.imitation.update(steps=40, batch_size=64)
  config.rl.update(steps=60, problems_per_step=32)
  config.loop.update(iterations=2, baselines=("rejection", "outcome"))
  config.evaluate.update(
    problems=500,
    validation_problems=256,
    budgets=(1, 4, 16),
    methods=("beam", "mcts"),
    rows=2048,
  )
