"""Which models there are to evaluate, and their parameters.

What a workdir has learnt comes first. Where it has learnt nothing, the policy
is the one that `inputs.policy` names, or the pretrained model that everything
would start from. A PRM and an ORM need not be there: without them there are no
weighted votes and no searches.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from reasoning_rl.pipelines import claims, train_prm
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.training import checkpoint as checkpoint_lib

# Stand for checkpoint names of this workdir.
START = "start"  # The pretrained model.
GIVEN = "given"  # What the section `inputs` names.
_MANY = 1000  # No loop has as many iterations.


@dataclasses.dataclass(frozen=True)
class Models:
  """What is evaluated.

  Attributes:
    policies: (label, role, checkpoint name) of every policy, in order.
    final: Checkpoint name of the policy that searches.
    prm: Name of the PRM, "" if there is none.
    orm: Name of the ORM, "" if there is none.
  """

  policies: tuple[tuple[str, str, str], ...]
  final: str
  prm: str = ""
  orm: str = ""


def find(stage: stage_lib.Stage) -> Models:
  """Returns the policies there are, and the newest PRM and ORM, if any."""
  prm = GIVEN if stage.config.inputs.prm else _newest(stage, "prm")
  orm = _newest(stage, "orm")
  finished = [
    name
    for name in ("sft", *(f"policy_{i}" for i in range(_MANY)))
    if stage.workdir.finished(name)
  ]
  if not finished:
    label, name = _untrained(stage)
    return Models(((label, "start", name),), name, prm, orm)
  loop = [(claims.label_of(name), "loop", name) for name in finished]
  baselines = [
    (label, "baseline", f"baseline_{name}")
    for name, label in claims.BASELINE_LABELS.items()
    if stage.workdir.finished(f"baseline_{name}")
  ]
  return Models(tuple(loop + baselines), finished[-1], prm, orm)


def find_prm(stage: stage_lib.Stage) -> str:
  """Returns the name of the PRM that is given, or else of the newest one."""
  found = GIVEN if stage.config.inputs.prm else _newest(stage, "prm")
  if not found:
    raise ConfigError(
      f"there is no PRM in {stage.workdir.path}: run scripts/run_loop.py, or"
      " train_sft.py, collect.py and train_prm.py, with this workdir first, or"
      " name a checkpoint folder with --config.inputs.prm=DIR."
    )
  return found


def find_with_prm(stage: stage_lib.Stage) -> Models:
  """Returns what `find` does; refuses to go on without a PRM."""
  return dataclasses.replace(find(stage), prm=find_prm(stage))


def policy(stage: stage_lib.Stage, name: str) -> Any:
  """Returns the parameters of a policy of `Models`."""
  if name == START:
    return stage.first_policy()
  return stage.input_policy("") if name == GIVEN else stage.policy(name)


def reward_model(stage: stage_lib.Stage, name: str) -> Any:
  """Returns the parameters of a PRM or ORM of `Models`, None if it is ""."""
  if name != GIVEN:
    return train_prm.load(stage, name) if name else None
  path = pathlib.Path(stage.config.inputs.prm).expanduser()
  if checkpoint_lib.latest_step(path) is None:
    raise ConfigError(f"inputs.prm names {path}, and there is no PRM in it.")
  return stage.load(stage.experiment.prm, path)


def _newest(stage, kind: str) -> str:
  folders = stage.workdir.prm_checkpoints.glob(f"{kind}_*")
  return max(
    (p for p in folders if p.is_dir()),
    key=lambda p: p.stat().st_mtime,
    default=pathlib.Path(""),
  ).name


def _untrained(stage) -> tuple[str, str]:
  if stage.config.inputs.policy:
    return "given policy", GIVEN
  if stage.config.model.path:
    return "pretrained model", START
  raise ConfigError(
    f"{stage.workdir.path} has no policy to evaluate: run scripts/run_loop.py"
    " or train_sft.py with this workdir first, or name a checkpoint folder with"
    " --config.inputs.policy=DIR or a pretrained model with"
    " --config.model.path=DIR."
  )
