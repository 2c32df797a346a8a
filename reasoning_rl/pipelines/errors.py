"""Errors that the user can put right; the text is a sentence that says how."""

from __future__ import annotations


class UserError(Exception):
  """The base of them: a script prints the sentence, without a traceback."""


class ConfigError(UserError):
  """A command line or config file that cannot be used."""


class WorkdirError(UserError):
  """A workdir that this run cannot or must not use."""
