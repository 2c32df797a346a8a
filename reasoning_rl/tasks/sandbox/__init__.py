"""Runs programs that a model wrote, so that it can neither escape nor cheat.

`programs.ProgramVerifier` judges by unit tests, `cases` holds the forms that
tests come in, `extract` finds the program in a text. `levels` says what the
walls are, `self_check` which of them this machine has.
"""
