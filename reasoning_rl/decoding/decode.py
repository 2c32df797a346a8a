"""The decoding loop: rows that continue from what came before them.

Rollouts, thoughts and continuations of a stored prefix are all this one loop;
they differ in the context the rows start from and in the tokens that stop them.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import masking
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import distinct, own_cache, sampling
from reasoning_rl.decoding import stops as stops_lib
from reasoning_rl.decoding import thinking as thinking_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib


@flax.struct.dataclass
class Context:
  """What `R` rows continue from.

  Attributes:
    segments: Keys and values of all that came before.
    hidden: Trunk output at the last token before.
    position: Position of the next token.
  """

  segments: tuple[attention_lib.Segment, ...]
  hidden: Float[Array, "R D"]
  position: Int[Array, " R"]


@flax.struct.dataclass
class Decoded:
  """What the rows said.

  Attributes:
    tokens: Token ids, 0 after a row's end.
    length: Real tokens, the stop token included.
    spent: Tokens decoded in the row's place. Over the rows of a group at most
      the sum of `length`: what sequences share is decoded once.
    decoded_rows: Rows that the network computed for it, after its end too.
      `spent` is the useful part, and the two sums' ratio the loop's occupancy.
    stopped_mask: True where a stop token ended the row, False where a limit
      did.
    policy_logprobs: Of each token under the policy.
    behavior_logprobs: Of each token under the distribution sampled.
    hidden: Trunk output at the row's last token.
    keys_values: Keys and values of the row's tokens, real or not.
    forced_mask: True at tokens that thinking control put there: the policy did
      not choose them. None without it, as the next.
    thinking_length: Tokens before the end of thinking, those of a prefix too.
  """

  tokens: Int[Array, "R C"]
  length: Int[Array, " R"]
  spent: Int[Array, " R"]
  decoded_rows: Int[Array, " R"]
  stopped_mask: Bool[Array, " R"]
  policy_logprobs: Float[Array, "R C"]
  behavior_logprobs: Float[Array, "R C"]
  hidden: Float[Array, "R D"]
  keys_values: attention_lib.KeysValues
  forced_mask: Bool[Array, "R C"] | None = None
  thinking_length: Int[Array, " R"] | None = None


class _Carry(NamedTuple):
  index: Array
  active: Array
  thought: boundaries.Progress
  out: Decoded
  own: own_cache.OwnCache
  lanes: distinct.Lanes | None
  thinking: thinking_lib.Thinking | None


def prompt_segment(
  keys_values: attention_lib.KeysValues,
  prompt_length: Int[Array, " B"],
  start: int = 0,
) -> attention_lib.Segment:
  """Returns the prompts as a segment that each problem's rows share.

  Args:
    keys_values: Of the prompts, from position `start` on.
    prompt_length: Real tokens from there on.
    start: Tokens that stand in a segment of their own; see `prompts`.
  """
  size = keys_values.k[0].shape[2]
  mask = masking.length_mask(prompt_length, size)
  positions = jnp.arange(start, start + size)[None]
  return attention_lib.Segment(keys_values, mask[:, None, None], positions)


def decode(
  network: network_lib.Network,
  params: network_lib.Params,
  rngs: Key[Array, " R"],
  context: Context,
  row_mask: Bool[Array, " R"],
  config: sampling.SamplingConfig,
  *,
  max_tokens: int,
  stops: stops_lib.Stops,
  groups: distinct.Groups | None = None,
  thinking: thinking_lib.ThinkingConfig | None = None,
  thinking_before: thinking_lib.Thinking | None = None,
) -> Decoded:
  """Samples each row until a stop token or a limit.

  Args:
    network: The policy.
    params: Its parameters.
    rngs: A key per row; a token's key is folded from it by its index, so a
      row's tokens do not depend on its neighbours, other than those of its
      group. Consumed.
    context: What the rows continue from.
    row_mask: False rows say nothing.
    config: How a token is chosen.
    max_tokens: Most tokens per row, `C`.
    stops: What ends a row before that.
    groups: Rows whose sequences are to differ; they must continue the same
      context. None samples every row by itself.
    thinking: How long a row thinks; not together with `groups`.
    thinking_before: Where the rows are in their thinking; by default they begin
      with it.

  Returns:
    The tokens and what belongs to them. The loop ends with its last row.
  """
  _check_thinking(thinking, stops, groups)

  def cond(carry):
    return (carry.index < max_tokens) & jnp.any(carry.active)

  def body(carry):
    keys = jax.vmap(jax.random.fold_in, (0, None))(rngs, carry.index)
    logits = network.logits(params, carry.out.hidden)
    carry, (token, behavior, policy) = _choose(
      keys, logits, carry, groups, config
    )
    forced = None
    if thinking is not None:
      forced, behavior, policy = _force(
        thinking, stops, carry, logits, token, behavior, policy
      )
      token = forced.token
    index, active, out = carry.index, carry.active, carry.out
    hidden, keys_values = _read(
      network, params, context, carry.own, index, token
    )
    stopped, still, thought = stops_lib.go_on(
      stops, token, active, carry.thought
    )
    said = (token, stopped, policy, behavior, hidden, forced)
    out = _append(out, index, active, *said)
    own = own_cache.append(carry.own, index, keys_values)
    thinks = None if forced is None else forced.thinking
    return _Carry(index + 1, still, thought, out, own, carry.lanes, thinks)

  start = _start(network, context, row_mask, max_tokens, stops, groups)
  if thinking is not None:
    start = _start_thinking(start, thinking_before)
  end = jax.lax.while_loop(cond, body, start)
  out = end.out if groups is None else _held(end)
  if thinking is not None:
    size = thinking_lib.length(thinking, end.thinking, out.stopped_mask)
    out = out.replace(thinking_length=size)
  computed = jnp.broadcast_to(end.index, out.spent.shape)
  return out.replace(
    decoded_rows=computed, keys_values=own_cache.of_rows(end.own)
  )


def _read(network, params, context, own, index, token):
  """Returns each row's hidden vector after a token, and its keys and values."""
  segments = (
    *context.segments,
    own_cache.segment(own, index, context.position),
  )
  hidden, keys_values = network.apply(
    params, token[:, None], (context.position + index)[:, None], segments
  )
  return hidden, after(hidden, keys_values)


