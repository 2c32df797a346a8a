"""Rollouts: solutions of prompts, and completions of every prefix of one."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import prompts, sampling
from reasoning_rl.decoding import stops as stops_lib
from reasoning_rl.decoding import thinking as thinking_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
  """How solutions are sampled.

  Attributes:
    num_rollouts: Rollouts per starting point, `G`.
    max_tokens: Most tokens in a rollout, `L`.
    max_thought_tokens: Most tokens in a thought; a longer one ends its row.
    boundary: What ends a thought.
    end_ids: Tokens that end a solution.
    sampling: How tokens are chosen.
    thinking: How long a rollout thinks; None: as it likes.
  """

  num_rollouts: int
  max_tokens: int
  max_thought_tokens: int
  boundary: boundaries.Boundary
  end_ids: tuple[int, ...]
  sampling: sampling.SamplingConfig = sampling.SamplingConfig()
  thinking: thinking_lib.ThinkingConfig | None = None


def from_prompts(
  policy: network_lib.Network,
  params: network_lib.Params,
  rng: Key[Array, ""],
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  problem_id: Int[Array, " B"],
  config: RolloutConfig,
  shared: int = 0,
) -> decode_lib.Decoded:
  """Samples `G` solutions of every prompt, which is read and kept once.

  Args:
    policy: The sampler.
    params: Its parameters.
    rng: Consumed; folded by `problem_id` and rollout.
    prompt: Prompts, right-padded.
    prompt_length: Real prompt tokens.
    problem_id: Names the problem.
    config: Sizes and rules.
    shared: Tokens that all prompts begin with, read once; see `prompts`.

  Returns:
    B · G rows; the rollouts of one problem are consecutive. Row g of a problem
    does not depend on the number of rollouts or on the other problems.
  """
  group = config.num_rollouts
  segments, hidden = prompts.read(policy, params, prompt, prompt_length, shared)
  context = decode_lib.Context(
    segments,
    jnp.repeat(hidden, group, axis=0),
    jnp.repeat(prompt_length, group),
  )
  rngs = decode_lib.row_rngs(rng, problem_id, group)
  row_mask = jnp.ones(prompt.shape[0] * group, bool)
  return _decode(policy, params, rngs, context, row_mask, config)


def from_thoughts(
  policy: network_lib.Network,
  params: network_lib.Params,
  rng: Key[Array, ""],
  tokens: Int[Array, "B L"],
  thought_end: Int[Array, "B T"],
  thought_mask: Bool[Array, "B T"],
  row_id: Int[Array, " B"],
  config: RolloutConfig,
  shared: int = 0,
  thinking: thinking_lib.Thinking | None = None,
) -> decode_lib.Decoded:
  """Samples `G` completions of every prefix that ends with a thought.

  The whole solution is read once: its prefixes are the same keys and values
  under different masks.

  Args:
    policy: The completer.
    params: Its parameters.
    rng: Consumed; folded by `row_id`, thought and rollout.
    tokens: Prompt and solution, right-padded.
    thought_end: Position of each thought's last token.
    thought_mask: True where rollouts are wanted.
    row_id: Names the solution.
    config: Sizes and rules.
    shared: Tokens that all prompts begin with, read once; see `prompts`.
    thinking: Where each prefix is in its thinking, [B, T], see
      `thinking.replay`; needed where the config has a say in that, and not
      looked at elsewhere.

  Returns:
    B · T · G rows of what follows each prefix.

  Raises:
    ValueError: If `thinking` is missing.
  """
  if config.thinking is not None and thinking is None:
    raise ValueError(
      "The rollouts' thinking is controlled, and where the prefixes are in it"
      " is not known: pass what thinking.replay returns."
    )
  batch, size = tokens.shape
  thoughts, group = thought_end.shape[1], config.num_rollouts
  before, _ = prompts.read_shared(policy, params, tokens, shared)
  hidden, keys_values = prompts.read_own(policy, params, tokens, shared, before)
  position = jnp.arange(shared, size)[None]
  visible = position[None] <= thought_end[:, :, None]
  visible = jnp.repeat(visible, group, axis=1)[:, :, None]
  # A thought that there is not has no end after what is shared.
  own_end = jnp.maximum(thought_end - shared, 0) if shared else thought_end
  hidden = hidden[jnp.arange(batch)[:, None], own_end]
  context = decode_lib.Context(
    (attention_lib.Segment(keys_values, visible, position), *before),
    jnp.repeat(hidden.reshape(batch * thoughts, -1), group, axis=0),
    jnp.repeat(thought_end.reshape(-1) + 1, group),
  )
  rngs = decode_lib.row_rngs(rng, row_id, thoughts, group)
  row_mask = jnp.repeat(thought_mask.reshape(-1), group)
  each = lambda x: jnp.repeat(x.reshape(-1), group)
  return _decode(
    policy,
    params,
    rngs,
    context,
    row_mask,
    config,
    jax.tree.map(each, thinking),
  )


def _decode(policy, params, rngs, context, row_mask, config, before=None):
  return decode_lib.decode(
    policy,
    params,
    rngs,
    context,
    row_mask,
    config.sampling,
    max_tokens=config.max_tokens,
    stops=stops_lib.Stops(
      config.end_ids,
      config.boundary,
      max_thought_tokens=config.max_thought_tokens,
    ),
    thinking=config.thinking,
    thinking_before=before,
  )
