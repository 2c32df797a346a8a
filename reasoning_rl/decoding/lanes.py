"""The decoding loop with fewer lanes than rows: a short row holds none back.

`decode.decode` runs all rows until the longest is complete, and most of what it
computes by then belongs to rows that have ended. Here rows wait in queues that
a few lanes each work off: where a row ends, its lane takes the next one in the
same loop. A row's random numbers are its own, so the lane that it ran in
changes nothing.

All lanes write a step's keys and values at the same place of a ring of `C`,
wherever each is in its row: a row has at most `C` tokens, so none that is still
to be read is overwritten, and a mask by age hides the row before. What all the
steps said is also logged in the order of time, and brought into the order of
the rows when the loop has ended. So no step scatters.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import sampling
from reasoning_rl.decoding import stops as stops_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib


class _Queue(NamedTuple):
  """Each queue's rows, first to last, and how many of them say something."""

  row: Array
  count: Array


class _Lanes(NamedTuple):
  """What the lanes work on.

  `row` is R where a lane is idle and `index` counts the row's tokens so far.
  The caches hold what came before the row (`before_mask` says what is real),
  then the ring.
  """

  row: Array
  index: Array
  thought: boundaries.Progress
  hidden: Array
  before_mask: Array
  caches: attention_lib.KeysValues


class _Log(NamedTuple):
  """What was said, by step and lane."""

  row: Array
  index: Array
  token: Array
  stopped: Array
  policy_logprobs: Array
  behavior_logprobs: Array
  hidden: Array
  keys_values: attention_lib.KeysValues


class _Carry(NamedTuple):
  step: Array
  taken: Array
  lanes: _Lanes
  log: _Log


def decode(
  network: network_lib.Network,
  params: network_lib.Params,
  rngs: Key[Array, " R"],
  context: decode_lib.Context,
  row_mask: Bool[Array, "_ _"],
  config: sampling.SamplingConfig,
  *,
  lanes: int,
  max_tokens: int,
  stops: stops_lib.Stops,
) -> decode_lib.Decoded:
  """Samples each row as `decode.decode` does, `lanes` of a queue at a time.

  Args:
    network: The policy.
    params: Its parameters.
    rngs: A key per row; consumed.
    context: What the rows continue from. All rows that share a segment's keys
      see the same of them.
    row_mask: By queue; False rows say nothing and take no lane's time. A
      segment with one owner per queue is shared by the queue's lanes, any other
      is copied into the lane for each row.
    config: How a token is chosen.
    lanes: Rows of a queue that are decoded at once.
    max_tokens: Most tokens per row, `C`.
    stops: What ends a row before that.

  Returns:
    The tokens and what belongs to them, in the order of the rows. The loop
    ends when no queue has a row left.
  """
  rows = row_mask.size
  queue = _queue(row_mask)
  segments = _split(context.segments, row_mask.shape[0])

  def cond(carry):
    return jnp.any(carry.lanes.row < rows)

  def body(carry):
    step, now = carry.step, carry.lanes
    said = _say(network, params, rngs, context, segments, config, carry)
    stopped, still, thought = stops_lib.go_on(
      stops, said.token, now.row < rows, now.thought
    )
    said = said._replace(stopped=stopped)
    still &= now.index + 1 < max_tokens
    before = now.before_mask.shape[1]
    at = (0, 0, before + step % max_tokens, 0)
    put = lambda x, new: jax.lax.dynamic_update_slice(x, new, at)
    now = _Lanes(
      row=jnp.where(still, now.row, rows),
      # An idle lane stays at a position that there is.
      index=jnp.where(still, now.index + 1, 0),
      thought=thought,
      hidden=said.hidden,
      before_mask=now.before_mask,
      caches=jax.tree.map(put, now.caches, said.keys_values),
    )
    taken, now = _refill(carry.taken, now, queue, context, segments[1])
    return _Carry(step + 1, taken, now, _write(carry.log, step, said))

  start = _start(network, context, queue, segments[1], lanes, max_tokens, stops)
  end = jax.lax.while_loop(cond, body, start)
  return _in_row_order(end, context, max_tokens)