def _choose(keys, logits, carry, groups, config):
  """Returns the carry with each row's sequence in place, and its next token."""
  if groups is None:
    return carry, sampling.sample(keys, logits, config)
  drawn = distinct.draw(keys, logits, carry.lanes, carry.active, groups, config)
  # What a place has spent stays with the place.
  moved = jax.tree.map(lambda x: x[drawn.source], carry.out)
  carry = carry._replace(
    active=drawn.active,
    thought=jax.tree.map(lambda x: x[drawn.source], carry.thought),
    out=moved.replace(spent=carry.out.spent),
    own=own_cache.move(carry.own, drawn.source),
    lanes=drawn.lanes,
  )
  return carry, (drawn.token, drawn.behavior_logprobs, drawn.policy_logprobs)


def _check_thinking(thinking, stops, groups):
  """Refuses thinking control that the loop cannot keep to."""
  if thinking is None:
    return
  if groups is not None:
    raise ValueError(
      "thinking control and distinct sequences cannot be had together: a"
      " forced token has no probability to draw by."
    )
  both = {*thinking.end_ids, *thinking.wait_ids} & {*stops.end_ids}
  if both:
    raise ValueError(
      f"token {min(both)} ends a solution, so thinking control cannot insert"
      " it; choose other tokens."
    )


def _start_thinking(start, before) -> _Carry:
  """Returns the loop's state with rows that think, or begin to."""
  forced = jnp.zeros(start.out.tokens.shape, bool)
  return start._replace(
    out=start.out.replace(forced_mask=forced),
    thinking=thinking_lib.start(start.active) if before is None else before,
  )


def _force(thinking, stops, carry, logits, token, behavior, policy):
  """Returns what the rows say under thinking control, and its probability."""
  forced = thinking_lib.force(
    thinking, stops.end_ids, carry.thinking, carry.active, token
  )
  own = jnp.take_along_axis(
    jax.nn.log_softmax(logits), forced.token[:, None], axis=-1
  )[:, 0]
  return (
    forced,
    jnp.where(forced.forced_mask, 0.0, behavior),
    jnp.where(forced.forced_mask, own, policy),
  )


