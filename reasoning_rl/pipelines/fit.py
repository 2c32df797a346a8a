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
import ml_collections

from reasoning_rl.pipelines import progress as progress_lib
from reasoning_rl.training import checkpoint as checkpoint_lib
from reasoning_rl.training import metrics as metrics_lib
from reasoning_rl.training import optimizer as optimizer_lib
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
    params: Where to start, unless `directory` holds a checkpoint.
    directory: The learner's checkpoints.
    metrics_directory: Gets `<name>/metrics.jsonl` and TensorBoard events.
    mesh: The devices.
    rng: Folded by step for the loss.
    checkpoint_every: Steps between checkpoints.
    progress: Shows the numbers that matter.
  """
  config = optimizer_lib.OptimizerConfig(
    **task.optimizer, decay_steps=task.decay_steps or max(1, task.num_steps)
  )
  optimizer = optimizer_lib.make_optimizer(config, task.trainable)
  state = train_step_lib.init_state(params, optimizer, mesh)
  notes: dict[str, Any] = {}
  last = checkpoint_lib.latest_step(directory)
  if last is not None:
    state = checkpoint_lib.restore(directory, abstract_of(state), last)
    notes = checkpoint_lib.restore_metadata(directory, last)
    if notes.get("finished"):
      return state.params, notes
  step_fn = train_step_lib.make_train_step(
    task.loss_fn,
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
    schedule=optimizer_lib.make_schedule(config),
    trainable=task.trainable,
  )
  with metrics_lib.MetricsWriter(
    metrics_directory / task.name, resume_step=last
  ) as writer:
    return _loop(
      task, state, notes, step_fn, directory, writer, mesh, rng,
      checkpoint_every, progress,
    )  # fmt: skip


def _loop(
  task, state, notes, step_fn, directory, writer, mesh, rng, every, progress
):
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
      found = task.batch_at(step - step % task.repeat, state.params)
      found, extra = found if isinstance(found, tuple) else (found, {})
      batch = sharding_lib.shard_batch(found, mesh)
    state, metrics = step_fn(state, batch, rng)
    step += 1
    report(late.push(step, metrics, state))
    done = step >= task.num_steps
    if task.stop is not None:
      done |= task.stop(step, state.params, notes)
    if done or step % every == 0:
      report(late.flush(state))
      notes = notes | {"finished": done}
      checkpoint_lib.save(directory, step, state, notes)
  if checkpoint_lib.latest_step(directory) is None:  # There were no steps.
    notes = notes | {"finished": True}
    checkpoint_lib.save(directory, step, state, notes)
  bar.close()
  return state.params, notes


def abstract_of(tree: Any) -> Any:
  """Returns the shapes, dtypes and shardings of a tree of arrays."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )


def load_params(
  directory: pathlib.Path, params: Any, mesh: jax.sharding.Mesh
) -> Any:
  """Returns the parameters of a learner's newest checkpoint.

  Args:
    directory: The learner's checkpoints.
    params: Parameters, or their shapes.
    mesh: Where the parameters are to live.
  """
  optimizer = optimizer_lib.make_optimizer(optimizer_lib.OptimizerConfig())
  abstract = train_step_lib.abstract_state(params, optimizer, mesh).params
  wanted = {"params": abstract}
  return checkpoint_lib.restore(directory, wanted, partial=True)["params"]
