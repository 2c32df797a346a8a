"""A peer in a process of its own, with the Python of its own environment.

It reads one JSON line that says what to do, answers with its versions, and
then answers every line with one.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any


class Peer:
  """The other process."""

  def __init__(self, python: str, script: str, job: dict[str, Any]):
    """Starts it and waits until it is ready.

    Args:
      python: The interpreter of an environment with torch and transformers.
      script: A file beside this one.
      job: What to do, as the script wants it.
    """
    self._process = subprocess.Popen(
      [python, str(pathlib.Path(__file__).with_name(script))],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.versions = self.ask(job)["versions"]

  def ask(self, question: Any) -> dict[str, Any]:
    """Returns the answer to one question."""
    self._process.stdin.write(json.dumps(question) + "\n")
    self._process.stdin.flush()
    answer = self._process.stdout.readline()
    if not answer:
      raise SystemExit("The peer ended: it needs torch and transformers.")
    return json.loads(answer)

  def close(self) -> None:
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()
