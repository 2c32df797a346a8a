"""A policy of a run, as a Hugging Face folder that other programs open.

Its adapters are merged into its weights. The folder also holds the tokenizer,
the licence of the model that the run started from, and a model card. It can be
the `model.path` of a next run.
"""

from __future__ import annotations

import os
import pathlib
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import ml_collections

from reasoning_rl.data import hf_tokenizer
from reasoning_rl.models.pretrained import export
from reasoning_rl.pipelines import model_card, networks, train_sft
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines import workdir as workdir_lib
from reasoning_rl.pipelines.errors import ConfigError, WorkdirError
from reasoning_rl.training import checkpoint as checkpoint_lib


def run(
  path: str | os.PathLike[str],
  directory: str | os.PathLike[str],
  *,
  policy: str = "",
  dtype: str = "",
  licence: str = "",
) -> pathlib.Path:
  """Writes a policy of a workdir into a folder.

  Args:
    path: The workdir.
    directory: The folder; it must not exist, or be empty.
    policy: Which, such as "policy_0"; "": the loop's newest.
    dtype: "float32" or "bfloat16"; "": what the run is in.
    licence: Its name, where the base model's folder does not say.

  Returns:
    The folder.

  Raises:
    UserError: If that cannot be done; the folder is then as it was.
    PretrainedError: Likewise.
  """
  path, folder = (pathlib.Path(p).expanduser() for p in (path, directory))
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise ConfigError(f"{folder} is there already: choose another folder.")
  config = _config(path)
  if config.tokenizer.kind != hf_tokenizer.KIND:
    raise ConfigError(
      f"the tokenizer of {path} is of the kind {config.tokenizer.kind!r}, for"
      " which there is no tokenizer.json: other programs would load the weights"
      " and could read no text, so only runs with tokenizer.kind 'huggingface'"
      " are exported."
    )
  base = model_card.base_of(config.model.path)
  licence = model_card.licence(base, licence)
  with stage_lib.open_stage(config, path) as stage:
    tokenizer = stage.experiment.tokenizer
    policy = _check_policy(stage, policy)
    network = stage.experiment.policy
    card = model_card.make(stage, policy, base, licence)
    params = network.merge(stage.policy(policy))
    with tempfile.TemporaryDirectory() as made:
      tokenizer.save_directory(made)
      files = [*sorted(pathlib.Path(made).iterdir()), *base.terms]
      try:
        export.export(
          folder,
          networks.without_learning(network.config),
          params,
          card,
          dtype=dtype or None,
          tokens=_tokens(tokenizer),
          tokenizer_files=files,
        )
      except ValueError as error:  # Rules that no family has, too.
        raise ConfigError(f"{policy} of {path}: {error}") from error
  print(f"{folder} holds {policy} of {path} now")
  return folder


def _config(path: pathlib.Path) -> ml_collections.ConfigDict:
  """Returns the config that a workdir was started with."""
  try:
    values = workdir_lib.Workdir(path).read_config()
  except OSError as error:
    raise WorkdirError(
      f"workdir {path} cannot be read ({error.strerror}): give the folder of a"
      " run"
    ) from error
  return ml_collections.ConfigDict(_tuples(values)).lock()


def _tuples(value: Any) -> Any:
  """Returns a config's values as they were before they became JSON."""
  if isinstance(value, dict):
    return {key: _tuples(item) for key, item in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_policy(stage: stage_lib.Stage, name: str) -> str:
  """Returns the policy to export; refuses one that is not finished."""
  finished = [
    stage_name
    for stage_name in stage.workdir.stages()
    if re.fullmatch(r"\w+", stage_name)
    and checkpoint_lib.latest_step(stage.policy_directory(stage_name))
    is not None
  ]
  where = stage.workdir.path
  if not finished:
    raise ConfigError(
      f"workdir {where} holds no finished policy: run scripts/run_loop.py or"
      " scripts/train_sft.py with it first."
    )
  if name and name not in finished:
    raise ConfigError(
      f"workdir {where} holds no finished policy {name!r}: give one of"
      f" {', '.join(finished)}."
    )
  return name or _newest(finished)


def _newest(names: Sequence[str]) -> str:
  """Returns the loop's newest policy, not counting what is on its way there."""
  of_loop = [n for n in names if re.fullmatch(r"policy_\d+", n)]
  if of_loop:
    return max(of_loop, key=lambda name: int(name.removeprefix("policy_")))
  return train_sft.NAME if train_sft.NAME in names else names[-1]


def _tokens(
  tokenizer: hf_tokenizer.HuggingFaceTokenizer,
) -> dict[str, int | Sequence[int]]:
  """Returns the special ids as config.json names them."""
  ends = list(tokenizer.end_ids)
  tokens: dict[str, int | Sequence[int]] = {
    "eos_token_id": ends[0] if len(ends) == 1 else ends,
    "pad_token_id": tokenizer.pad_id,
  }
  if tokenizer.bos_id is not None:
    tokens["bos_token_id"] = tokenizer.bos_id
  return tokens
