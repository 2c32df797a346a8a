"""The main job: chains of modular arithmetic, taught by final answers."""

import ml_collections

from . import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """Returns the config.

  Args:
    variant: "" (the main job), "reproduce" (the full tables), "notebook" (a few
      minutes on one core) or "tiny" (for tests).
  """
  config = base.get_config()
  config.task.name = "arithmetic"
  if variant == "notebook":
    _make_notebook(config)
  elif variant == "tiny":
    _make_tiny(config)
  elif variant in ("", "reproduce"):
    _make_main(config)
  else:
    raise ValueError(
      f"arithmetic.py has no variant {variant!r}: use 'reproduce', 'notebook',"
      " 'tiny' or none."
    )
  if variant == "reproduce":
    base.make_full(config)
  return config


def _make_main(config):
  """Has the demonstrations written by somebody who is often wrong.

  A policy that has grasped the task is then right as often as they are, about a
  fifth of the time, and more demonstrations confirm the habit. When it grasps
  the task, which hinges on rounding, matters no more.
  """
  config.task.arithmetic.update(
    chain_length=5, distractors=1, misremembered=0.55
  )
  config.sft.update(
    demonstrations=1500, decay_steps=1100, min_steps=1100, max_steps=2000
  )
  config.collect.update(problems=1024, labelled=1024)
  config.rl.steps = 16


def _make_notebook(config):
  """Shrinks the story to what a reader waits for; see colab/."""
  config.task.arithmetic.update(
    chain_length=2, distractors=1, bases=4, operators="+"
  )
  config.network.num_layers = 2
  config.sft.update(
    demonstrations=1000,
    decay_steps=300,
    max_steps=500,
    min_steps=300,
    validate_every=50,
    validation_problems=256,
  )
  config.collect.update(problems=512, labelled=512, rows=1024)
  config.imitation.update(steps=30, batch_size=128)
  config.prm.steps = 200
  config.rl.steps = 40
  config.loop.update(iterations=1, baselines=("demonstrations",))
  config.evaluate.update(
    problems=100, validation_problems=100, budgets=(1, 2, 4, 8), rows=1024
  )


def _make_tiny(config):
  """Shrinks everything to what a test can wait for."""
  config.task.arithmetic.update(
    modulus=5, chain_length=1, distractors=0, bases=4, asked=1
  )
  config.network.update(model_size=32, num_layers=2, head_size=8, mlp_size=64)
  config.network.max_positions = 64
  config.sft.update(
    demonstrations=1000,
    decay_steps=110,
    max_steps=110,
    min_steps=110,
    validate_every=55,
    validation_problems=64,
  )
  config.collect.update(
    problems=64, rollouts=4, labelled=64, label_rollouts=2, rows=256
  )
  config.imitation.update(steps=30, batch_size=256)
  config.prm.update(steps=40, batch_size=32)
  config.sft.optimizer.warmup_steps = 10
  config.prm.optimizer.warmup_steps = 2
  config.rl.update(steps=30, problems_per_step=32, rollouts=4)
  config.rl.optimizer.learning_rate = 5e-4
  config.loop.update(iterations=1, baselines=("demonstrations",))
  config.evaluate.update(
    problems=32, validation_problems=32, budgets=(1, 2, 4), trees=1, rows=256
  )
