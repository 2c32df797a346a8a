"""What a config describes: the task, its tokens, the networks and their sizes.

Every pipeline starts here; below this line nobody knows what a ConfigDict is.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Int

from reasoning_rl.data import batching, boundaries, tokenizers
from reasoning_rl.decoding import expand, rollouts, sampling
from reasoning_rl.decoding import thinking as thinking_lib
from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import (
  devices,
  lengths,
  methods,
  networks,
  problem_batch,
  sharing,
  texts,
)
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import registry
from reasoning_rl.training import sharding as sharding_lib

UNREADABLE = "\ufffd"  # Stands for a text with an id that no token has.


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
  """The fixed parts of a run.

  Attributes:
    config: The resolved config.
    task: Problems and their verifier.
    tokenizer: Text to ids and back.
    boundary: What ends a thought, in the tokenizer's ids.
    policy: The network that writes thoughts.
    prm: The network that scores them; the policy itself on a shared trunk.
    orm: The network that scores whole solutions.
    mesh: The devices of the learners.
    problem_mesh: Those over which sampling and searching spread problems.
    prompt_size: Most prompt tokens, Lp.
    completion_size: Most completion tokens, L.
    thought_size: Most tokens in a thought, C.
    max_thoughts: Most thoughts in a solution, T.
  """

  config: ml_collections.ConfigDict
  task: task_base.Task
  tokenizer: tokenizers.Tokenizer
  boundary: boundaries.Boundary
  policy: network_lib.Network
  prm: network_lib.Network
  orm: network_lib.Network
  mesh: jax.sharding.Mesh
  problem_mesh: jax.sharding.Mesh
  prompt_size: int
  completion_size: int
  thought_size: int
  max_thoughts: int

  @property
  def shared_trunk(self) -> bool:
    """Whether the PRM is a head on the policy."""
    return self.config.prm.trunk == "shared"

  @functools.cached_property
  def end_ids(self) -> tuple[int, ...]:
    """The ids that end a solution; a chat's tokenizer has its turns' ends."""
    more = getattr(self.tokenizer, "end_ids", ())
    return tuple(dict.fromkeys((self.tokenizer.end_id, *more)))

  @functools.cached_property
  def thinking(self) -> thinking_lib.ThinkingConfig | None:
    """How long is thought; None without control."""
    return lengths.thinking(self.config.thinking, self.tokenizer)

  def trim_prompts(
    self, problems: problem_batch.ProblemBatch
  ) -> Int[np.ndarray, "B _"]:
    """Returns the prompts in the size of their bucket, see `data.buckets`."""
    buckets = self.config.data.buckets
    return lengths.trim(problems.prompt, problems.prompt_length, buckets)

  @functools.cached_property
  def common_prompt(self) -> Int[np.ndarray, " Lp"]:
    """The tokens that all prompts begin with, if they are worth sharing."""
    least = self.config.data.share_prefix
    # Names that change from row to row may stand there.
    if not least or len(self.interchangeable_ids):
      return np.zeros(0, np.int32)
    prompts = map(self.encode_prompt, sharing.first_problems(self.task))
    return sharing.common(prompts, least, self.tokenizer.decode)

  def shared(
    self, tokens: Int[np.ndarray, "B _"], length: Int[np.ndarray, " B"]
  ) -> int:
    """Returns how many of its first tokens a batch may share."""
    return sharing.count(self.common_prompt, tokens, length)

  @property
  def search_prm(self) -> network_lib.Network | None:
    """The second network a search consults, None on a shared trunk."""
    return None if self.shared_trunk else self.prm

  @property
  def has_base(self) -> bool:
    """Whether learning starts from a pretrained model or trains adapters."""
    return bool(self.config.model.path or self.policy.config.lora_rank)

  @property
  def adapters(self) -> str | None:
    """Which parameters learn, where the others are a base; None: all do."""
    network = self.policy.config
    if not network.lora_rank:
      return None
    # Layers that a reward model has on top of the policy's are its own.
    first = network.num_layers
    own = [f"layers_{first + i}" for i in range(self.config.prm.extra_layers)]
    own += [f"{head}_head" for head in (*network_lib.SCALAR_HEADS, "implicit")]
    return rf".*/lora_[ab]|({'|'.join(own)})/.*"

  @property
  def sampling(self) -> sampling.SamplingConfig:
    """How tokens are sampled."""
    return sampling.SamplingConfig(**self.config.sampling)

  @functools.cached_property
  def answer_check(self) -> task_base.AnswerCheck | None:
    """The task's on-device verifier, None where it has none."""
    if self.config.tokenizer.kind != "character":
      return None
    if not isinstance(self.task, task_base.DeviceVerified):
      return None
    return self.task.make_answer_check(
      self.tokenizer.encode, self.tokenizer.end_id
    )

  @functools.cached_property
  def interchangeable_ids(self) -> Int[np.ndarray, " K"]:
    """Ids whose permutations mean nothing to the task; see `data.rename`."""
    if not self.config.data.rename or self.config.tokenizer.kind != "character":
      return np.zeros(0, np.int32)
    if not isinstance(self.task, task_base.Lettered):
      return np.zeros(0, np.int32)
    return np.array(self.tokenizer.encode(self.task.interchangeable), np.int32)

  def map_problems(
    self, fn: Callable[..., Any], num_shared: int, **how: tuple[Any, ...]
  ) -> Callable[..., Any]:
    """Returns `fn` jitted over all devices; see `sharding.map_problems`."""
    return sharding_lib.map_problems(fn, self.problem_mesh, num_shared, **how)

  def pieces(
    self, count: int, most: int
  ) -> Iterator[tuple[Int[np.ndarray, " B"], int]]:
    """Yields the indices of pieces of `count` problems, and how many count.

    All pieces have one size, so that one shape is compiled and all devices get
    as much: what is missing is filled up with problems of the beginning.

    Args:
      count: Problems.
      most: Problems in a piece.
    """
    shards = sharding_lib.num_shards(self.problem_mesh)
    size = min(count, max(1, most))
    if size >= shards:
      size = min(-(-size // shards), max(1, most // shards)) * shards
    for start in range(0, count, size):
      yield np.arange(start, start + size) % count, min(size, count - start)

  def rng(self, *path: int) -> jax.Array:
    """Returns the key at a `fold_in` path from the run's seed."""
    key = jax.random.key(self.config.seed)
    for part in path:
      key = jax.random.fold_in(key, part)
    return key

  def with_search(self, **changes: Any) -> Experiment:
    """Returns the run with other settings of its searches.

    Args:
      **changes: Keys of the config's section `search`, such as `pb_c_init`.
    """
    unknown = sorted(changes.keys() - self.config.search.keys())
    if unknown:
      known = ", ".join(sorted(self.config.search))
      raise ConfigError(f"search has no key {unknown[0]!r}; it has {known}.")
    config = copy.deepcopy(self.config)
    config.search.update(changes)
    return dataclasses.replace(self, config=config)

  def search_params(self, policy: Any, prm: Any) -> expand.SearchParams:
    """Returns the parameters that a search consults.

    On a shared trunk the policy's own parameters with the PRM's head are
    those of both.
    """
    policy = self.policy.for_sampling(policy)
    if self.shared_trunk:
      return expand.SearchParams(
        {**policy, "thought_head": prm["thought_head"]}
      )
    return expand.SearchParams(policy, self.prm.for_sampling(prm))

  def problems(
    self, split: str, start: int, count: int
  ) -> problem_batch.ProblemBatch:
    """Returns `count` problems of a split from index `start` on."""
    return self._batch(
      tuple(
        self.task.problem(split, index) for index in range(start, start + count)
      )
    )

  def different_problems(
    self, split: str, start: int, count: int, key: str = ""
  ) -> problem_batch.ProblemBatch:
    """Returns `count` problems from `start` on, those that repeat left out.

    Args:
      split: One of the task's.
      start: Index of the first.
      count: How many.
      key: Of the config, which says how many.
    """
    fewer = f"lower {key}" if key else "ask for fewer"
    advice = f"{fewer}, or widen the task"
    return self._batch(
      task_base.different(self.task, split, start, count, advice)
    )

  def _batch(
    self, problems: tuple[task_base.Problem, ...]
  ) -> problem_batch.ProblemBatch:
    prompt, length = batching.prompt_batch(
      [self.encode_prompt(p) for p in problems], self.prompt_size
    )
    answers = [self.tokenizer.encode(p.answer) for p in problems]
    answer, _ = batching.pad_rows(answers, max(map(len, answers)))
    ids = np.array([p.id for p in problems], np.int32)
    shared = self.shared(prompt, length)
    return problem_batch.ProblemBatch(
      problems, prompt, length, ids, answer, shared
    )

  def encode_prompt(self, problem: task_base.Problem) -> list[int]:
    """Returns the tokens that the policy reads of a problem."""
    if problem.messages:
      return texts.chat_ids(self.config.tokenizer, self.tokenizer, problem)
    first, *rest = map(
      self.tokenizer.encode, problem.prompt.split(task_base.END)
    )
    if self.tokenizer.bos_id is not None:  # A chat's template has its own.
      first = [self.tokenizer.bos_id, *first]
    return first + [i for part in rest for i in (self.tokenizer.end_id, *part)]

  def encode_solution(self, thoughts: Sequence[str]) -> list[int]:
    """Returns a solution's tokens: the end token closes the last thought."""
    text = "".join(thoughts)
    return [*self.tokenizer.encode(text[:-1]), self.tokenizer.end_id]

  def completion_text(self, tokens: Sequence[int]) -> str:
    """Returns the text the verifier reads; an unfinished one stays open.

    A completion that was cut off right after newlines is not a complete one,
    so its last thought is left open too.
    """
    text = self.decode(tokens)
    return text + "\n" if self.is_ended(tokens) else text.rstrip("\n")

  def is_ended(self, tokens: Sequence[int]) -> bool:
    """Returns whether a completion ended by itself and was not cut off."""
    return len(tokens) > 0 and int(tokens[-1]) in self.end_ids

  def decode(self, tokens: Sequence[int]) -> str:
    """Returns the text of tokens that a policy chose.

    A model may have more rows than its tokenizer has ids. Where it chose one of
    those the whole is `UNREADABLE`, which answers nothing.
    """
    if any(index >= self.tokenizer.vocab_size for index in tokens):
      return UNREADABLE
    return self.tokenizer.decode(tokens)

  def rollout_config(
    self, num_rollouts: int, how: sampling.SamplingConfig | None = None
  ) -> rollouts.RolloutConfig:
    """Returns the limits and rules of rollouts."""
    return rollouts.RolloutConfig(
      num_rollouts=num_rollouts,
      max_tokens=self.completion_size,
      max_thought_tokens=self.thought_size,
      boundary=self.boundary,
      end_ids=self.end_ids,
      sampling=self.sampling if how is None else how,
      thinking=self.thinking,
    )

  def expand_config(
    self,
    num_candidates: int,
    draw: str,
    how: sampling.SamplingConfig | None = None,
  ) -> expand.ExpandConfig:
    """Returns the limits and rules of expansions."""
    how = self.sampling if how is None else how
    if draw != "independent":  # Those are samples, made as samples are.
      top_p = min(how.top_p, self.config.search.top_p)
      how = dataclasses.replace(how, top_p=top_p)
    return expand.ExpandConfig(
      num_candidates=num_candidates,
      max_thoughts=self.max_thoughts,
      max_thought_tokens=self.thought_size,
      boundary=self.boundary,
      end_ids=self.end_ids,
      sampling=how,
      draw=draw,
      lanes=self.config.search.lanes,
      value_error=self.config.search.value_error,
    )


def build(
  config: ml_collections.ConfigDict, directory: pathlib.Path
) -> Experiment:
  """Builds what the config describes; every mistake is a `ConfigError`.

  Args:
    config: The resolved config.
    directory: Where a SentencePiece model is trained, once, if one is wanted.
  """
  try:
    return _build(config, directory)
  except (ValueError, TypeError) as error:
    if isinstance(error, task_base.TaskError):
      raise
    raise ConfigError(f"the config cannot be used: {error}") from error


def _build(config, directory) -> Experiment:
  known = config.task.name in config.task and config.task.name != "name"
  options = config.task[config.task.name].to_dict() if known else {}
  # Problems do not depend on the run's seed: seeds share their held-out set.
  task = registry.make(config.task.name, **options)
  tokenizer = texts.make_tokenizer(config, task, directory)
  found = networks.make(config, tokenizer)
  mesh, problem_mesh = devices.meshes(config.mesh)
  boundary = boundaries.boundary(tokenizer, config.data.thoughts)
  experiment = Experiment(
    config=config,
    task=task,
    tokenizer=tokenizer,
    boundary=boundary,
    **found._asdict(),
    mesh=mesh,
    problem_mesh=problem_mesh,
    **texts.sizes(
      config.data, task, boundary.every, tokenizer.bos_id is not None
    ),
  )
  lengths.check_context(
    config,
    experiment.prompt_size,
    experiment.completion_size,
    experiment.policy.config.max_positions,
  )
  lengths.check(config, experiment.thinking, experiment.completion_size)
  methods.check(config)
  return experiment
