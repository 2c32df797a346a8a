"""Shows what a model will see of a task and how its answers are judged."""

import argparse
import sys

from reasoning_rl.pipelines import config, preview, stage

if __name__ == "__main__":
  parser = argparse.ArgumentParser(
    description=__doc__, allow_abbrev=False,
    epilog="--config=FILE and its overrides as in every script; no --workdir.",
  )  # fmt: skip
  parser.add_argument("--split", default="train", choices=preview.SPLITS)
  parser.add_argument("--first", type=int, default=0, help="problem index")
  parser.add_argument("--problems", type=int, default=2)
  parser.add_argument(
    "--completion", action="append", default=[], help="to judge; - reads stdin"
  )
  parser.add_argument("--json", action="store_true")
  flags, rest = parser.parse_known_args()
  given = [sys.stdin.read() if c == "-" else c for c in flags.completion]
  run = lambda *loaded: preview.run(
    *loaded,
    preview.Request(
      flags.split, flags.first, flags.problems, tuple(given), flags.json
    ),
  )
  # Nothing is written; a workdir only lends its SentencePiece model.
  sys.exit(config.main(run, stage.USER_ERRORS, ["--workdir=.", *rest]))