def _say(network, params, rngs, context, segments, config, carry) -> _Log:
  """Returns one more token of each lane's row and what belongs to it."""
  step, now, (shared, private) = carry.step, carry.lanes, segments
  row = jnp.minimum(now.row, context.hidden.shape[0] - 1)
  keys = jax.vmap(jax.random.fold_in)(rngs[row], now.index)
  logits = network.logits(params, now.hidden)
  token, behavior, policy = sampling.sample(keys, logits, config)
  size = now.caches.k[0].shape[2] - now.before_mask.shape[1]
  age = (step - 1 - jnp.arange(size)) % size
  own_mask = age[None] < now.index[:, None]
  mask = jnp.concatenate([now.before_mask, own_mask], axis=1)
  position = context.position[row] + now.index
  of_keys = _key_positions(private, row, rngs.shape[0], position, age)
  own = attention_lib.Segment(now.caches, mask[:, None, None], of_keys)
  hidden, keys_values = network.apply(
    params, token[:, None], position[:, None], (*shared, own)
  )
  return _Log(
    row=now.row,
    index=now.index,
    token=token,
    stopped=jnp.zeros(token.shape, bool),  # Not known yet.
    policy_logprobs=policy,
    behavior_logprobs=behavior,
    hidden=hidden[:, 0],
    keys_values=decode_lib.after(hidden, keys_values),
  )


