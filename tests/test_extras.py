"""Missing optional packages are asked for by name."""

from __future__ import annotations

import json

import pytest

from reasoning_rl import extras


def test_an_installed_module_is_returned():
  assert extras.require("json", "hf") is json


def test_a_missing_module_names_the_extra_and_the_command():
  with pytest.raises(extras.MissingExtraError) as caught:
    extras.require("no_such_package.part", "verify")
  assert "no_such_package is not installed" in str(caught.value)
  assert "pip install -e '.[verify]'" in str(caught.value)


def test_a_fault_inside_an_installed_package_is_not_hidden(
  tmp_path, monkeypatch
):
  (tmp_path / "half_installed.py").write_text("import no_such_package\n")
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ModuleNotFoundError) as caught:
    extras.require("half_installed", "tasks")
  assert caught.value.name == "no_such_package"


def test_an_unknown_extra_is_refused():
  with pytest.raises(ValueError, match="unknown extra 'hff'"):
    extras.require("json", "hff")
