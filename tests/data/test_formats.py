"""Tests of `reasoning_rl.data.formats`."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from reasoning_rl.data import formats
from reasoning_rl.data import records as records_lib


def as_text(ids):
  return ",".join(map(str, ids))


@pytest.fixture
def exported(tmp_path, trajectory, lineage):
  records = list(records_lib.to_records(trajectory, lineage, as_text))
  path = tmp_path / "trajectories.jsonl"
  formats.export_jsonl(records, path)
  return path


def change_line(path, number, change):
  lines = path.read_text().splitlines(keepends=True)
  fields = json.loads(lines[number - 1])
  change(fields)
  lines[number - 1] = json.dumps(fields) + "\n"
  path.write_text("".join(lines))


def test_import_gives_back_exactly_what_was_exported(
  exported, trajectory, lineage
):
  imported = formats.import_jsonl(exported)
  again = records_lib.to_trajectory(imported, 5, 8, 3)
  jax.tree.map(np.testing.assert_array_equal, again, trajectory)
  expected = list(records_lib.to_records(trajectory, lineage, as_text))
  for name in ("thoughts", "lineage"):
    assert [r[name] for r in imported] == [r[name] for r in expected]


def test_what_was_exported_before_forced_tokens_were_is_read(exported):
  expected = formats.import_jsonl(exported)
  assert any(record["forced_mask"].any() for record in expected)
  for line in range(1, 8):
    change_line(exported, line, lambda fields: fields.pop("forced_mask"))
  for record, now in zip(formats.import_jsonl(exported), expected, strict=True):
    assert not record["forced_mask"].any()
    assert record["forced_mask"].shape == now["completion"].shape


def test_every_cut_of_the_file_is_recognised(exported, tmp_path):
  content = exported.read_bytes()
  ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
  cuts = {0, 1, len(content) - 1, *ends[:-1], *(end + 3 for end in ends[:-1])}
  path = tmp_path / "cut.jsonl"
  for size in cuts:
    path.write_bytes(content[:size])
    with pytest.raises(records_lib.TrajectoryFileError, match="cut.jsonl"):
      formats.import_jsonl(path)


def test_a_truncated_last_line_names_file_and_line(exported):
  exported.write_bytes(exported.read_bytes()[:-20])
  with pytest.raises(
    records_lib.TrajectoryFileError,
    match="trajectories.jsonl, line 7: the line is cut off",
  ):
    formats.import_jsonl(exported)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda f: f.pop("labels"), r"missing or unknown: \['labels'\]"),
    (lambda f: f.update(extra=1), r"missing or unknown: \['extra'\]"),
    (lambda f: f.update(record_index=5), "out of place"),
    (lambda f: f.update(record_count=6), "both 7 and 6"),
    (lambda f: f.update(prompt=["1"]), "`prompt` must hold int"),
    (lambda f: f.update(prompt=[1.0]), "`prompt` must hold int"),
    (lambda f: f.update(prompt=[2**40]), ""),
    (lambda f: f.update(problem_id=True), "`problem_id` must hold int"),
    (lambda f: f["lineage"].pop("sampler"), "`lineage` must have"),
    (lambda f: f["lineage"].update(sampler=3), "`sampler` must hold str"),
    (lambda f: f["labels"].append(0.5), "equally long"),
    (lambda f: f["thoughts"].append("x"), "one text per thought"),
    (lambda f: f.update(outcome_reward=float("nan")), "not finite"),
  ],
)
def test_a_wrong_field_names_line_and_field(exported, change, message):
  change_line(exported, 3, change)
  with pytest.raises(
    records_lib.TrajectoryFileError, match=f"line 3: .*{message}"
  ):
    formats.import_jsonl(exported)


def test_lines_that_are_no_objects_are_refused(exported):
  exported.write_text("[1, 2]\n")
  with pytest.raises(records_lib.TrajectoryFileError, match="line 1: a record"):
    formats.import_jsonl(exported)


def test_a_missing_or_empty_file_is_named(tmp_path):
  path = tmp_path / "none.jsonl"
  with pytest.raises(records_lib.TrajectoryFileError, match="is missing"):
    formats.import_jsonl(path)
  path.touch()
  with pytest.raises(records_lib.TrajectoryFileError, match="is empty"):
    formats.import_jsonl(path)


def test_an_export_never_replaces_a_file(exported):
  before = exported.read_bytes()
  with pytest.raises(FileExistsError, match="already exists"):
    formats.export_jsonl(formats.import_jsonl(exported), exported)
  assert exported.read_bytes() == before


def test_exporting_nothing_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no trajectories"):
    formats.export_jsonl([], tmp_path / "x.jsonl")
  assert not list(tmp_path.iterdir())
