"""The networks that a config describes, and the parameters they start from.

Their sizes are the section `network`'s, or those of a pretrained model where
`model.path` names one. A reward model has the policy's sizes in either case.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
from jaxtyping import Array, Key

from reasoning_rl.data import tokenizers
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import families
from reasoning_rl.models.pretrained import load as load_lib
from reasoning_rl.training import sharding as sharding_lib

# Of the section `network`, what also holds for a pretrained model.
_LEARNING = ("lora_rank", "lora_alpha", "lora_targets", "remat")


class Networks(NamedTuple):
  """The networks of a run.

  Attributes:
    policy: Writes thoughts.
    prm: Scores them; the policy itself on a shared trunk.
    orm: Scores whole solutions.
  """

  policy: network_lib.Network
  prm: network_lib.Network
  orm: network_lib.Network


def make(
  config: ml_collections.ConfigDict, tokenizer: tokenizers.Tokenizer
) -> Networks:
  """Returns the networks; refuses what contradicts itself.

  Args:
    config: The whole config.
    tokenizer: Its ids must be those that a pretrained model knows.
  """
  _check(config)
  prm = config.prm
  shared, implicit = prm.trunk == "shared", prm.kind == "implicit"
  size = _size(config, tokenizer)
  network = lambda *heads, more=0: network_lib.Network(
    dataclasses.replace(
      size,
      heads=heads,
      certainty=prm.certainty and "thought" in heads,
      num_layers=size.num_layers + more,
    )
  )
  reward_model = lambda head: (
    network("language", "implicit")
    if implicit
    else network(head, more=prm.extra_layers)
  )
  policy = network("language", *["thought"] * shared)
  scorer = policy if shared else reward_model("thought")
  return Networks(policy, scorer, reward_model("outcome"))


_CHOICES = {
  "trunk": ("separate", "shared"),
  "kind": ("implicit", "head"),
  "label": ("soft", "hard"),
  "iterations": ("all", "newest"),
}


def _check(config):
  """Refuses a section `prm` that contradicts itself."""
  prm = config.prm
  for key, (one, other) in _CHOICES.items():
    if prm[key] not in (one, other):
      raise ValueError(f"prm.{key} is {prm[key]!r}; use {one!r} or {other!r}.")
  shared, implicit = prm.trunk == "shared", prm.kind == "implicit"
  if shared and implicit:
    raise ValueError(
      "prm.trunk is 'shared', and an implicit PRM is a language model of its"
      " own: set prm.kind to 'head', or prm.trunk to 'separate'."
    )
  if prm.extra_layers and implicit:
    raise ValueError(
      f"prm.extra_layers is {prm.extra_layers}, and an implicit PRM has"
      " the policy's layers: set it to 0, or prm.kind to 'head'."
    )
  if shared and prm.extra_layers:
    raise ValueError(
      f"prm.extra_layers is {prm.extra_layers}, and a PRM on a shared trunk has"
      " the policy's layers: set it to 0, or prm.trunk to 'separate'."
    )
  if prm.outcomes and (prm.label != "soft" or prm.until_first_error):
    raise ValueError(
      "prm.outcomes labels thoughts by one completion each, which estimates a"
      " chance and marks no error: set prm.label to 'soft' and"
      " prm.until_first_error to False, or prm.outcomes to False."
    )
  if prm.certainty and config.thinking.end:
    raise ValueError(
      "prm.certainty would read the tokens that thinking.end forces as doubt:"
      " set prm.certainty to False, or leave thinking.end empty."
    )
  if prm.certainty and not shared:
    raise ValueError(
      "prm.certainty reads the policy's own log-probabilities, which a PRM"
      " with a trunk of its own does not have: set prm.trunk to 'shared', or"
      " prm.certainty to False."
    )


def _size(config, tokenizer) -> transformer.NetworkConfig:
  """Returns the policy's sizes."""
  if not config.model.path:
    return transformer.NetworkConfig(
      vocab_size=tokenizer.vocab_size, **config.network
    )
  path = pathlib.Path(config.model.path).expanduser()
  size = families.network_config(
    families.read(path), str(path / families.CONFIG), dtype=config.model.dtype
  )
  tokenizers.check_matches_model(tokenizer, size.vocab_size)
  learning = {key: config.network[key] for key in _LEARNING}
  return dataclasses.replace(size, **learning)


def without_learning(
  size: transformer.NetworkConfig,
) -> transformer.NetworkConfig:
  """Returns what a network is once its adapters are merged."""
  fields = {field.name: field.default for field in dataclasses.fields(size)}
  return dataclasses.replace(size, **{key: fields[key] for key in _LEARNING})


def first_params(
  config: ml_collections.ConfigDict,
  network: network_lib.Network,
  rng: Key[Array, ""],
  mesh: jax.sharding.Mesh,
) -> network_lib.Params:
  """Returns the parameters that learning starts from.

  Args:
    config: The whole config; `model.path` names a pretrained model, if any.
    network: The policy.
    rng: Makes what no file has: all, or heads and adapters. Consumed.
    mesh: Where pretrained parameters are to live.
  """
  if not config.model.path:
    return network.init(rng)
  shardings: Callable[[Any], Any] = lambda shapes: sharding_lib.param_shardings(
    shapes, sharding_lib.DEFAULT_RULES, mesh
  )
  _, params = load_lib.load(
    pathlib.Path(config.model.path).expanduser(),
    dtype=config.model.dtype,
    shardings=shardings,
  )
  return network.complete(rng, params)
