"""Configs from the command line: loading, overriding, checking, comparing.

  script.py --config=configs/x.py[:variant] --workdir=DIR --config.rl.steps=5

A config is a Python file whose `get_config()` returns a ConfigDict, and
`base.py` beside it lists every key there is. A key that `base.py` lacks, or a
value of another type than its own, is refused: a typo must never be silently
the default. `None` in `base.py` (a `config_dict.placeholder`) takes `none`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_collections

from reasoning_rl.pipelines import config_file, devices
from reasoning_rl.pipelines.errors import ConfigError, UserError

USAGE = (
  "usage: {script} --config=configs/NAME.py[:VARIANT] --workdir=DIR"
  " [--config.SECTION.KEY=VALUE ...]"
)


def load(
  argv: Sequence[str],
) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
  """Returns the config and the workdir that a command line asks for.

  Args:
    argv: The arguments without the script's name.

  Raises:
    ConfigError: An argument, the file, a key or a value cannot be used.
  """
  source, workdir, overrides = _parse(argv)
  path, variant = config_file.split_variant(source)
  config = config_file.load(path, variant)
  base = config_file.load_base(path)
  _check_keys(config, base, path)
  for key, text in overrides:
    _override(config, base, key, text)
  return config.lock(), pathlib.Path(workdir).expanduser()


def main(
  run: Callable[[ml_collections.ConfigDict, pathlib.Path], Any],
  user_errors: tuple[type[Exception], ...] = (),
  argv: Sequence[str] | None = None,
) -> int:
  """Loads the config, calls `run(config, workdir)` and returns an exit status.

  Args:
    run: The pipeline.
    user_errors: Besides `UserError`, the exceptions whose text is a sentence
      for the user; every other exception keeps its traceback.
    argv: The arguments without the script's name, by default the process's.
  """
  argv = sys.argv[1:] if argv is None else argv
  if "--help" in argv or "-h" in argv:
    print(USAGE.format(script=pathlib.Path(sys.argv[0]).name))
    return 0
  devices.use_all_cores()
  try:
    config, workdir = load(argv)
    devices.keep_freed_memory(config)
    run(config, workdir)
  except (UserError, *user_errors) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("interrupted; the same command continues", file=sys.stderr)
    return 130
  return 0


def to_json(config: ml_collections.ConfigDict | Mapping[str, Any]) -> str:
  """Returns the config as JSON, its keys sorted; a tuple becomes a list."""
  return json.dumps(_plain(config), indent=2, sort_keys=True)


def config_hash(config: ml_collections.ConfigDict | Mapping[str, Any]) -> str:
  """Returns 16 hexadecimal digits that name the config's content."""
  return hashlib.sha256(to_json(config).encode()).hexdigest()[:16]


def diff(
  old: ml_collections.ConfigDict | Mapping[str, Any],
  new: ml_collections.ConfigDict | Mapping[str, Any],
) -> list[str]:
  """Returns `key: old -> new` for each key that differs, in order of key.

  Args:
    old: A config, or what `json.loads(to_json(config))` gives.
    new: Likewise.
  """
  old_leaves, new_leaves = dict(_leaves(old)), dict(_leaves(new))
  lines = []
  for key in sorted(old_leaves.keys() | new_leaves.keys()):
    was, now = (
      json.dumps(_plain(leaves[key])) if key in leaves else "absent"
      for leaves in (old_leaves, new_leaves)
    )
    if was != now:
      lines.append(f"{key}: {was} -> {now}")
  return lines


