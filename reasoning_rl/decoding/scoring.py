"""Teacher-forced evaluation: what networks make of tokens already there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import sampling
from reasoning_rl.models import network as network_lib


def completion_logprobs(
  policy: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  config: sampling.SamplingConfig,
) -> tuple[Float[Array, "B G L"], Float[Array, "B G L"]]:
  """Returns each completion token's log-probability, and the entropy there.

  A group's prompt is computed once and is differentiated through.

  Args:
    policy: A network with a language head.
    params: Its parameters.
    prompt: Prompts, right-padded.
    prompt_length: Real prompt tokens.
    completion: Completions of each prompt, right-padded.
    config: The distribution meant: with the sampler's own settings this is
      what `behavior_logprobs` was at sampling time.

  Returns:
    Log-probabilities and entropies; padding holds arbitrary finite values.
  """
  last, hidden = _read(policy, params, prompt, prompt_length, completion)
  before = jnp.concatenate([last[:, None], hidden[:, :-1]], axis=1)
  logits = policy.logits(params, before.reshape(-1, before.shape[-1]))
  logprobs = jax.nn.log_softmax(sampling.behavior_logits(logits, config))
  chosen = jnp.take_along_axis(logprobs, completion.reshape(-1, 1), axis=-1)
  entropy = -jnp.sum(jnp.exp(logprobs) * logprobs, axis=-1)
  return (
    chosen.reshape(completion.shape),
    entropy.reshape(completion.shape),
  )


def completion_thought_logits(
  prm: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  thought_end: Int[Array, "B G T"],
) -> Float[Array, "B G T"]:
  """Returns the thought head's logit at the end of each completion's thoughts.

  A group's prompt is computed once; `thought_end` indexes `completion`.
  """
  _, hidden = _read(prm, params, prompt, prompt_length, completion)
  end = thought_end.reshape(hidden.shape[0], -1)
  at_end = jnp.take_along_axis(hidden, end[..., None], axis=1)
  return prm.scalar(params, at_end, "thought").reshape(thought_end.shape)


def completion_outcome_logits(
  orm: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  completion_length: Int[Array, "B G"],
) -> Float[Array, "B G"]:
  """Returns the outcome head's logit at each completion's last token."""
  _, hidden = _read(orm, params, prompt, prompt_length, completion)
  last = jnp.maximum(completion_length.reshape(-1) - 1, 0)
  at_end = hidden[jnp.arange(hidden.shape[0]), last]
  logits = orm.scalar(params, at_end, "outcome")
  return logits.reshape(completion_length.shape)


def _read(network, params, prompt, prompt_length, completion):
  """Returns the hidden vectors at the prompts' ends and at all completions.

  Both have a row per completion; the prompts are computed once per group.
  """
  batch, group, length = completion.shape
  keys_values, last = decode_lib.prefill(network, params, prompt, prompt_length)
  position = jnp.repeat(prompt_length, group)[:, None]
  hidden, _ = network.apply(
    params,
    completion.reshape(batch * group, length),
    position + jnp.arange(length)[None],
    (decode_lib.prompt_segment(keys_values, prompt_length),),
  )
  return jnp.repeat(last, group, axis=0), hidden


def supervised_logprobs(
  policy: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B L"],
) -> Float[Array, "B L"]:
  """Returns each token's log-probability given those before; first is 0."""
  hidden, _ = policy.apply(params, tokens)
  logprobs = jax.nn.log_softmax(policy.logits(params, hidden[:, :-1]))
  chosen = jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=-1)[..., 0]
  return jnp.pad(chosen, ((0, 0), (1, 0)))


def thought_logits(
  prm: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B L"],
  thought_end: Int[Array, "B T"],
) -> Float[Array, "B T"]:
  """Returns the thought head's logit at the last token of each thought."""
  hidden, _ = prm.apply(params, tokens)
  rows = jnp.arange(tokens.shape[0])[:, None]
  return prm.scalar(params, hidden[rows, thought_end], "thought")


def outcome_logits(
  orm: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B L"],
  length: Int[Array, " B"],
) -> Float[Array, " B"]:
  """Returns the outcome head's logit at each row's last token."""
  hidden, _ = orm.apply(params, tokens)
  rows = jnp.arange(tokens.shape[0])
  return orm.scalar(params, hidden[rows, length - 1], "outcome")
