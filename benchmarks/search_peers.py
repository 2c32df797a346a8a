"""Decoding as it is commonly done: every row holds a full cache of its own.

Two peers of the engine, on the same networks, attention and random numbers, so
that they say the same tokens. A row's cache is contiguous and begins with a
copy of its problem's prompt. `sample_rows` decodes rows that never meet.
`search_beams` is a beam search over thoughts that, as common beam searches do,
gathers all caches by the rows that they continue at every position.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import tree as tree_lib
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import sampling
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib


class Rows(NamedTuple):
  """What the rows have said and what they go on from.

  Attributes:
    tokens: Token ids.
    hidden: Trunk output at the last token.
    cache: Keys and values [R, J, Lp + L, K] of the prompt and the tokens.
  """

  tokens: Int[Array, "R L"]
  hidden: Float[Array, "R D"]
  cache: attention_lib.KeysValues


def sample_rows(
  network: network_lib.Network,
  params: network_lib.Params,
  rng: Key[Array, ""],
  root: tree_lib.Root,
  num_rows: int,
  num_tokens: int,
  how: sampling.SamplingConfig,
) -> Int[Array, "R L"]:
  """Samples `num_rows` rows of `num_tokens` tokens for every problem.

  Returns:
    What `rollouts.from_prompts` returns where nothing ends a row.
  """
  rngs = decode_lib.row_rngs(rng, root.problem_id, num_rows)
  position, prompt_mask = _prompt(root, num_rows)

  def body(index, rows):
    keys = jax.vmap(jax.random.fold_in, (0, None))(rngs, index)
    return _say(network, params, keys, rows, index, position, prompt_mask, how)

  rows = _start(root, num_rows, num_tokens)
  return jax.lax.fori_loop(0, num_tokens, body, rows).tokens


def search_beams(
  network: network_lib.Network,
  params: network_lib.Params,
  rng: Key[Array, ""],
  root: tree_lib.Root,
  width: int,
  num_candidates: int,
  thought_size: int,
  num_thoughts: int,
  how: sampling.SamplingConfig,
  every_position: bool = True,
) -> Int[Array, "R L"]:
  """Searches beams of thoughts, all `thought_size` tokens long.

  Args:
    network: The policy, with a thought head that scores the thoughts.
    params: Its parameters.
    rng: Folded as in `decoding.expand`.
    root: The prompts.
    width: Rows that are kept at the end of a thought, `W`.
    num_candidates: Rows that continue each of them, `A`.
    thought_size: Tokens in a thought.
    num_thoughts: Thoughts of each row.
    how: How tokens are chosen.
    every_position: Whether caches are gathered at every position, or only
      where rows really change places.

  Returns:
    All W · A rows of each problem, before the last selection.
  """
  count = width * num_candidates
  position, prompt_mask = _prompt(root, count)
  is_first = lambda index: (index % thought_size == 0) & (index > 0)

  def parents(rows, index):
    stay = jnp.arange(rows.hidden.shape[0])
    choose = lambda: _best(network, params, rows.hidden, width, num_candidates)
    return jax.lax.cond(is_first(index), choose, lambda: stay)

  def body(index, rows):
    reordered = lambda: jax.tree.map(lambda x: x[parents(rows, index)], rows)
    if every_position:
      rows = reordered()
    else:
      rows = jax.lax.cond(is_first(index), reordered, lambda: rows)
    keys = _thought_rngs(rng, root, index, thought_size, count)
    return _say(network, params, keys, rows, index, position, prompt_mask, how)

  num_tokens = num_thoughts * thought_size
  rows = _start(root, count, num_tokens)
  return jax.lax.fori_loop(0, num_tokens, body, rows).tokens


def _best(network, params, hidden, width, num_candidates) -> Int[Array, " R"]:
  """Returns the row that each row is to continue."""
  scores = jax.nn.sigmoid(network.scalar(params, hidden, "thought"))
  count = width * num_candidates
  scores = scores.reshape(-1, count)
  chosen = jax.lax.top_k(scores, width)[1]
  first = jnp.arange(scores.shape[0])[:, None] * count
  return jnp.repeat((first + chosen).reshape(-1), num_candidates)


def _thought_rngs(rng, root, index, thought_size, count) -> Key[Array, " R"]:
  """Returns a key per row, as the engine numbers its expansions."""
  fold = jax.random.fold_in
  thought, offset = index // thought_size, index % thought_size
  keys = jax.vmap(fold, (None, 0))(rng, root.problem_id)
  keys = jax.vmap(fold, (0, None))(keys, thought * thought_size * count)
  rows = jax.vmap(jax.vmap(fold, (None, 0)), (0, None))
  keys = rows(keys, jnp.arange(count)).reshape(-1)
  return jax.vmap(fold, (0, None))(keys, offset)


def _prompt(
  root: tree_lib.Root, num_rows: int
) -> tuple[Int[Array, " R"], Bool[Array, "R Lp"]]:
  """Returns each row's first position, and its prompt's real tokens."""
  size = root.prompts[0].k[0].shape[2]
  position = jnp.repeat(root.prompt_length, num_rows)
  return position, jnp.arange(size)[None] < position[:, None]


def _start(root, num_rows, num_tokens) -> Rows:
  """Returns rows that have said nothing, each with a copy of its prompt."""

  def copy(prompt):
    room = ((0, 0), (0, 0), (0, num_tokens), (0, 0))
    return jnp.pad(jnp.repeat(prompt, num_rows, axis=0), room)

  hidden = jnp.repeat(root.hidden, num_rows, axis=0)
  tokens = jnp.zeros((hidden.shape[0], num_tokens), jnp.int32)
  return Rows(tokens, hidden, jax.tree.map(copy, root.prompts[0]))


def _say(
  network, params, rngs, rows, index, position, prompt_mask, how
) -> Rows:
  """Returns the rows with one more token."""
  logits = network.logits(params, rows.hidden)
  token, _, _ = sampling.sample(rngs, logits, how)
  num_tokens = rows.tokens.shape[1]
  said = jnp.broadcast_to(
    (jnp.arange(num_tokens) < index)[None], (len(token), num_tokens)
  )
  mask = jnp.concatenate([prompt_mask, said], axis=1)[:, None, None]
  hidden, keys_values = network.apply(
    params,
    token[:, None],
    (position + index)[:, None],
    (attention_lib.Segment(rows.cache, mask),),
  )
  # Written after all layers have read, else XLA copies the caches: see
  # `decoding.decode`.
  finite = jnp.isfinite(hidden[:, 0, 0])[:, None, None, None]
  at = (0, 0, prompt_mask.shape[1] + index, 0)
  put = lambda cache, new: jax.lax.dynamic_update_slice(
    cache, jnp.where(finite, new, 0), at
  )
  return Rows(
    jax.lax.dynamic_update_slice(rows.tokens, token[:, None], (0, index)),
    hidden[:, 0],
    jax.tree.map(put, rows.cache, keys_values),
  )
