"""Gradients of a batch from its parts, one after the other.

A part's activations are gone before the next part's are made. What comes out is
the whole batch's: a mean over a part weighs as many terms as the part has, not
one, for the parts of padded text have unequal counts. So a loss that is to be
accumulated says of how many terms it and each of its metrics is the mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from reasoning_rl.training import sharding as sharding_lib

Metrics = dict[str, Any]


def _nothing(loss: Any) -> Metrics:
  """Returns no metrics."""
  del loss
  return {}


@dataclasses.dataclass(frozen=True)
class MeanLoss:
  """A loss that says what it is the mean of; itself a loss function.

  Attributes:
    loss_fn: `loss_fn(params, batch, rng) -> (loss, metrics)`, all means over
      terms of the batch.
    counts: `counts(batch)`: of how many terms, "loss" and each metric.
    derived: `derived(loss)`: the metrics that are no mean but follow from the
      whole batch's loss, as a perplexity does.
  """

  loss_fn: Callable[..., tuple[Any, Metrics]]
  counts: Callable[[Any], Metrics]
  derived: Callable[[Any], Metrics] = _nothing

  def __call__(self, params: Any, batch: Any, rng: Any) -> tuple[Any, Metrics]:
    """Returns the loss and the metrics of a batch."""
    return self.loss_fn(params, batch, rng)


def value_and_grad(
  loss: MeanLoss,
  params: PyTree,
  batch: PyTree,
  rng: Any,
  parts: int,
  batch_sharding: NamedSharding,
) -> tuple[tuple[Any, Metrics], PyTree]:
  """Returns ((loss, metrics), gradients) of a batch, computed in parts.

  Args:
    loss: The loss.
    params: What to differentiate by.
    batch: Arrays whose axis 0 are the rows.
    rng: Folded with the number of the part.
    parts: Into how many parts of equally many rows the batch is split.
    batch_sharding: How the rows are split over devices; each device splits its
      own rows, so none move.
  """
  pieces = jax.tree.map(lambda x: _split(x, parts, batch_sharding), batch)
  counts = jax.vmap(
    lambda rows: {
      name: jnp.asarray(count, jnp.float32)
      for name, count in loss.counts(rows).items()
    }
  )(pieces)
  share = {k: n / jnp.maximum(jnp.sum(n), 1.0) for k, n in counts.items()}

  def body(total, piece):
    index, rows, weight = piece

    def weighted(params):
      value, metrics = loss(params, rows, jax.random.fold_in(rng, index))
      return weight * value, {"loss": value} | metrics

    grads, values = jax.grad(weighted, has_aux=True)(params)
    return jax.tree.map(jnp.add, total, grads), values

  # bfloat16 would lose the later parts of many.
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)),
    params,
  )
  grads, values = jax.lax.scan(
    body, zeros, (jnp.arange(parts), pieces, share["loss"])
  )
  grads = jax.tree.map(lambda g, x: g.astype(x.dtype), grads, params)
  return _whole(loss, values, share), grads


def _whole(loss, values, share) -> tuple[Any, Metrics]:
  """Returns the whole batch's loss and metrics from those of its parts."""
  if unknown := sorted(values.keys() - share.keys()):
    # What follows from the loss is made below.
    derived = loss.derived(values["loss"])
    if missing := [name for name in unknown if name not in derived]:
      raise ValueError(
        f"The loss does not say what its metrics {missing} are means of: name"
        " them in the `counts` of its MeanLoss."
      )
  means = {
    name: jnp.sum(share[name] * value)
    for name, value in values.items()
    if name in share
  }
  total = means.pop("loss")
  return total, means | loss.derived(total)


def _split(x, parts: int, sharding: NamedSharding):
  """Returns axis 0 as [parts, rows of a part], rows staying on their device."""
  shards = sharding_lib.num_shards(sharding.mesh)
  if x.shape[0] % (parts * shards):
    raise ValueError(
      f"A batch of {x.shape[0]} rows cannot be accumulated in {parts} parts on"
      f" {shards} shards: make the batch size a multiple of their product."
    )
  # Part i takes every parts-th row: contiguous parts would lie on some devices.
  pieces = x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)
  return jax.lax.with_sharding_constraint(
    pieces, NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))
  )
