"""The one host loop of every learner: batches, updates, checkpoints, metrics.

A batch is a function of (step, parameters) and nothing else, so a run that was
killed and continues from its last checkpoint repeats what it would have done.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from reasoning_rl.pipelines import progress as progress_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.training import checkpoint as checkpoint_lib
from reasoning_rl.training import metrics as metrics_lib
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import partition
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib


@dataclasses.dataclass(frozen=True)
class Fit:
  """What one learner does.

  Attributes:
    name: Names its checkpoints and metrics.
    loss_fn: `loss_fn(params, batch, rng) -> (loss, metrics)`.
    batch_at: `batch_at(step, params) -> batch`; may return (batch, metrics).
    num_steps: Updates to make. 0 keeps the parameters as they are; nothing is
      asked of `batch_at` then.
    optimizer: A config section of `OptimizerConfig`'s fields.
    decay_steps: Steps in which the learning rate decays; 0: `num_steps`.
    repeat: Updates from one batch; `batch_at` is asked every `repeat` steps.
    trainable: Pattern of the parameters that change; None: all.
    adapters: Which parameters learn beside a base that is neither copied nor
      saved, as a pattern or a function of paths; None: there is no such base.
    accumulate: Parts of a batch whose gradients are computed one by one.
    stop: `stop(step, params, notes) -> bool`, asked after every step; it may
      add to `notes`, which checkpoints keep.
  """

  name: str
  loss_fn: Callable[..., Any]
  batch_at: Callable[..., Any]
  num_steps: int
  optimizer: ml_collections.ConfigDict
  decay_steps: int = 0
  repeat: int = 1
  trainable: str | None = None
  adapters: optimizer_lib.Trainable | None = None
  accumulate: int = 1
  stop: Callable[[int, Any, dict[str, Any]], bool] | None = None


def fit(
  task: Fit,
  params: Any,
  *,
  directory: pathlib.Path,
  metrics_directory: pathlib.Path,
  mesh: jax.sharding.Mesh,
  rng: jax.Array,
  checkpoint_every: int,
  progress: progress_lib.Progress,
) -> tuple[Any, dict[str, Any]]:
  """Runs or continues a learner; returns its parameters and notes.

  Args:
    task: What to learn.
    params: Where to start, unless `directory` holds a checkpoint; of adapters,
      whose checkpoints lack it, the base in any case.
    directory: The learner's checkpoints.
    metrics_directory: Gets `<name>/metrics.jsonl` and TensorBoard events.
    mesh: The devices.
    rng: Folded by step for the loss.
    checkpoint_every: Steps between checkpoints.
    progress: Shows the numbers that matter.
  """
  config = optimizer_config(
    task.optimizer,
    task.num_steps,
    task.decay_steps or task.num_steps,
    f"the optimizer of {task.name}",
  )
  optimizer = optimizer_lib.make_optimizer(config, task.trainable)
  params, base, notes = _split_base(params, task.adapters, mesh)
  if task.num_steps:
    check_precision(params, task.trainable)
  state = train_step_lib.init_state(params, optimizer, mesh)
  last = checkpoint_lib.latest_step(directory)
  if last is not None:
    _check_base(directory, last, notes.get("base"))
    state = checkpoint_lib.restore(directory, abstract_of(state), last)
    notes = checkpoint_lib.restore_metadata(directory, last)
    if notes.get("finished"):
      return _whole(state, base), notes
  step_fn = train_step_lib.make_train_step(
    task.loss_fn,
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
    schedule=optimizer_lib.make_schedule(config),
    trainable=task.trainable,
    accumulate=task.accumulate,
    frozen_shardings=train_step_lib.shardings_of(base[0]) if base else None,
  )
  with metrics_lib.MetricsWriter(
    metrics_directory / task.name, resume_step=last
  ) as writer:
    return _loop(
      task, state, base, notes, step_fn, directory, writer, mesh, rng,
      checkpoint_every, progress,
    )  # fmt: skip


def optimizer_config(
  settings: ml_collections.ConfigDict, steps: int, decay_steps: int, what: str
) -> optimizer_lib.OptimizerConfig:
  """Returns how a learner learns; refuses what cannot be meant.

  Args:
    settings: A config section of its fields.
    steps: Updates; without any the schedule does not matter.
    decay_steps: When the learning rate has decayed.
    what: Names the section in a refusal.
  """
  given = dict(settings)
  if not steps:
    given |= {"schedule": "constant", "warmup_steps": 0}
  try:
    return optimizer_lib.OptimizerConfig(
      **given, decay_steps=max(1, decay_steps)
    )
  except (TypeError, ValueError) as error:
    raise ConfigError(f"{what} cannot be used: {error}") from error


def check_precision(
  params: Any, trainable: optimizer_lib.Trainable | None
) -> None:
  """Refuses to learn what is in bfloat16: small updates would be rounded away.

  Args:
    params: Parameters or their shapes, without a base of adapters.
    trainable: Which of them learn; all when None.
  """
  learns = jax.tree.map(lambda _: True, params)
  if trainable is not None:
    learns = optimizer_lib.trainable_mask(params, trainable)
  pairs = zip(jax.tree.leaves(params), jax.tree.leaves(learns), strict=True)
  if any(learnt and leaf.dtype == jnp.bfloat16 for leaf, learnt in pairs):
    raise ConfigError(
      "model.dtype is 'bfloat16', in which the small updates of a whole network"
      " are rounded away: set network.lora_rank to 1 or more, or model.dtype to"
      " 'float32'."
    )


def _loop(
  task, state, base, notes, step_fn, directory, writer, mesh, rng, every,
  progress,
):  # fmt: skip
  """Makes the remaining steps."""
  late = train_step_lib.MetricsOneStepLate()
  bar = progress.steps(task.name, task.num_steps)
  batch, extra, step = None, {}, int(state.step)

  def report(rows):
    for at, row in rows:
      writer.write(at, row | extra)
      bar.update(at, row | extra)

  done = step >= task.num_steps
  while not done:
    if batch is None or step % task.repeat == 0:
      found = task.batch_at(step - step % task.repeat, _whole(state, base))
      found, extra = found if isinstance(found, tuple) else (found, {})
      batch = sharding_lib.shard_batch(found, mesh)
    state, metrics = step_fn(state, batch, rng, *base)
    step += 1
    report(late.push(step, metrics, state))
    done = step >= task.num_steps
    if task.stop is not None:
      done |= task.stop(step, _whole(state, base), notes)
    if done or step % every == 0:
      report(late.flush(state))
      notes = notes | {"finished": done}
      checkpoint_lib.save(directory, step, state, notes)
  if checkpoint_lib.latest_step(directory) is None:  # There were no steps.
    notes = notes | {"finished": True}
    checkpoint_lib.save(directory, step, state, notes)
  bar.close()
  return _whole(state, base), notes


def _split_base(params, adapters, mesh, fingerprint=None):
  """Returns what learns, () or (the base,), and what checkpoints say of it."""
  if adapters is None:
    return params, (), {}
  params, base = partition.split(params, adapters)
  shardings = sharding_lib.param_shardings(
    base, sharding_lib.DEFAULT_RULES, mesh
  )
  # Where it lies already, it is not copied.
  base = jax.device_put(base, shardings)
  fingerprint = fingerprint or partition.fingerprint(base)
  return params, (base,), {"base": fingerprint}


def _whole(state, base) -> Any:
  """Returns all parameters of a learner."""
  return partition.join(state.params, *base) if base else state.params


def _check_base(directory, step, base: str | None) -> None:
  """Raises unless a checkpoint belongs to the base with that fingerprint."""
  found = checkpoint_lib.restore_metadata(directory, step).get("base")
  if found != base:
    say = lambda name: "no base" if name is None else f"base {name}"
    raise checkpoint_lib.CheckpointError(
      f"The checkpoint in {directory} was trained on {say(found)}, and"
      f" {say(base)} is given: start from the model that it was trained on."
    )


def abstract_of(tree: Any) -> Any:
  """Returns the shapes, dtypes and shardings of a tree of arrays."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )


