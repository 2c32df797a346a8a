"""Starts `stage`, in a bare interpreter that finds nothing beside this file."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import stage  # noqa: E402

stage.main()
