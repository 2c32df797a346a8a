"""A shim for tools that look for setup.py; everything is in pyproject.toml."""

import setuptools

setuptools.setup()
