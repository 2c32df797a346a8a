"""The schema of results.json, and the check that a file keeps to it.

  {"schema": 1,
   "task": "arithmetic", "commit": "…", "config_hash": "…", "command": "…"?,
   "hardware": {"processor", "cores", "memory_bytes", "device", "software"},
   "seeds": [0], "heldout_problems": 200, "seconds": 600.0?,
   "notes": ["a sentence the reader must know"]?,
   "stages": [{"name", "role": "start" | "loop" | "baseline",
               "iteration"?,
               "greedy_pass_at_1": interval, "sampled_pass_at_1": interval?,
               "updates"?, "train_tokens"?, "seconds"?}],
   "curves": [{"method", "points": [{"budget", "accuracy": interval,
               "policy_tokens", "prm_tokens", "flops", "peak_cache_bytes",
               "seconds"}]}],
   "committed": [as "curves", by the path a search visits most]?,
   "thinking": [{"method", "points": [{"budget", "accuracy": interval,
                 "thinking_tokens", "policy_tokens"}]}]?,
   "prm_quality": [the fields of `reward_quality.RewardQuality`],
   "comparisons": [{"a", "b", "difference", "low", "high",
                    "verdict": "clearly above" | "above" | "not shown" |
                               "reversed", "sentence"}],
   "trees": [the fields of `tree_view.TreeView`]}

`?` marks what may be missing. An interval is {"mean", "low", "high"}, a
fraction and its 95 % interval over held-out problems. Costs are means per
problem. A number that is undefined (an AUROC without wrong thoughts) is null.
The claim of a comparison is always "a is above b".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from reasoning_rl.evaluation import accounting

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class _Optional:
  """A key that may be missing."""

  spec: Any


@dataclasses.dataclass(frozen=True)
class _OneOf:
  """A text out of a few."""

  choices: tuple[str, ...]


_TEXT, _COUNT, _NUMBER, _FLAG = "a text", "a whole number", "a number", "a flag"
_OUTCOME = "true, false or null"
_INTERVAL = {"mean": _NUMBER, "low": _NUMBER, "high": _NUMBER}
_COST = {field.name: _NUMBER for field in dataclasses.fields(accounting.Cost)}
_STAGE = {
  "name": _TEXT,
  "role": _OneOf(("start", "loop", "baseline")),
  "iteration": _Optional(_COUNT),
  "greedy_pass_at_1": _INTERVAL,
  "sampled_pass_at_1": _Optional(_INTERVAL),
  "updates": _Optional(_COUNT),
  "train_tokens": _Optional(_NUMBER),
  "seconds": _Optional(_NUMBER),
}
_CURVE = {
  "method": _TEXT,
  "points": [{"budget": _COUNT, "accuracy": _INTERVAL, **_COST}],
}
_THINKING = {
  "method": _TEXT,
  "points": [
    {
      "budget": _COUNT,
      "accuracy": _INTERVAL,
      "thinking_tokens": _NUMBER,
      "policy_tokens": _NUMBER,
    }
  ],
}
_PRM_QUALITY = {
  "name": _TEXT,
  "solutions": _COUNT,
  "thoughts": _COUNT,
  "auroc": _INTERVAL,
  "first_error_f1": _INTERVAL,
  "first_error_threshold": _NUMBER,
  "erroneous_accuracy": _NUMBER,
  "correct_accuracy": _NUMBER,
  "calibration_error": _INTERVAL,
  "reliability": [
    {"confidence": _NUMBER, "frequency": _NUMBER, "count": _COUNT}
  ],
  "roc": [[_NUMBER]],
}
_COMPARISON = {
  "a": _TEXT,
  "b": _TEXT,
  "difference": _NUMBER,
  "low": _NUMBER,
  "high": _NUMBER,
  "verdict": _OneOf(("clearly above", "above", "not shown", "reversed")),
  "sentence": _TEXT,
}
_NODE = {
  "parent": _COUNT,
  "thought": _TEXT,
  "thought_reward": _NUMBER,
  "visits": _COUNT,
  "value": _NUMBER,
  "prior": _NUMBER,
  "terminal": _FLAG,
  "chosen": _FLAG,
  "pruned": _FLAG,
  "correct": _OUTCOME,
}
_TREE = {
  "problem": _TEXT,
  "answer": _TEXT,
  "method": _TEXT,
  "nodes": [_NODE],
  "cost": _COST,
}
_RESULTS = {
  "schema": _COUNT,
  "task": _TEXT,
  "commit": _TEXT,
  "config_hash": _TEXT,
  "command": _Optional(_TEXT),
  "hardware": {
    "processor": _TEXT,
    "cores": _COUNT,
    "memory_bytes": _COUNT,
    "device": _TEXT,
    "software": _TEXT,
  },
  "seeds": [_COUNT],
  "heldout_problems": _COUNT,
  "seconds": _Optional(_NUMBER),
  "notes": _Optional([_TEXT]),
  "stages": [_STAGE],
  "curves": [_CURVE],
  "committed": _Optional([_CURVE]),
  "thinking": _Optional([_THINKING]),
  "prm_quality": [_PRM_QUALITY],
  "comparisons": [_COMPARISON],
  "trees": [_TREE],
}


def validate(results: Any, name: str = "results.json") -> None:
  """Raises a ValueError that names the first place off the schema."""
  if isinstance(results, Mapping) and results.get("schema") != SCHEMA:
    raise ValueError(
      f"{name} has schema {results.get('schema')!r}; this version reads "
      f"{SCHEMA}: evaluate the run again."
    )
  _check(results, _RESULTS, name)


def _check(value: Any, spec: Any, where: str) -> None:
  """Walks `value` along `spec` and raises at the first difference."""
  if isinstance(spec, dict):
    _check_keys(value, spec, where)
  elif isinstance(spec, list):
    if not isinstance(value, list):
      raise ValueError(f"{where} must be a list; found {value!r:.60}.")
    for i, item in enumerate(value):
      _check(item, spec[0], f"{where}[{i}]")
  elif isinstance(spec, _OneOf):
    if value not in spec.choices:
      choices = ", ".join(spec.choices)
      raise ValueError(
        f"{where} must be one of {choices}; found {value!r:.60}."
      )
  elif not _has_type(value, spec):
    raise ValueError(f"{where} must be {spec}; found {value!r:.60}.")


def _check_keys(value: Any, spec: Mapping[str, Any], where: str) -> None:
  """Checks one mapping: nothing missing, nothing unknown."""
  if not isinstance(value, dict):
    raise ValueError(f"{where} must be a mapping; found {value!r:.60}.")
  unknown = sorted(str(key) for key in value.keys() - spec.keys())
  if unknown:
    raise ValueError(
      f"{where} has the unknown key {unknown[0]!r}; it may have "
      f"{', '.join(spec)}."
    )
  for key, item in spec.items():
    optional = isinstance(item, _Optional)
    if key in value:
      _check(value[key], item.spec if optional else item, f"{where}.{key}")
    elif not optional:
      raise ValueError(f"{where} lacks the key {key!r}.")


def _has_type(value: Any, kind: str) -> bool:
  """Returns whether a leaf is of the kind that the schema words."""
  if kind == _TEXT:
    return isinstance(value, str)
  if kind == _OUTCOME:
    return value is None or isinstance(value, bool)
  if kind == _FLAG or isinstance(value, bool):
    return kind == _FLAG and isinstance(value, bool)
  if kind == _COUNT:
    return isinstance(value, int)
  return value is None or isinstance(value, int | float)
