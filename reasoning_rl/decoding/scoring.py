"""Teacher-forced evaluation: what networks make of tokens already there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reasoning_rl import masking
from reasoning_rl.decoding import certainty, prompts, sampling
from reasoning_rl.models import chunks
from reasoning_rl.models import network as network_lib


def completion_logprobs(
  policy: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  config: sampling.SamplingConfig,
  shared: int = 0,
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
    shared: Tokens that all prompts begin with, computed once and differentiated
      through once; see `prompts`. So in all that follows.

  Returns:
    Log-probabilities and entropies; padding holds arbitrary finite values.
  """
  last, hidden = _read(
    policy, params, prompt, prompt_length, completion, shared
  )

  def measure(before, tokens):
    logits = policy.logits(params, before.reshape(-1, before.shape[-1]))
    logprobs = jax.nn.log_softmax(sampling.behavior_logits(logits, config))
    chosen = jnp.take_along_axis(logprobs, tokens.reshape(-1, 1), axis=-1)
    entropy = -jnp.sum(jnp.exp(logprobs) * logprobs, axis=-1)
    return chosen.reshape(tokens.shape), entropy.reshape(tokens.shape)

  chosen, entropy = chunks.by_position(
    measure,
    shifted(last, hidden),
    completion.reshape(-1, completion.shape[-1]),
    vocab_size=policy.config.vocab_size,
  )
  return chosen.reshape(completion.shape), entropy.reshape(completion.shape)


def completion_thought_logits(
  prm: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  thought_end: Int[Array, "B G T"],
  shared: int = 0,
) -> Float[Array, "B G T"]:
  """Returns the PRM's logit at the end of each completion's thoughts.

  A group's prompt is computed once; `thought_end` indexes `completion`.
  """
  read = _read(prm, params, prompt, prompt_length, completion, shared)
  end = thought_end.reshape(-1, thought_end.shape[-1])
  tokens = completion.reshape(-1, completion.shape[-1])
  return _completion_logits(prm, params, "thought", *read, tokens, end).reshape(
    thought_end.shape
  )


def completion_thought_states(
  network: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  thought_end: Int[Array, "B G T"],
  shared: int = 0,
) -> Float[Array, "B G T _"]:
  """Returns what a thought head reads: the trunk's output at thoughts' ends.

  Arguments as those of `completion_thought_logits`; `_` is D, and with
  `certainty` as many more as it has numbers.
  """
  read = _read(network, params, prompt, prompt_length, completion, shared)
  end = thought_end.reshape(-1, thought_end.shape[-1])
  tokens = completion.reshape(-1, completion.shape[-1])
  own = _completions(network, params, *read, tokens)
  states = _states_at(network, "thought", read[1], end, *own)
  return states.reshape(*thought_end.shape, -1)


def completion_outcome_logits(
  orm: network_lib.Network,
  params: network_lib.Params,
  prompt: Int[Array, "B Lp"],
  prompt_length: Int[Array, " B"],
  completion: Int[Array, "B G L"],
  completion_length: Int[Array, "B G"],
  shared: int = 0,
) -> Float[Array, "B G"]:
  """Returns the ORM's logit at each completion's last token."""
  read = _read(orm, params, prompt, prompt_length, completion, shared)
  end = jnp.maximum(completion_length.reshape(-1, 1) - 1, 0)
  tokens = completion.reshape(-1, completion.shape[-1])
  return _completion_logits(orm, params, "outcome", *read, tokens, end).reshape(
    completion_length.shape
  )


def _completion_logits(network, params, head, last, hidden, tokens, end):
  """Returns a reward model's logits [R, T] at the positions `end` of rows."""
  own = _completions(network, params, last, hidden, tokens)
  return _logits_at(network, params, head, hidden, end, *own)


def _completions(network, params, last, hidden, tokens):
  """Returns, of completions alone, the last two arguments of `_logits_at`."""
  before = shifted(last, hidden)
  logprobs = lambda: token_logprobs(network, params, before, tokens)
  return logprobs, jnp.full(len(tokens), -1)


def _logits_at(network, params, head, hidden, end, logprobs, prompt_end):
  """Returns the logits of a head, or of the log-probability of all up to `end`.

  Args:
    network: A reward model.
    params: Its parameters.
    head: What a model that is not implicit reads.
    hidden: Its trunk's output.
    end: Positions in it.
    logprobs: Returns each token's log-probability, 0 where it does not count;
      asked of implicit models and of certainty alone.
    prompt_end: Position of the last token before the first thought, or -1.
  """
  if "implicit" not in network.config.heads:
    states = _states_at(network, head, hidden, end, logprobs, prompt_end)
    return network.scalar(params, states, head)
  total = jnp.cumsum(logprobs(), axis=1)
  return network.implicit(params, jnp.take_along_axis(total, end, axis=1))


