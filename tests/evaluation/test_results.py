import copy
import json

import numpy as np
import pytest

from reasoning_rl.evaluation import (
  accounting,
  bootstrap,
  results,
  results_schema,
)


def minimal():
  interval = bootstrap.Interval(0.4, 0.3, 0.5)
  return {
    "schema": 1,
    "task": "arithmetic",
    "commit": "abc",
    "config_hash": "def",
    "hardware": results.hardware(),
    "seeds": [0],
    "heldout_problems": 20,
    "stages": [
      {"name": "warm-up", "role": "loop", "greedy_pass_at_1": interval}
    ],
    "curves": [
      {
        "method": "majority",
        "points": [results.curve_point(4, interval, accounting.Cost(12.0))],
      }
    ],
    "prm_quality": [],
    "comparisons": [],
    "trees": [],
  }


def test_what_is_written_is_read_again(tmp_path):
  path = results.write_results(tmp_path / "new" / "results.json", minimal())
  found = results.read_results(path)
  assert found["stages"][0]["greedy_pass_at_1"] == {
    "mean": 0.4,
    "low": 0.3,
    "high": 0.5,
  }
  assert found["curves"][0]["points"][0]["policy_tokens"] == 12.0
  assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_numpy_and_undefined_numbers_become_plain_json(tmp_path):
  record = minimal()
  record["heldout_problems"] = np.int64(20)
  record["seeds"] = np.arange(3)
  record["stages"][0]["seconds"] = np.float32(0.5)
  record["stages"][0]["greedy_pass_at_1"] = bootstrap.Interval(
    float("nan"), float("-inf"), np.float64(1)
  )
  path = results.write_results(tmp_path / "r.json", record)
  # Strict JSON has no NaN: this parser refuses it.
  found = json.loads(path.read_text(), parse_constant=pytest.fail)
  assert found["seeds"] == [0, 1, 2]
  assert found["stages"][0]["seconds"] == 0.5
  interval = found["stages"][0]["greedy_pass_at_1"]
  assert interval == {"mean": None, "low": None, "high": 1.0}


def test_refused_results_leave_the_old_file_whole(tmp_path):
  path = results.write_results(tmp_path / "r.json", minimal())
  before = path.read_bytes()
  broken = minimal() | {"task": 3}
  with pytest.raises(ValueError, match=r"r.json.task must be a text; found 3"):
    results.write_results(path, broken)
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
  tmp_path, monkeypatch
):
  path = results.write_results(tmp_path / "r.json", minimal())
  before = path.read_bytes()

  def full(*_):
    raise OSError("No space left on device")

  monkeypatch.setattr(results.os, "fsync", full)
  with pytest.raises(OSError, match="No space"):
    results.write_results(path, minimal() | {"task": "countdown"})
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
  ("place", "value", "message"),
  [
    (("stages", 0, "role"), "lop", "stages[0].role must be one of start, loop"),
    (("stages", 0, "updates"), True, "stages[0].updates must be a whole num"),
    (("stages", 0, "extra"), 1, "stages[0] has the unknown key 'extra'"),
    (("curves", 0, "points", 0, "flops"), "many", "flops must be a number"),
    (("curves", 0, "points"), {}, "curves[0].points must be a list"),
    (("hardware",), "fast", "hardware must be a mapping; found 'fast'"),
    (("schema",), 2, "schema 2; this version reads 1"),
  ],
)
def test_the_first_place_off_the_schema_is_named(place, value, message):
  record = results.to_plain(minimal())
  at = record
  for key in place[:-1]:
    at = at[key]
  at[place[-1]] = value
  with pytest.raises(ValueError) as error:
    results_schema.validate(record)
  assert message in str(error.value)


def test_no_required_key_may_be_missing():
  record = results.to_plain(minimal())
  for key in record:
    lacking = copy.deepcopy(record)
    del lacking[key]
    with pytest.raises(ValueError, match="schema None|lacks the key"):
      results_schema.validate(lacking)


@pytest.mark.parametrize("text", ["", '{"schema": 1', "\x80"])
def test_a_truncated_file_is_refused_by_its_name(tmp_path, text):
  path = tmp_path / "results.json"
  path.write_bytes(text.encode("latin-1"))
  with pytest.raises(ValueError, match="results.json is not readable as JSON"):
    results.read_results(path)


@pytest.mark.parametrize(
  ("low", "high", "verdict", "words"),
  [
    (0.03, 0.11, "clearly above", "Beam is clearly above best-of-N at 16: a "),
    (-0.01, 0.15, "not shown", "It is not shown that beam is above best-of-N"),
    (-0.1, -0.01, "reversed", "The order is reversed: best-of-N is above beam"),
  ],
)
def test_a_comparison_says_in_words_what_it_shows(low, high, verdict, words):
  difference = bootstrap.Difference(0.07 if high > 0 else -0.05, low, high)
  found = results.comparison("beam", "best-of-N", difference, "16")
  assert found["verdict"] == verdict
  assert found["sentence"].startswith(words)
  results_schema.validate(
    results.to_plain(minimal() | {"comparisons": [found]})
  )


def test_the_hardware_names_cores_memory_and_device():
  found = results.hardware()
  assert found["cores"] >= 1 and found["memory_bytes"] > 2**20
  assert "JAX" in found["software"] and " x " in found["device"]


def test_the_commit_is_a_text_even_outside_a_checkout(tmp_path, monkeypatch):
  assert results.current_commit()
  monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
  assert results.current_commit() == "unknown"