def _plain(value: Any) -> Any:
  """Returns `value` with plain dicts and lists, as JSON knows them."""
  if isinstance(value, ml_collections.ConfigDict | Mapping):
    return {key: _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  return value


def _leaves(
  config: ml_collections.ConfigDict | Mapping[str, Any], prefix: str = ""
) -> Iterable[tuple[str, Any]]:
  """Yields the dotted name and the value of each key that is no section."""
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict | Mapping):
      yield from _leaves(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


# The command line.


def _parse(argv: Sequence[str]) -> tuple[str, str, list[tuple[str, str]]]:
  """Splits the arguments into config, workdir and (key, text) overrides."""
  given: dict[str, str] = {}
  overrides = []
  rest = list(argv)
  while rest:
    argument = rest.pop(0)
    if not argument.startswith("--"):
      raise ConfigError(
        f"unexpected argument {argument!r}: flags start with --"
      )
    flag, equals, text = argument.partition("=")
    known = flag in ("--config", "--workdir") or flag.startswith("--config.")
    if not known:
      hint = _nearest(flag, ("--config", "--workdir"), "see --help")
      raise ConfigError(f"unknown flag {flag!r}: {hint}")
    if not equals:
      if not rest or rest[0].startswith("--"):
        raise ConfigError(f"flag {flag} needs a value: {flag}=VALUE")
      text = rest.pop(0)
    if flag.startswith("--config."):
      overrides.append((flag.removeprefix("--config."), text))
    else:
      given[flag] = text
  for flag, example in (
    ("--config", "--config=configs/arithmetic.py"),
    ("--workdir", "--workdir=runs/NAME"),
  ):
    if not given.get(flag):
      raise ConfigError(f"flag {flag} is missing: give for example {example}")
  return given["--config"], given["--workdir"], overrides


def _nearest(name: str, names: Iterable[str], otherwise: str) -> str:
  close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
  return f"did you mean {close[0]!r}?" if close else otherwise


# Keys and values.


def _check_keys(
  config: ml_collections.ConfigDict,
  base: ml_collections.ConfigDict,
  path: pathlib.Path,
) -> None:
  """Raises unless `config` has the keys of `base`, of the same types."""
  keys, base_keys = dict(_leaves(config)), dict(_leaves(base))
  for key in keys:
    if key not in base_keys:
      raise _unknown_key(key, base_keys, f" in {path}")
    got, wanted = _type(config, key), _type(base, key)
    if got is not wanted:
      raise ConfigError(
        f"config key {key!r} in {path} is {got.__name__}, but base.py has it"
        f" as {wanted.__name__}"
      )
  for key in base_keys:
    if key not in keys:
      raise ConfigError(
        f"config key {key!r} is missing in {path}: start from base.get_config()"
      )


def _unknown_key(key: str, keys: Iterable[str], where: str = "") -> ConfigError:
  hint = _nearest(key, keys, "configs/base.py lists every key")
  return ConfigError(f"unknown config key {key!r}{where}: {hint}")


def _section(
  config: ml_collections.ConfigDict, key: str
) -> tuple[ml_collections.ConfigDict, str]:
  """Returns the section that holds the dotted `key`, and its own name."""
  *parents, name = key.split(".")
  for parent in parents:
    config = config[parent]
  return config, name


def _type(config: ml_collections.ConfigDict, key: str) -> type:
  section, name = _section(config, key)
  return section.get_type(name)


def _override(
  config: ml_collections.ConfigDict,
  base: ml_collections.ConfigDict,
  key: str,
  text: str,
) -> None:
  """Sets one key of `config` to what `text` says."""
  leaves = dict(_leaves(base))
  if key not in leaves:
    inside = [name for name in leaves if name.startswith(key + ".")]
    if inside:
      raise ConfigError(
        f"config key {key!r} is a section: set a key in it like {inside[0]!r}"
      )
    raise _unknown_key(key, leaves)
  section, name = _section(config, key)
  wanted = section.get_type(name)
  if leaves[key] is None and text.lower() == "none":
    section[name] = None
    return
  # An empty list does not say what it holds; base.py's may.
  sample = section[name] or leaves[key]
  try:
    section[name] = _parse_value(text, wanted, sample)
  except (KeyError, ValueError, TypeError) as error:
    raise ConfigError(
      f"config key {key!r} takes {_describe(wanted, sample)},"
      f" and {text!r} is of type {_guess_type(text)}"
    ) from error


def _parse_value(text: str, wanted: type, value: Any) -> Any:
  """Reads `text` as a `wanted`; `value` shows what a list holds."""
  if wanted is bool:
    return {"true": True, "false": False}[text.lower()]
  if wanted is float:
    number = float(text)
    if math.isnan(number):
      raise ValueError("nan")
    return number
  if wanted in (int, str):
    return wanted(text)
  if wanted in (list, tuple):
    inner = text.strip().removeprefix("(").removesuffix(")").strip(" ,")
    parts = [part.strip() for part in inner.split(",")] if inner else []
    item = _item_type(value or [_number_or_text(part) for part in parts])
    return wanted(_parse_value(part, item, None) for part in parts)
  raise TypeError(wanted)


def _number_or_text(text: str) -> int | float | str:
  """Returns what a text reads like."""
  kind = _guess_type(text)
  return {"int": int, "float": float}.get(kind, str)(text)


def _item_type(value: Sequence[Any] | None) -> type:
  """Returns the type of a list's items, str where it has none to show."""
  kinds = {type(item) for item in value or ()}
  if kinds == {int, float}:
    return float
  return kinds.pop() if len(kinds) == 1 else str


def _describe(wanted: type, value: Any) -> str:
  """Returns what a key of type `wanted` takes, in words."""
  if wanted is bool:
    return "true or false (bool)"
  if wanted in (list, tuple):
    item = _item_type(value).__name__
    return f"values of type {item} like 1,2,4 ({wanted.__name__})"
  if wanted is type(None):
    return "no value, for base.py gives it no type: use placeholder(TYPE) there"
  return f"a value of type {wanted.__name__}"


def _guess_type(text: str) -> str:
  """Returns the type that `text` reads like."""
  for kind in (bool, int, float):
    try:
      _parse_value(text, kind, None)
      return kind.__name__
    except (KeyError, ValueError):
      pass
  return "str"
