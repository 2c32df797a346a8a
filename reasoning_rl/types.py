"""The records that cross a border between packages, and the shape legend.

Axis legend, used in every annotation and einsum of the project:

  B problems or sequences      G rollouts per problem     L token positions
  M KV-cache capacity          T thoughts per trajectory  C tokens in a thought
  N nodes in a tree            A candidate thoughts       W frontier width
  S leaves per tree per pass   D model, F MLP, V vocab    P pool token slots
  H query heads, J kv heads, K head size

`Lp` is the number of prompt positions where prompt and completion are apart.
Every mask is bool and True means "use it". Masks come from lengths, never from
token ids: a padding id may be a real token. Every leaf has `B` as axis 0.
"""

from __future__ import annotations

import flax.struct
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Trajectory:
  """A batch of sampled solutions and what has been learnt about them.

  The rollouts of one problem are consecutive rows. Leaves are NumPy arrays on
  the host and JAX arrays on the device.

  Attributes:
    problem_id: Index of the problem in its task and split.
    prompt: Prompt token ids, right-padded.
    prompt_length: Real prompt tokens.
    completion: Completion token ids, right-padded; an end token is included.
    completion_length: Real completion tokens.
    thought_end: Index into `completion` of the last token of each thought.
    thought_count: Real thoughts.
    behavior_logprobs: Log-probability of each completion token under the
      distribution actually sampled (temperature, top-k and top-p included).
    policy_logprobs: The same under the policy's own distribution.
    forced_mask: True at completion tokens that thinking control put there; the
      policy did not choose them, and nobody is to learn to say them.
    outcome_reward: What the verifier paid: 1 right, 0 wrong.
    labels: Probability in [0, 1] that each thought is correct.
    label_mask: True where `labels` counts.
    thought_rewards: PRM score in [0, 1] of each thought, where one was given.
    thought_visits: Visits of the thought's node, where a tree was searched.
    thought_values: Mean return on entering the thought's node, likewise; of a
      final thought what it was paid.
  """

  problem_id: Int[Array, " B"]
  prompt: Int[Array, "B Lp"]
  prompt_length: Int[Array, " B"]
  completion: Int[Array, "B L"]
  completion_length: Int[Array, " B"]
  thought_end: Int[Array, "B T"]
  thought_count: Int[Array, " B"]
  behavior_logprobs: Float[Array, "B L"]
  policy_logprobs: Float[Array, "B L"]
  forced_mask: Bool[Array, "B L"]
  outcome_reward: Float[Array, " B"]
  labels: Float[Array, "B T"]
  label_mask: Bool[Array, "B T"]
  thought_rewards: Float[Array, "B T"]
  thought_visits: Int[Array, "B T"]
  thought_values: Float[Array, "B T"]


@flax.struct.dataclass
class SupervisedBatch:
  """Prompt and completion in one row, for likelihood training.

  Attributes:
    tokens: Prompt and completion, right-padded.
    length: Real tokens.
    loss_mask: True at positions whose token is to be predicted.
    shared: Tokens that all prompts begin with, so that they are computed once.
      Whoever sets it has compared them, and every prompt goes on after them.
  """

  tokens: Int[Array, "B L"]
  length: Int[Array, " B"]
  loss_mask: Bool[Array, "B L"]
  shared: int = flax.struct.field(pytree_node=False, default=0)


@flax.struct.dataclass
class ThoughtLabels:
  """Supervision for the PRM and the ORM; PRM800K calls a thought a step.

  Attributes:
    tokens: Prompt and completion, right-padded.
    prompt_length: Real tokens of the prompt.
    length: Real tokens.
    thought_end: Position in `tokens` of the last token of each thought.
    labels: Probability that the thought is correct, in [0, 1].
    label_mask: True where `labels` counts in the loss.
    outcome_reward: The verifier's verdict on the whole row, in [0, 1].
    shared: As in `SupervisedBatch`.
  """

  tokens: Int[Array, "B L"]
  prompt_length: Int[Array, " B"]
  length: Int[Array, " B"]
  thought_end: Int[Array, "B T"]
  labels: Float[Array, "B T"]
  label_mask: Bool[Array, "B T"]
  outcome_reward: Float[Array, " B"]
  shared: int = flax.struct.field(pytree_node=False, default=0)


@flax.struct.dataclass
class ThoughtStates:
  """Supervision for a thought head on a trunk that does not change.

  Attributes:
    states: What the head reads of each thought: the trunk's output at its last
      token, and how likely it was if the network has `certainty`.
    labels: Probability that the thought is correct, in [0, 1].
    label_mask: True where `labels` counts in the loss.
  """

  states: Float[Array, "B T _"]
  labels: Float[Array, "B T"]
  label_mask: Bool[Array, "B T"]


@flax.struct.dataclass
class PolicyBatch:
  """Groups of rollouts for a policy update; a group's prompt stands once.

  Attributes:
    prompt: Prompt token ids, right-padded.
    prompt_length: Real prompt tokens.
    completion: Completions of each prompt, right-padded.
    completion_mask: True at real completion tokens that enter the loss.
    behavior_logprobs: Of the distribution that sampled `completion`.
    reference_logprobs: Under the frozen policy that anchors the KL penalty.
    advantages: Credit of each completion token.
    shared: As in `SupervisedBatch`.
  """

  prompt: Int[Array, "B Lp"]
  prompt_length: Int[Array, " B"]
  completion: Int[Array, "B G L"]
  completion_mask: Bool[Array, "B G L"]
  behavior_logprobs: Float[Array, "B G L"]
  reference_logprobs: Float[Array, "B G L"]
  advantages: Float[Array, "B G L"]
  shared: int = flax.struct.field(pytree_node=False, default=0)