def _states_at(network, head, hidden, end, logprobs, prompt_end):
  """Returns what a head reads at the positions `end`; see `_logits_at`."""
  states = jnp.take_along_axis(hidden, end[..., None], axis=1)
  if head != "thought" or not network.config.certainty:
    return states
  numbers = certainty.of_thoughts(logprobs(), prompt_end, end)
  return certainty.joined(states, numbers)


def shifted(
  last: Float[Array, "R D"], hidden: Float[Array, "R L D"]
) -> Float[Array, "R L D"]:
  """Returns the hidden vector before each token; `last` is before the first."""
  return jnp.concatenate([last[:, None], hidden[:, :-1]], axis=1)


def token_logprobs(
  network: network_lib.Network,
  params: network_lib.Params,
  before: Float[Array, "R L D"],
  tokens: Int[Array, "R L"],
) -> Float[Array, "R L"]:
  """Returns each token's log-probability from the hidden vector before it."""

  def measure(before, tokens):
    logits = network.logits(params, before)
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)

  return chunks.by_position(
    measure, before, tokens, vocab_size=network.config.vocab_size
  )


def _read(network, params, prompt, prompt_length, completion, shared):
  """Returns the hidden vectors at the prompts' ends and at all completions.

  Both have a row per completion; the prompts are computed once per group.
  """
  batch, group, length = completion.shape
  segments, last = prompts.read(network, params, prompt, prompt_length, shared)
  position = jnp.repeat(prompt_length, group)[:, None]
  hidden, _ = network.apply(
    params,
    completion.reshape(batch * group, length),
    position + jnp.arange(length)[None],
    segments,
  )
  return jnp.repeat(last, group, axis=0), hidden


def supervised_logprobs(
  policy: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B L"],
  shared: int = 0,
) -> Float[Array, "B L"]:
  """Returns each token's log-probability given those before.

  It is 0 for the first token and for the `shared` ones.
  """
  last, hidden = _read_joined(policy, params, tokens, shared)
  chosen = _next_logprobs(policy, params, last, hidden, tokens[:, shared:])
  return jnp.pad(chosen, ((0, 0), (shared, 0)))


def _read_joined(network, params, tokens, shared):
  """Returns the hidden vector [1, D] before the rows' own tokens, and at these.

  None stands before rows that share nothing.
  """
  before, last = prompts.read_shared(network, params, tokens, shared)
  hidden, _ = prompts.read_own(network, params, tokens, shared, before)
  return last, hidden


def _next_logprobs(network, params, last, hidden, tokens):
  """Returns each token's log-probability from the hidden vector before it."""
  if last is None:
    chosen = token_logprobs(network, params, hidden[:, :-1], tokens[:, 1:])
    return jnp.pad(chosen, ((0, 0), (1, 0)))
  last = jnp.broadcast_to(last, (len(tokens), last.shape[1]))
  return token_logprobs(network, params, shifted(last, hidden), tokens)


def thought_logits(
  prm: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B L"],
  prompt_length: Int[Array, " B"],
  thought_end: Int[Array, "B T"],
  shared: int = 0,
) -> Float[Array, "B T"]:
  """Returns the PRM's logit at the last token of each thought."""
  return _joined_logits(
    prm, params, "thought", tokens, prompt_length, thought_end, shared
  )


def outcome_logits(
  orm: network_lib.Network,
  params: network_lib.Params,
  tokens: Int[Array, "B L"],
  prompt_length: Int[Array, " B"],
  length: Int[Array, " B"],
  shared: int = 0,
) -> Float[Array, " B"]:
  """Returns the ORM's logit at each row's last token."""
  end = length[:, None] - 1
  return _joined_logits(
    orm, params, "outcome", tokens, prompt_length, end, shared
  )[:, 0]


def _joined_logits(network, params, head, tokens, prompt_length, end, shared):
  """Returns a reward model's logits at the positions `end` of joined rows."""
  last, hidden = _read_joined(network, params, tokens, shared)

  def logprobs():
    own = tokens[:, shared:]
    each = _next_logprobs(network, params, last, hidden, own)
    in_prompt = masking.length_mask(prompt_length - shared, own.shape[1])
    return jnp.where(in_prompt, 0.0, each)

  if shared:  # Where a row has fewer thoughts, there is no end.
    end = jnp.maximum(end - shared, 0)
  prompt_end = prompt_length - shared - 1
  return _logits_at(network, params, head, hidden, end, logprobs, prompt_end)
