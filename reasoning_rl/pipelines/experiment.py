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

from reasoning_rl.data import batching, tokenizers
from reasoning_rl.decoding import expand, rollouts, sampling
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import devices, methods
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import registry
from reasoning_rl.training import sharding as sharding_lib

_TOKENIZER_PROBLEMS = 500  # Texts that a SentencePiece model is trained on.


@dataclasses.dataclass(frozen=True)
class ProblemBatch:
  """Problems and their prompts as tokens.

  Attributes:
    problems: The problems.
    prompt: Prompt token ids, right-padded.
    prompt_length: Real prompt tokens.
    problem_id: Each problem's index in its split.
    answer: Answer token ids, right-padded.

  Raises:
    ConfigError: If a prompt is empty: there is nothing to go on from.
  """

  problems: tuple[task_base.Problem, ...]
  prompt: Int[np.ndarray, "B Lp"]
  prompt_length: Int[np.ndarray, " B"]
  problem_id: Int[np.ndarray, " B"]
  answer: Int[np.ndarray, "B La"]

  def __post_init__(self):
    """Refuses empty prompts, which a sampler could not tell from padding."""
    empty = self.problem_id[self.prompt_length < 1]
    if len(empty):
      raise ConfigError(
        f"problem {empty[0]} has an empty prompt: give it at least one token."
      )

  def __len__(self) -> int:
    """Returns the number of problems."""
    return len(self.problems)


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
  """The fixed parts of a run.

  Attributes:
    config: The resolved config.
    task: Problems and their verifier.
    tokenizer: Text to ids and back.
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

  @property
  def search_prm(self) -> network_lib.Network | None:
    """The second network a search consults, None on a shared trunk."""
    return None if self.shared_trunk else self.prm

  @property
  def adapters(self) -> str | None:
    """Which parameters learn, where the others are a base; None: all do."""
    network = self.config.network
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
    return self.task.make_answer_check(
      self.tokenizer.encode, self.tokenizer.end_id
    )

  @functools.cached_property
  def interchangeable_ids(self) -> Int[np.ndarray, " K"]:
    """Ids whose permutations mean nothing to the task; see `data.rename`."""
    if not self.config.data.rename or self.config.tokenizer.kind != "character":
      return np.zeros(0, np.int32)
    return np.array(self.tokenizer.encode(self.task.interchangeable), np.int32)

  def map_problems(
    self,
    fn: Callable[..., Any],
    num_shared: int,
    donate_argnums: tuple[int, ...] = (),
  ) -> Callable[..., Any]:
    """Returns `fn` jitted over all devices; see `sharding.map_problems`."""
    return sharding_lib.map_problems(
      fn, self.problem_mesh, num_shared, donate_argnums
    )

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
    policy = self.policy.merge(policy)
    if self.shared_trunk:
      return expand.SearchParams(
        {**policy, "thought_head": prm["thought_head"]}
      )
    return expand.SearchParams(policy, self.prm.merge(prm))

  def problems(self, split: str, start: int, count: int) -> ProblemBatch:
    """Returns `count` problems of a split from index `start` on."""
    return self._batch(
      tuple(
        self.task.problem(split, index) for index in range(start, start + count)
      )
    )

  def different_problems(
    self, split: str, start: int, count: int
  ) -> ProblemBatch:
    """Returns `count` problems from `start` on, those that repeat left out."""
    return self._batch(task_base.different(self.task, split, start, count))

  def _batch(self, problems: tuple[task_base.Problem, ...]) -> ProblemBatch:
    encode = self.tokenizer.encode
    prompt, length = batching.prompt_batch(
      [encode(p.prompt) for p in problems], self.prompt_size
    )
    answers = [encode(p.answer) for p in problems]
    answer, _ = batching.pad_rows(answers, max(map(len, answers)))
    ids = np.array([p.id for p in problems], np.int32)
    return ProblemBatch(problems, prompt, length, ids, answer)

  def encode_solution(self, thoughts: Sequence[str]) -> list[int]:
    """Returns a solution's tokens: the end token closes the last thought."""
    text = "".join(thoughts)
    return [*self.tokenizer.encode(text[:-1]), self.tokenizer.end_id]

  def completion_text(self, tokens: Sequence[int]) -> str:
    """Returns the text the verifier reads; an unfinished one stays open.

    A completion that was cut off right after a newline is not a complete one,
    so its last thought is left open too.
    """
    text = self.tokenizer.decode(tokens)
    ended = len(tokens) > 0 and tokens[-1] == self.tokenizer.end_id
    return text + "\n" if ended else text.removesuffix("\n")

  def rollout_config(
    self, num_rollouts: int, how: sampling.SamplingConfig | None = None
  ) -> rollouts.RolloutConfig:
    """Returns the limits and rules of rollouts."""
    return rollouts.RolloutConfig(
      num_rollouts=num_rollouts,
      max_tokens=self.completion_size,
      max_thought_tokens=self.thought_size,
      thought_end_id=self.tokenizer.thought_end_id,
      end_id=self.tokenizer.end_id,
      sampling=self.sampling if how is None else how,
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
      thought_end_id=self.tokenizer.thought_end_id,
      end_id=self.tokenizer.end_id,
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
  tokenizer = _tokenizer(config, task, directory)
  if config.prm.trunk not in ("separate", "shared"):
    raise ValueError(
      f"prm.trunk is {config.prm.trunk!r}; use 'separate' or 'shared'."
    )
  if config.prm.kind not in ("implicit", "head"):
    raise ValueError(
      f"prm.kind is {config.prm.kind!r}; use 'implicit' or 'head'."
    )
  shared = config.prm.trunk == "shared"
  if shared and config.prm.kind == "implicit":
    raise ValueError(
      "prm.trunk is 'shared', and an implicit PRM is a language model of its"
      " own: set prm.kind to 'head', or prm.trunk to 'separate'."
    )
  policy = _network(config, tokenizer, 0, "language", *["thought"] * shared)
  make_reward_model = functools.partial(_reward_model, config, tokenizer)
  if config.prm.extra_layers and config.prm.kind == "implicit":
    raise ValueError(
      f"prm.extra_layers is {config.prm.extra_layers}, and an implicit PRM has"
      " the policy's layers: set it to 0, or prm.kind to 'head'."
    )
  mesh, problem_mesh = devices.meshes(config.mesh)
  thought_size = task.max_thought_chars
  experiment = Experiment(
    config=config,
    task=task,
    tokenizer=tokenizer,
    policy=policy,
    prm=policy if shared else make_reward_model("thought"),
    orm=make_reward_model("outcome"),
    mesh=mesh,
    problem_mesh=problem_mesh,
    prompt_size=config.data.max_prompt_tokens or task.max_prompt_chars,
    completion_size=(
      config.data.max_completion_tokens or task.max_thoughts * thought_size
    ),
    thought_size=thought_size,
    max_thoughts=task.max_thoughts,
  )
  _check_context(experiment)
  methods.check(config)
  return experiment


def _check_context(experiment):
  longest = experiment.prompt_size + experiment.completion_size
  limit = experiment.config.network.max_positions
  if longest > limit:
    raise ValueError(
      f"a prompt of {experiment.prompt_size} and a solution of"
      f" {experiment.completion_size} tokens exceed the context of {limit};"
      f" set network.max_positions to at least {longest}."
    )


def _network(config, tokenizer, extra_layers, *heads) -> network_lib.Network:
  size = transformer.NetworkConfig(
    vocab_size=tokenizer.vocab_size, heads=heads, **config.network
  )
  return network_lib.Network(
    dataclasses.replace(size, num_layers=size.num_layers + extra_layers)
  )


def _reward_model(config, tokenizer, head) -> network_lib.Network:
  """Returns a PRM ("thought") or an ORM ("outcome") of the kind wanted."""
  if config.prm.kind == "implicit":
    return _network(config, tokenizer, 0, "language", "implicit")
  return _network(config, tokenizer, config.prm.extra_layers, head)


def _tokenizer(config, task, directory) -> tokenizers.Tokenizer:
  kind, path = config.tokenizer.kind, config.tokenizer.path
  if kind == "sentencepiece" and not path:
    path = directory / "tokenizer.model"
    if not path.exists():
      problems = [task.problem("train", i) for i in range(_TOKENIZER_PROBLEMS)]
      texts = [p.prompt + "".join(task.demonstration(p)) for p in problems]
      return tokenizers.SentencePieceTokenizer.train(
        texts, path, config.tokenizer.vocab_size
      )
  return tokenizers.make_tokenizer(kind, alphabet=task.alphabet, path=path)