def load_params(
  directory: pathlib.Path,
  params: Any,
  mesh: jax.sharding.Mesh,
  fingerprints: dict[frozenset[str], str] | None = None,
) -> Any:
  """Returns the parameters of a learner's newest checkpoint.

  Args:
    directory: The learner's checkpoints.
    params: Parameters, or their shapes; of adapters, with their base.
    mesh: Where the parameters are to live.
    fingerprints: Of these parameters' bases by what is saved beside them; gets
      those that it lacks, so that a base is read through once.

  Raises:
    CheckpointError: If there is none, or if it was trained on another base.
  """
  base = ()
  if has_base(directory):
    saved = checkpoint_lib.leaf_names(directory)
    known = {} if fingerprints is None else fingerprints
    params, base, notes = _split_base(
      params,
      lambda name: f"params/{name}" in saved,
      mesh,
      known.get(frozenset(saved)),
    )
    known[frozenset(saved)] = notes["base"]
    _check_base(directory, None, notes["base"])
  optimizer = optimizer_lib.make_optimizer(optimizer_lib.OptimizerConfig())
  abstract = train_step_lib.abstract_state(params, optimizer, mesh).params
  wanted = {"params": abstract}
  params = checkpoint_lib.restore(directory, wanted, partial=True)["params"]
  return partition.join(params, *base) if base else params


def has_base(directory: pathlib.Path) -> bool:
  """Returns whether a learner's newest checkpoint holds adapters alone."""
  return "base" in checkpoint_lib.restore_metadata(directory)