def _key_positions(private, row, rows, position, age):
  """Returns the positions of a lane's keys: what came before, then the ring."""
  if any(segment.positions is None for segment in private):
    return None
  found = []
  for segment in private:
    owners, _, _, size = segment.mask.shape
    positions = jnp.broadcast_to(segment.positions, (owners, size))
    found.append(positions[row * owners // rows])
  found.append(position[:, None] - 1 - age[None])
  return jnp.concatenate(found, axis=1)


def _queue(row_mask) -> _Queue:
  """Returns each queue's rows with those that say nothing last."""
  queues, each = row_mask.shape
  order = jnp.argsort(~row_mask, axis=1, stable=True)
  first = jnp.arange(queues, dtype=jnp.int32)[:, None] * each
  return _Queue(first + order.astype(jnp.int32), row_mask.sum(axis=1))


def _split(segments, queues):
  """Returns the segments that a queue's rows share, and the other ones."""
  shared = lambda x: x.mask.shape[0] == queues
  return (
    tuple(x for x in segments if shared(x)),
    tuple(x for x in segments if not shared(x)),
  )


def _start(
  network, context, queue, private, lanes, max_tokens, stops
) -> _Carry:
  """Returns the loop's state before the first token."""
  config = network.config
  rows, dtype = context.hidden.shape[0], context.hidden.dtype
  size = sum(segment.mask.shape[-1] for segment in private)
  # While a queue has rows its lanes are busy, and the last row takes at most C.
  queues, each = queue.row.shape
  steps = (each - 1) * max_tokens // lanes + max_tokens
  lanes *= queues
  layers = range(config.num_layers)
  cache = lambda *shape: tuple(jnp.zeros(shape, dtype) for _ in layers)
  both = lambda *shape: attention_lib.KeysValues(cache(*shape), cache(*shape))
  heads, head_size = config.num_kv_heads, config.head_size
  count = jnp.zeros(lanes, jnp.int32)
  idle = _Lanes(
    row=count + rows,
    index=count,
    thought=boundaries.start(stops.boundary, lanes),
    hidden=jnp.zeros((lanes, context.hidden.shape[1]), dtype),
    before_mask=jnp.zeros((lanes, size), bool),
    caches=both(lanes, heads, size + max_tokens, head_size),
  )
  taken = jnp.zeros(queue.count.shape, jnp.int32)
  taken, idle = _refill(taken, idle, queue, context, private)
  number = jnp.zeros((steps, lanes), jnp.int32)
  log = _Log(
    row=number + rows,
    index=number,
    token=number,
    stopped=jnp.zeros((steps, lanes), bool),
    policy_logprobs=jnp.zeros((steps, lanes), jnp.float32),
    behavior_logprobs=jnp.zeros((steps, lanes), jnp.float32),
    hidden=jnp.zeros((steps, lanes, context.hidden.shape[1]), dtype),
    keys_values=both(steps, lanes, heads, 1, head_size),
  )
  return _Carry(jnp.asarray(0, jnp.int32), taken, idle, log)


def _write(log, step, said) -> _Log:
  """Returns the log with one more step."""
  put = lambda x, new: jax.lax.dynamic_update_slice(
    x, new[None].astype(x.dtype), (step,) + (0,) * new.ndim
  )
  return jax.tree.map(put, log, said)


def _refill(taken, lanes, queue, context, private):
  """Gives each idle lane the next row of its queue, if there is one left."""
  rows = context.hidden.shape[0]
  idle = (lanes.row == rows).reshape(len(taken), -1)
  place = taken[:, None] + jnp.cumsum(idle, axis=1, dtype=jnp.int32) - 1
  new = idle & (place < queue.count[:, None])
  place = jnp.clip(place, 0, queue.row.shape[1] - 1)
  row = jnp.take_along_axis(queue.row, place, axis=1).reshape(-1)
  taken, new = taken + new.sum(axis=1), new.reshape(-1)
  lanes = lanes._replace(
    row=jnp.where(new, row, lanes.row),
    thought=boundaries.start_where(new, lanes.thought),
    hidden=jnp.where(new[:, None], context.hidden[row], lanes.hidden),
  )
  if private:
    lanes = _copy_before(lanes, new, private, rows)
  return taken, lanes


def _copy_before(lanes, new, private, rows) -> _Lanes:
  """Copies what came before the rows of the `new` lanes, lane by lane."""

  def cond(carry):
    return jnp.any(carry[0])

  def body(carry):
    left, before_mask, caches = carry
    lane, first = jnp.argmax(left), 0
    for segment in private:
      owner = lanes.row[lane] * segment.mask.shape[0] // rows
      place = lane, 0, first, 0
      copy = functools.partial(_copy_row, owner=owner, place=place)
      caches = jax.tree.map(copy, caches, segment.keys_values)
      mask = segment.mask[:, 0, 0]
      before_mask = _copy_row(before_mask, mask, owner, (lane, first))
      first += mask.shape[1]
    return left.at[lane].set(False), before_mask, caches

  carry = new, lanes.before_mask, lanes.caches
  _, before_mask, caches = jax.lax.while_loop(cond, body, carry)
  return lanes._replace(before_mask=before_mask, caches=caches)


def _copy_row(into, source, owner, place):
  """Returns `into` with the owner's row of `source` written at `place`."""
  row = jax.lax.dynamic_slice_in_dim(source, owner, 1)
  return jax.lax.dynamic_update_slice(into, row, place)


def _in_row_order(end, context, max_tokens) -> decode_lib.Decoded:
  """Returns what was logged, row by row."""
  rows, log = context.hidden.shape[0], end.log
  places = log.row.size
  where = jnp.full((rows, max_tokens), places, jnp.int32)
  steps = jnp.arange(places, dtype=jnp.int32).reshape(log.row.shape)
  where = where.at[log.row, log.index].set(steps, mode="drop")
  real = where < places
  where = jnp.minimum(where, places - 1)
  length = real.sum(axis=1)
  read = lambda x: x.reshape(places, *x.shape[2:])[where]
  token = jnp.where(real, read(log.token), 0)
  numbers = lambda x: jnp.where(real, read(x), 0.0)
  last = jnp.maximum(length - 1, 0)[:, None]
  at_last = lambda x: jnp.take_along_axis(x, last, axis=1)[:, 0]
  hidden = log.hidden.reshape(places, -1)[at_last(where)]
  said = length > 0
  # What idle lanes computed is spread over the rows.
  idle = end.step - (log.row < rows).sum(axis=0)
  spread = jnp.arange(idle.size) * rows // idle.size
  return decode_lib.Decoded(
    tokens=token,
    length=length,
    spent=length,
    decoded_rows=length.at[spread].add(idle),
    stopped_mask=at_last(read(log.stopped)) & said,
    policy_logprobs=numbers(log.policy_logprobs),
    behavior_logprobs=numbers(log.behavior_logprobs),
    hidden=jnp.where(said[:, None], hidden, context.hidden),
    keys_values=jax.tree.map(
      lambda x: read(x)[:, :, :, 0].swapaxes(1, 2), log.keys_values
    ),
  )
