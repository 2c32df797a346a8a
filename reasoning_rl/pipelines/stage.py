"""What every stage of a run is given, and the little that all of them do."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import ml_collections

from reasoning_rl import extras
from reasoning_rl.data import batching
from reasoning_rl.data import records as records_lib
from reasoning_rl.models import network as network_lib
from reasoning_rl.models.pretrained import source as pretrained_source
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import fit as fit_lib
from reasoning_rl.pipelines import networks
from reasoning_rl.pipelines import progress as progress_lib
from reasoning_rl.pipelines import workdir as workdir_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import verdicts as verdicts_lib
from reasoning_rl.tasks.mathematics import workers
from reasoning_rl.tasks.sandbox import levels
from reasoning_rl.training import checkpoint as checkpoint_lib
from reasoning_rl.training import train_step as train_step_lib

# Exceptions whose text is a sentence for the user.
USER_ERRORS = (
  task_base.TaskError,
  extras.MissingExtraError,
  workers.WorkerError,
  levels.SandboxError,
  records_lib.TrajectoryFileError,
  checkpoint_lib.CheckpointError,
  train_step_lib.NonFiniteError,
  batching.PromptTooLongError,
  batching.CompletionTooLongError,
  pretrained_source.PretrainedError,
)


class _Base(NamedTuple):
  """What adapters are loaded onto, and its fingerprints by what is saved."""

  params: Any
  fingerprints: dict[frozenset[str], str]


@dataclasses.dataclass(frozen=True)
class Stage:
  """A run as its stages see it.

  Attributes:
    experiment: Task, tokenizer and networks.
    workdir: Where everything is kept.
    progress: Where everything is said.
  """

  experiment: experiment_lib.Experiment
  workdir: workdir_lib.Workdir
  progress: progress_lib.Progress
  # Bases of adapters by network: they never change and are never donated.
  _bases: dict[network_lib.Network, _Base] = dataclasses.field(
    default_factory=dict, init=False, repr=False, compare=False
  )

  @property
  def config(self) -> ml_collections.ConfigDict:
    """The resolved config."""
    return self.experiment.config

  def once(
    self, name: str, work: Callable[[], Mapping[str, Any]]
  ) -> dict[str, Any]:
    """Does a stage unless it is finished; returns its summary."""
    if self.workdir.finished(name):
      self.progress.say(f"{name}: finished before")
      return self.workdir.summary(name)
    self.progress.say(name, bold=True)
    begin = time.monotonic()
    summary = dict(work()) | {"seconds": time.monotonic() - begin}
    self.workdir.finish(name, summary)
    shown = {k: v for k, v in summary.items() if isinstance(v, int | float)}
    self.progress.say(
      f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in shown.items())
    )
    return summary

  def fit(
    self, task: fit_lib.Fit, params: Any, directory: pathlib.Path, *rng: int
  ) -> tuple[Any, dict[str, Any]]:
    """Runs or continues a learner; see `fit.fit`."""
    return fit_lib.fit(
      task,
      params,
      directory=directory,
      metrics_directory=self.workdir.metrics,
      mesh=self.experiment.mesh,
      rng=self.experiment.rng(*rng),
      checkpoint_every=self.config.checkpoint_every,
      progress=self.progress,
    )

  def policy_directory(self, name: str) -> pathlib.Path:
    """Returns where a stage's policy is kept."""
    return self.workdir.policy_checkpoints / name

  def prm_directory(self, name: str) -> pathlib.Path:
    """Returns where a stage's PRM or ORM is kept."""
    return self.workdir.prm_checkpoints / name

  def policy(self, name: str) -> Any:
    """Returns the parameters of a finished stage's policy."""
    return self.load(self.experiment.policy, self.policy_directory(name))

  def first_policy(self) -> Any:
    """Returns the parameters that everything starts from.

    Where adapters are trained, they are the base of all of them.
    """
    experiment = self.experiment
    return networks.first_params(
      self.config,
      experiment.policy,
      experiment.rng(STREAMS["init"]),
      experiment.mesh,
    )

  def load(self, network: network_lib.Network, directory: pathlib.Path) -> Any:
    """Returns the parameters of a finished learner."""
    params, fingerprints = jax.eval_shape(network.init, jax.random.key(0)), {}
    if fit_lib.has_base(directory):
      params, fingerprints = self._base(network)
    return fit_lib.load_params(
      directory, params, self.experiment.mesh, fingerprints
    )

  def _base(self, network: network_lib.Network) -> _Base:
    """Returns the base of a network's adapters, which is read only once."""
    if network not in self._bases:
      policy = self.experiment.policy
      if network == policy:
        params = self.first_policy()
      else:
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        first = self._base(policy).params
        first = {k: v for k, v in first.items() if k in shapes}
        params = network.complete(jax.random.key(0), first)
      self._bases[network] = _Base(params, {})
    return self._bases[network]

  def input_policy(self, name: str) -> Any:
    """Returns the policy a lone stage starts from.

    That is `inputs.policy` if set, else this workdir's policy `name`.
    """
    given = self.config.inputs.policy
    path = pathlib.Path(given) if given else self.policy_directory(name)
    if checkpoint_lib.latest_step(path) is None:
      raise ConfigError(
        f"there is no policy in {path}: run scripts/train_sft.py with the same"
        " workdir first (where sft.max_steps is 0 it keeps a pretrained model"
        " as it is), or name a checkpoint folder with"
        " --config.inputs.policy=DIR."
      )
    return self.load(self.experiment.policy, path)


# Names of random streams, first entry of an rng path.
STREAMS = {
  name: index
  for index, name in enumerate(
    ("init", "sft", "collect", "label", "prm", "orm", "policy", "validate",
     "evaluate", "search", "solve", "imitation")
  )
}  # fmt: skip


_CACHE = "compilation_cache"  # In the workdir; safe to delete.


@contextlib.contextmanager
def open_stage(
  config: ml_collections.ConfigDict, path: pathlib.Path
) -> Iterator[Stage]:
  """Opens the workdir and builds what the config describes."""
  progress = progress_lib.Progress()
  with workdir_lib.open_workdir(path, config) as workdir:
    # Every iteration compiles the same programs, and so does a resumed run.
    if jax.config.jax_compilation_cache_dir is None:
      jax.config.update("jax_compilation_cache_dir", str(workdir.path / _CACHE))
    experiment = experiment_lib.build(config, workdir.path)
    experiment.tokenizer.save(workdir.path / _tokenizer_name(config))
    with ready(experiment.task, progress.say):
      yield Stage(experiment, workdir, progress)


@contextlib.contextmanager
def ready(task: task_base.Task, say: Callable[[str], None]) -> Iterator[None]:
  """Has a task's verifier run meanwhile; says what a user should know of it."""
  for sentence in getattr(task, "notes", ()):
    say(sentence)
  if not isinstance(task, verdicts_lib.Prepared):
    yield
    return
  try:
    sentence = task.prepare()
    if sentence:
      say(sentence)
    yield
  finally:
    task.close()


def _tokenizer_name(config) -> str:
  is_model = config.tokenizer.kind == "sentencepiece"
  return "tokenizer.model" if is_model else "tokenizer.json"
