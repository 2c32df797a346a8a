"""Policy reinforcement learning: sample, verify, score, credit, update.

Each batch is sampled from the current policy on problems nobody has solved for
it; the final answer is verified, the PRM scores every thought, and the group's
rewards become advantages (`rl/advantages.py`).
"""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Bool, Float

from reasoning_rl import masking, types
from reasoning_rl.decoding import scoring
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import imitate, losses, train_sft
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.rl import advantages as advantages_lib
from reasoning_rl.rl import credit as credit_lib
from reasoning_rl.rl import groups
from reasoning_rl.rl import losses as rl_losses
from reasoning_rl.training import checkpoint as checkpoint_lib

# First training problem of policy learning, far from those of `collect`.
_FIRST_PROBLEM = 1_000_000


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Runs one iteration of policy learning alone, after imitation if it is."""
  with stage_lib.open_stage(config, path) as stage:
    imitation = imitate.name_of("policy_0")
    if stage.workdir.finished(imitation):
      policy = stage.policy(imitation)
    else:
      policy = stage.input_policy(train_sft.NAME)
    prm = None
    if config.rl.credit.kind in ("pure", "process"):
      prm = _input_prm(stage)
    train(stage, "policy_0", 0, policy, prm)


def train(
  stage: stage_lib.Stage,
  name: str,
  iteration: int,
  policy: Any,
  prm: Any,
  credit: advantages_lib.CreditConfig | None = None,
) -> dict[str, Any]:
  """Trains the policy for an iteration; its checkpoints are `policy/<name>`.

  Args:
    stage: The run.
    name: Names the checkpoints and metrics.
    iteration: Chooses the training problems and random numbers.
    policy: Where to start, and the KL's reference.
    prm: Scores thoughts, where the credit wants scores.
    credit: How rollouts are credited; by default as the config says.
  """
  if credit is None:
    credit = advantages_lib.CreditConfig(**stage.config.rl.credit)
  num_steps = stage.config.rl.steps

  def work():
    learner = _Learner(stage, iteration, policy, prm, credit)
    task = fit_lib.Fit(
      name=name,
      loss_fn=losses.policy(
        stage.experiment.policy,
        rl_losses.PolicyLossConfig(**stage.config.rl.loss),
        stage.experiment.sampling,
      ),
      batch_at=learner.batch_at,
      num_steps=num_steps,
      optimizer=stage.config.rl.optimizer,
      repeat=stage.config.rl.updates_per_batch,
      adapters=stage.experiment.adapters,
      accumulate=stage.config.rl.accumulate,
    )
    path = (stage_lib.STREAMS["policy"], iteration)
    stage.fit(task, policy, stage.policy_directory(name), *path)
    return {"steps": num_steps, "credit": credit.kind} | learner.summary()

  return stage.once(name, work)


class _Learner:
  """Makes a credited batch of rollouts from the current parameters."""

  def __init__(self, stage, iteration, reference, prm, credit):
    config = stage.config.rl
    self._stage, self._iteration = stage, iteration
    self._reference, self._prm, self._credit = reference, prm, credit
    self._needs_scores = credit.kind in ("pure", "process")
    self._needs_reference = config.loss.kl_coefficient > 0
    self._sampler = sampler_lib.Sampler(
      stage.experiment, config.rollouts, partial_credit=True
    )
    self._assemble = stage.experiment.map_problems(
      self._assemble_fn, 2, static_argnames=("shared",)
    )
    self._tokens = 0

  def batch_at(self, step: int, params: Any):
    """Returns the batch of a step and what it says of the policy."""
    experiment, config = self._stage.experiment, self._stage.config.rl
    count = config.problems_per_step
    turn = step // config.updates_per_batch
    batches = -(-config.steps // config.updates_per_batch)
    start = _FIRST_PROBLEM + (self._iteration * batches + turn) * count
    problems = experiment.problems("train", start, count)
    rng = experiment.rng(stage_lib.STREAMS["policy"], self._iteration)
    samples = self._sampler.sample(params, rng, problems)
    batch, metrics = self._assemble(
      self._reference,
      self._prm,
      samples,
      experiment.trim_prompts(problems),
      problems.prompt_length,
      shared=problems.shared,
    )
    self._tokens += int(np.sum(np.asarray(samples.decoded.length)))
    return batch, {k: float(np.mean(v)) for k, v in metrics.items()}

  def _assemble_fn(
    self, reference, prm, samples, prompt, prompt_length, shared
  ):
    """Scores and credits one batch of samples; metrics are by problem."""
    experiment = self._stage.experiment
    group = self._stage.config.rl.rollouts
    grouped = lambda x: x.reshape(-1, group, *x.shape[1:])
    decoded = jax.tree.map(grouped, samples.decoded)
    end, count = grouped(samples.thought_end), grouped(samples.thought_count)
    reward = grouped(samples.outcome_reward)
    decided = jax.tree.map(grouped, samples.decided_mask)
    mask = masking.length_mask(count, end.shape[-1])
    scores = jnp.zeros(mask.shape, jnp.float32)
    rows = prompt, prompt_length, decoded.tokens
    if self._needs_scores:
      scores = jax.nn.sigmoid(
        scoring.completion_thought_logits(
          experiment.prm, prm, *rows, end, shared
        )
      )
    per_thought = advantages_lib.thought_advantages(
      self._credit, reward, scores, mask, decided
    )
    size = decoded.tokens.shape[-1]
    reference_logprobs = decoded.behavior_logprobs
    if self._needs_reference:
      reference_logprobs, _ = scoring.completion_logprobs(
        experiment.policy, reference, *rows, experiment.sampling, shared
      )
    batch = types.PolicyBatch(
      prompt=prompt,
      prompt_length=prompt_length,
      completion=decoded.tokens,
      completion_mask=_learnt_mask(decoded, decided),
      behavior_logprobs=decoded.behavior_logprobs,
      reference_logprobs=reference_logprobs,
      advantages=credit_lib.thoughts_to_tokens(
        per_thought, end, count, decoded.length, size
      ),
      shared=shared,
    )
    metrics = {
      "reward": _mean_reward(reward, decided),
      "mixed_groups": groups.mixed_group_mask(reward, decided),
      "length": decoded.length.mean(axis=1),
      "thoughts": count.mean(axis=1),
      "finished": decoded.stopped_mask.mean(axis=1),
    }
    if decided is not None:
      metrics["undecided"] = (~decided).mean(axis=1)
    if decoded.thinking_length is not None:
      metrics["thinking"] = decoded.thinking_length.mean(axis=1)
    if self._needs_scores:
      metrics["thought_reward"] = masking.masked_mean(scores, mask, (1, 2))
    return batch, metrics

  def summary(self) -> dict[str, Any]:
    """Returns what the learning cost since the process started."""
    return self._sampler.summary() | {"sampled_tokens": self._tokens}


def _learnt_mask(decoded, decided):
  """Returns which tokens teach: the policy's own, where there is a verdict."""
  mask = masking.length_mask(decoded.length, decoded.tokens.shape[-1])
  if decoded.forced_mask is not None:
    mask &= ~decoded.forced_mask
  if decided is not None:  # Nobody knows what the others should learn.
    mask &= decided[..., None]
  return mask


def _mean_reward(
  reward: Float[Array, "B G"], decided: Bool[Array, "B G"] | None
) -> Float[Array, " B"]:
  """Returns the mean reward of each problem's decided rollouts."""
  if decided is None:
    return reward.mean(axis=1)
  return masking.masked_mean(reward, decided, 1)


def _input_prm(stage: stage_lib.Stage) -> Any:
  """Returns the PRM a lone stage uses: `inputs.prm`, else `prm_0`."""
  given = stage.config.inputs.prm
  path = pathlib.Path(given) if given else stage.prm_directory("prm_0")
  if checkpoint_lib.latest_step(path) is None:
    raise stage_lib.ConfigError(
      f"there is no PRM in {path}: run scripts/train_prm.py in the same"
      " workdir, name a checkpoint folder with --config.inputs.prm=DIR, or set"
      " --config.rl.credit.kind=outcome."
    )
  return stage.load(stage.experiment.prm, path)
