"""Tests of the command line, config files and their comparison."""

from __future__ import annotations

import json
import math

import ml_collections
import pytest

from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines.errors import ConfigError, WorkdirError

BASE = """
import ml_collections
from ml_collections import config_dict

def get_config(arg=""):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.shared = False
  config.search = ml_collections.ConfigDict()
  config.search.width = 4
  config.search.discount = 0.9
  config.search.method = "beam"
  config.search.budgets = (1, 2)
  config.search.ratios = [0.5, 1]
  config.search.max_depth = config_dict.placeholder(int)
  return config
"""
EXPERIMENT = """
from . import base

def get_config(arg=""):
  config = base.get_config()
  if arg not in ("", "wide"):
    raise ValueError(f"no variant {arg}")
  config.search.width = 32 if arg == "wide" else 8
  return config
"""


@pytest.fixture
def configs(tmp_path):
  """A folder of configs: base.py and x.py."""
  (tmp_path / "base.py").write_text(BASE)
  (tmp_path / "x.py").write_text(EXPERIMENT)
  return tmp_path


def load(configs, *overrides, name="x.py"):
  argv = [f"--config={configs / name}", "--workdir=w", *overrides]
  return config_lib.load(argv)[0]


def refusal(configs, *overrides, name="x.py"):
  """Returns the sentence with which the command line is refused."""
  with pytest.raises(ConfigError) as caught:
    load(configs, *overrides, name=name)
  sentence = str(caught.value)
  assert "\n" not in sentence
  return sentence


def test_both_forms_of_a_flag_are_understood(configs):
  argv = ["--workdir", "a b/c", "--config", str(configs / "x.py:wide")]
  argv += ["--config.seed", "-3", "--config.search.discount=1"]
  config, workdir = config_lib.load(argv)
  assert str(workdir) == "a b/c"
  assert (config.seed, config.search.width) == (-3, 32)
  assert config.search.discount == 1.0
  assert isinstance(config.search.discount, float)


def test_values_take_the_type_of_their_key(configs):
  config = load(
    configs,
    "--config.shared=True",
    "--config.search.method=1",
    "--config.search.budgets=(4, 8,16)",
    "--config.search.ratios=1,0.25",
    "--config.search.max_depth=7",
  )
  assert config.shared is True
  assert config.search.method == "1"
  assert config.search.budgets == (4, 8, 16)
  assert config.search.ratios == [1.0, 0.25]
  assert config.search.max_depth == 7


def test_empty_text_is_an_empty_tuple(configs):
  assert load(configs, "--config.search.budgets=").search.budgets == ()


def test_an_empty_tuple_takes_what_base_or_the_text_shows(configs):
  name = "y.py"
  emptied = "config.search.budgets = ()\n  return config"
  (configs / name).write_text(EXPERIMENT.replace("return config", emptied))
  found = load(configs, "--config.search.budgets=1,2", name=name)
  assert found.search.budgets == (1, 2)
  refusal(configs, "--config.search.budgets=1,2.5", name=name)
  # Where base.py has none either, they are what they read like.
  (configs / "base.py").write_text(BASE.replace("(1, 2)", "()"))
  for text, value in (
    ("1,2", (1, 2)),
    ("(0.5, 1)", (0.5, 1.0)),
    ("beam,2", ("beam", "2")),
    ("", ()),
  ):
    found = load(configs, f"--config.search.budgets={text}", name=name)
    assert found.search.budgets == value
    assert [type(x) for x in found.search.budgets] == [type(x) for x in value]


def test_the_last_of_two_overrides_wins(configs):
  config = load(configs, "--config.seed=1", "--config.seed=2")
  assert config.seed == 2


def test_none_is_taken_where_base_has_none_and_nowhere_else(configs):
  depth = ("--config.search.max_depth=3", "--config.search.max_depth=none")
  assert load(configs, *depth).search.max_depth is None
  assert "'search.width'" in refusal(configs, "--config.search.width=none")


def test_new_keys_cannot_be_set_later(configs):
  with pytest.raises(AttributeError):
    load(configs).search.widht = 1


def test_a_mistyped_key_names_itself_and_the_nearest(configs):
  assert refusal(configs, "--config.serach.width=3") == (
    "unknown config key 'serach.width': did you mean 'search.width'?"
  )
  assert refusal(configs, "--config.zzz=3") == (
    "unknown config key 'zzz': configs/base.py lists every key"
  )


@pytest.mark.parametrize(
  ("key", "text", "wanted", "given"),
  [
    ("seed", "2.5", "int", "float"),
    ("seed", "1e3", "int", "float"),
    ("seed", "true", "int", "bool"),
    ("shared", "1", "bool", "int"),
    ("search.discount", "high", "float", "str"),
    ("search.discount", "nan", "float", "str"),
    ("search.budgets", "1,2.5", "tuple", "str"),
    ("search.max_depth", "deep", "int", "str"),
  ],
)
def test_a_wrong_type_names_key_given_and_wanted(
  configs, key, text, wanted, given
):
  sentence = refusal(configs, f"--config.{key}={text}")
  assert f"config key {key!r} takes" in sentence
  assert wanted in sentence
  assert sentence.endswith(f"{text!r} is of type {given}")


def test_a_section_cannot_be_set(configs):
  sentence = refusal(configs, "--config.search=3")
  assert "'search' is a section" in sentence
  assert "like 'search.budgets'" in sentence


