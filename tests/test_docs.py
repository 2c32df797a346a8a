"""What the table of techniques names exists: code, settings and tests."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import re

import pytest

from reasoning_rl.data import boundaries
from reasoning_rl.evaluation import results_schema
from reasoning_rl.pipelines import config_file, search

ROOT = pathlib.Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")


def lines() -> dict[str, list[str]]:
  """Returns the cells of each technique's line."""
  rows = [x for x in TABLE.splitlines() if x.startswith("| ")]
  cells = [
    [cell.strip() for cell in row.strip("|").split(" | ")] for row in rows
  ]
  return {
    row[0]: row[1:] for row in cells if row[0] not in ("technique", "---")
  }


def missing(cells: list[str]) -> list[str]:
  """Returns what a line names and nobody can find."""
  paper, code, settings, test = cells
  faults = [] if re.fullmatch(r"\[[^]]+\]\(https://\S+\)", paper) else [paper]
  paths = re.findall(r"`([^`]+)`", code + test)
  faults += [path for path in paths if not (ROOT / path).is_file()]
  named = re.findall(r"`([^`]+)`", settings)
  return faults + [name for name in named if not is_setting(name)]


def is_setting(name: str) -> bool:
  """Whether it is a config key, a field of a dataclass or a function."""
  config = config_file.load(ROOT / "configs" / "base.py", "").to_dict()
  section, *rest = name.split(".")
  if section in config:
    return len(rest) == 1 and rest[0] in config[section]
  for path in (ROOT / "reasoning_rl").glob(f"*/{section}.py"):
    found = importlib.import_module(
      f"reasoning_rl.{path.parent.name}.{section}"
    )
    thing = getattr(found, rest[0], None)
    if thing is not None and len(rest) == 1:
      return callable(thing)
    if dataclasses.is_dataclass(thing):
      return rest[1] in {field.name for field in dataclasses.fields(thing)}
  return False


def test_every_method_has_a_line_and_every_line_a_method():
  named = re.findall(r'`evaluate.methods` = "([^"]+)"', TABLE)
  assert sorted(named) == sorted(search.METHODS)
  assert len(lines()) >= 20


@pytest.mark.parametrize("technique", sorted(lines()))
def test_what_a_line_names_exists(technique):
  assert missing(lines()[technique]) == []


def test_what_does_not_exist_is_noticed():
  good = ["[p](https://a.b/c)", "`reasoning_rl/tree.py`", "`search.draw`"]
  assert missing([*good, "`tests/test_docs.py`"]) == []
  bad = [
    "p",
    "`reasoning_rl/nowhere.py`",
    "`search.drawn`",
    "`tests/test_x.py`",
  ]
  assert missing(bad) == [
    "p", "reasoning_rl/nowhere.py", "tests/test_x.py", "search.drawn",
  ]  # fmt: skip
  assert is_setting("frontier.FrontierConfig.width")
  assert not is_setting("frontier.FrontierConfig.height")
  assert is_setting("extract.targets") and not is_setting("extract.nothing")


RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def schema_fields(spec) -> set[str]:
  """Returns the names of all fields of a part of the schema."""
  spec = getattr(spec, "spec", spec)
  if isinstance(spec, list):
    return schema_fields(spec[0])
  if not isinstance(spec, dict):
    return set()
  return set(spec).union(*map(schema_fields, spec.values()))


def test_the_schema_of_results_is_told_field_by_field():
  named = set(re.findall(r"`(\w+)`", RESULTS))
  assert schema_fields(results_schema._RESULTS) - named == set()


def test_optional_fields_are_marked_and_required_ones_are_not():
  rows = dict(re.findall(r"^\| (`schema`|`\w+`)(\??) \|", RESULTS, re.M))
  for name, spec in results_schema._RESULTS.items():
    optional = isinstance(spec, results_schema._Optional)
    assert (rows[f"`{name}`"] == "?") == optional, name


def test_every_role_and_verdict_of_the_schema_is_explained():
  choices = results_schema._STAGE["role"].choices
  choices += results_schema._COMPARISON["verdict"].choices
  told = " ".join(RESULTS.split())
  assert [word for word in choices if f"`{word}`" not in told] == []


def test_every_kind_of_thought_is_told_what_it_suits():
  told = (ROOT / "docs" / "thoughts.md").read_text(encoding="utf-8")
  assert all(f"| `{kind}` |" in told for kind in boundaries.KINDS)