def _held(end) -> Decoded:
  """Returns what the rows said, and nothing where a group had none for it."""
  held, out = end.lanes.held_mask, end.out
  real = lambda x: jnp.where(held.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
  return out.replace(
    tokens=real(out.tokens),
    length=real(out.length),
    stopped_mask=out.stopped_mask & held,
    policy_logprobs=real(out.policy_logprobs),
    behavior_logprobs=real(out.behavior_logprobs),
  )


def after(
  hidden: Float[Array, "R 1 D"], keys_values: attention_lib.KeysValues
) -> attention_lib.KeysValues:
  """Returns `keys_values`, made to depend on `hidden`, 0 where it is no number.

  Else XLA may write them before all layers have read what is there, and copies
  every cache at every token to be able to: half of the time of 1,000 rows.
  """
  finite = jnp.isfinite(hidden[:, 0, 0])[:, None, None, None]
  return jax.tree.map(lambda x: jnp.where(finite, x, 0), keys_values)


def _start(network, context, row_mask, max_tokens, stops, groups) -> _Carry:
  """Returns the loop's state before the first token."""
  config, rows = network.config, row_mask.shape[0]
  shape = (rows, config.num_kv_heads, 0, config.head_size)
  none = tuple([jnp.zeros(shape, context.hidden.dtype)] * config.num_layers)
  empty = attention_lib.KeysValues(none, none)
  problems = None if groups is None else groups.joint.shape[0]
  return _Carry(
    index=jnp.asarray(0, jnp.int32),
    active=row_mask,
    thought=boundaries.start(stops.boundary, rows),
    out=_nothing_said(context, max_tokens),
    own=own_cache.start(empty, max_tokens, problems),
    lanes=None if groups is None else distinct.start(groups, row_mask),
    thinking=None,
  )


def _nothing_said(context, max_tokens) -> Decoded:
  """Returns what the rows have said before the first token; no keys."""
  rows = context.hidden.shape[0]
  logprobs = jnp.zeros((rows, max_tokens), jnp.float32)
  return Decoded(
    tokens=jnp.zeros((rows, max_tokens), jnp.int32),
    length=jnp.zeros(rows, jnp.int32),
    spent=jnp.zeros(rows, jnp.int32),
    decoded_rows=jnp.zeros(rows, jnp.int32),
    stopped_mask=jnp.zeros(rows, bool),
    policy_logprobs=logprobs,
    behavior_logprobs=logprobs,
    hidden=context.hidden,
    keys_values=None,
  )


def _append(
  out, index, active, token, stopped, policy, behavior, hidden, forced
) -> Decoded:
  """Returns `out` with one more token where the row is active."""
  put = lambda x, new: jax.lax.dynamic_update_slice(
    x, jnp.where(active, new, 0)[:, None].astype(x.dtype), (0, index)
  )
  if forced is not None:
    forced_mask = put(out.forced_mask, forced.forced_mask)
    out = out.replace(forced_mask=forced_mask)
  return out.replace(
    tokens=put(out.tokens, token),
    length=out.length + active,
    spent=out.spent + active,
    stopped_mask=out.stopped_mask | stopped,
    policy_logprobs=put(out.policy_logprobs, policy),
    behavior_logprobs=put(out.behavior_logprobs, behavior),
    hidden=jnp.where(active[:, None], hidden[:, 0], out.hidden),
  )


def row_rngs(
  rng: Key[Array, ""],
  problem_id: Int[Array, " B"],
  *counts: int,
) -> Key[Array, " R"]:
  """Returns a key for each row of [B, *counts], folded from what it is.

  A row's key is a function of its problem's id and its indices alone, never of
  its place in the batch, so neighbours, batch size and resumption change
  nothing.
  """
  keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, problem_id)
  for count in counts:
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    keys = jax.vmap(fold, (0, None))(keys, jnp.arange(count)).reshape(-1)
  return keys