@pytest.mark.parametrize(
  ("argv", "words"),
  [
    (["--workdir=w"], "flag --config is missing"),
    (["--config=x.py"], "flag --workdir is missing"),
    (["--config=x.py", "--workdir="], "flag --workdir is missing"),
    (["--config=x.py", "--workdir"], "flag --workdir needs a value"),
    (["--config.seed", "--workdir=w"], "flag --config.seed needs a value"),
    (["--wrokdir=w"], "unknown flag '--wrokdir': did you mean '--workdir'?"),
    (["x.py"], "unexpected argument 'x.py'"),
    (["--config=x.py", "--workdir=w"], "x.py does not exist"),
    (["--config=/", "--workdir=w"], "does not exist"),
  ],
)
def test_an_unusable_command_line_is_refused(
  argv, words, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError) as caught:
    config_lib.load(argv)
  assert words in str(caught.value)


@pytest.mark.parametrize(
  ("source", "words"),
  [
    ("seed = 1\n", "has no get_config()"),
    ("def get_config(): return {}\n", "must return a ConfigDict"),
    ("\ndef get_config(): return 1 // 0\n", "line 2 cannot be loaded: Zero"),
    ("def get_config(:\n", "SyntaxError"),
    (
      EXPERIMENT.replace("search.width", "search.widht"),
      "unknown config key 'search.widht' in",
    ),
    (
      EXPERIMENT.replace(
        "  return config", "  del config.seed\n  return config"
      ),
      "config key 'seed' is missing",
    ),
    (
      "from ml_collections import ConfigDict\n"
      "def get_config(): return ConfigDict(dict(seed='a'))\n",
      "'seed' in",
    ),
  ],
)
def test_an_unusable_config_file_is_refused(configs, source, words):
  (configs / "bad.py").write_text(source)
  assert words in refusal(configs, name="bad.py")


def test_an_unknown_variant_is_refused(configs):
  assert "no variant narrow" in refusal(configs, name="x.py:narrow")
  (configs / "y.py").write_text(BASE.replace('arg=""', ""))
  assert "has no variants: drop :a" in refusal(configs, name="y.py:a")


def test_folders_with_files_of_one_name_are_kept_apart(configs, tmp_path):
  other = tmp_path / "other"
  other.mkdir()
  (other / "base.py").write_text(BASE.replace("seed = 0", "seed = 5"))
  (other / "x.py").write_text(EXPERIMENT)
  assert [load(folder).seed for folder in (configs, other)] == [0, 5]


def test_json_holds_every_value_and_the_hash_follows_it(configs):
  config = load(configs)
  assert json.loads(config_lib.to_json(config)) == {
    "seed": 0,
    "shared": False,
    "search": {
      "width": 8,
      "discount": 0.9,
      "method": "beam",
      "budgets": [1, 2],
      "ratios": [0.5, 1],
      "max_depth": None,
    },
  }
  stored = json.loads(config_lib.to_json(config))
  assert config_lib.config_hash(stored) == config_lib.config_hash(config)
  changed = load(configs, "--config.seed=1")
  assert config_lib.config_hash(changed) != config_lib.config_hash(config)


def test_diff_lists_changed_added_and_lost_keys():
  old = {"a": 1, "b": {"c": [1, 2], "d": None, "same": "x"}}
  new = {"a": 1.0, "b": {"c": (1, 3), "e": math.inf, "same": "x"}}
  assert config_lib.diff(old, ml_collections.ConfigDict(new)) == [
    "a: 1 -> 1.0",
    "b.c: [1, 2] -> [1, 3]",
    "b.d: null -> absent",
    "b.e: absent -> Infinity",
  ]
  assert config_lib.diff(old, old) == []


def test_main_runs_and_returns_zero(configs):
  seen = []
  argv = [f"--config={configs / 'x.py'}", "--workdir=w", "--config.seed=4"]

  def run(config, workdir):
    seen.append((config.seed, str(workdir)))

  assert config_lib.main(run, argv=argv) == 0
  assert seen == [(4, "w")]


@pytest.mark.parametrize(
  ("error", "status", "sentence"),
  [
    (WorkdirError("not here"), 2, "error: not here\n"),
    (FileNotFoundError("no weights"), 2, "error: no weights\n"),
    (
      KeyboardInterrupt(),
      130,
      "interrupted; the same command continues\n",
    ),
  ],
)
def test_main_prints_one_sentence_for_the_user(
  configs, capsys, error, status, sentence
):
  def run(config, workdir):
    raise error

  argv = [f"--config={configs / 'x.py'}", "--workdir=w"]
  assert config_lib.main(run, (FileNotFoundError,), argv) == status
  assert capsys.readouterr().err == sentence


def test_main_keeps_the_traceback_of_a_bug(configs):
  def run(config, workdir):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    config_lib.main(run, argv=[f"--config={configs / 'x.py'}", "--workdir=w"])


def test_main_exits_with_two_on_a_mistyped_key(configs, capsys):
  argv = [f"--config={configs / 'x.py'}", "--workdir=w", "--config.sead=4"]
  assert config_lib.main(lambda *_: None, argv=argv) == 2
  assert "did you mean 'seed'?" in capsys.readouterr().err


def test_help_shows_the_usage(capsys):
  assert config_lib.main(lambda *_: None, argv=["--help"]) == 0
  assert "--config.SECTION.KEY=VALUE" in capsys.readouterr().out
