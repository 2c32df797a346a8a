"""What search on the tree costs, against how it is commonly done.

  python benchmarks/search.py
  python benchmarks/search.py --only beams,share_135m

Prints one table, and as its last line one JSON object. Every ratio is of
medians over warm, interleaved repetitions in this process; both sides do the
same work, in float32.

beams: 8 problems x 8 rows (2 beams of 4 candidates, as arXiv:2408.03314 counts
  8 beams), 26 M parameters, prompts of 128 tokens, 64 new positions in thoughts
  of 16. The peers hold a contiguous cache per row: rows that never meet, and a
  beam search that gathers its caches at every position. All begin with prompts
  that have been read; thoughts are scored by the policy's own head.
bookkeeping: the tree alone, without a network, against both mctx policies;
  64 trees of 16 actions, the same visits. Growth: from 32 to 256 simulations,
  of the rule that grows more.
shares: a search whose expansions are replayed over the search itself.
cache_bytes: what the compiler plans for a search of 16 trees of 256 nodes,
  over the bytes of their tokens' keys and values.
lanes: useful rows over computed rows, thoughts of geometric length.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import bookkeeping
import cache_bytes
import lanes
import rich.console
import rich.table
import search_beams
import search_shares
import timing

from reasoning_rl.pipelines import devices

Figures = dict[str, float]

# What is wanted of each figure of the last line: at least, or at most.
WANTED = {
  "beam_vs_sampler": ">= 1.2",
  "beam_vs_reorder": ">= 2",
  "bookkeeping_vs_mctx_gumbel": ">= 2",
  "bookkeeping_vs_mctx_muzero": ">= 5",
  "bookkeeping_vs_mctx_gumbel_at_32": ">= 1",
  "bookkeeping_vs_mctx_muzero_at_32": ">= 1",
  "bookkeeping_growth": "<= 1.5",
  "bookkeeping_share_135m": "<= 0.02",
  "bookkeeping_share_quickstart": "<= 0.1",
  "cache_bytes_ratio": "<= 1.15",
  "lane_occupancy": ">= 0.85",
}


def cache_bytes_of_search(repetitions: int) -> Figures:
  """Returns the bytes of a search over those of its tokens."""
  del repetitions  # The compiler's plan is the same every time.
  found = cache_bytes.cache_bytes_ratio(cache_bytes.Sizes())
  return {
    "cache_bytes_ratio": found["ratio"],
    "pool_fill": found["pool_fill"],
    "thoughts per tree": found["thoughts"],
  }


def lanes_of_decoding(repetitions: int) -> Figures:
  """Returns the occupancy of the decoding loop, with lanes and without."""
  found = lanes.lane_occupancy(repetitions=repetitions)
  return {
    "lane_occupancy": found["occupancy"]["one queue"],
    "lane_occupancy, queue per problem": found["occupancy"][
      "queue per problem"
    ],
    "lane_occupancy, all rows at once": found["occupancy"]["all rows"],
    "speed of one queue over all rows": found["speedup"]["one queue"],
    "variation of thought lengths": found["length_variation"],
  }


PARTS: dict[str, Callable[[int], Figures]] = {
  "beams": search_beams.beams,
  "bookkeeping": bookkeeping.measure_on_one_core,
  "share_135m": search_shares.share_135m,
  "share_quickstart": search_shares.share_quickstart,
  "cache_bytes": cache_bytes_of_search,
  "lanes": lanes_of_decoding,
}


def measure(parts: list[str], repetitions: int) -> Figures:
  """Returns the figures of the named parts."""
  figures: Figures = {}
  for name in parts:
    figures |= PARTS[name](repetitions)
  return figures


def print_table(console: rich.console.Console, figures: Figures) -> None:
  """Prints all figures, and beside those of the last line what is wanted."""
  table = rich.table.Table("measured", "figure", "wanted", title="search")
  table.add_row("machine", timing.machine(), "")
  table.add_row("allocator variables", timing.allocator_settings(), "")
  for name, value in figures.items():
    table.add_row(name, f"{value:,.4g}", WANTED.get(name, ""))
  console.print(table)


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--only",
    type=lambda text: text.split(","),
    default=list(PARTS),
    help=f"parts to measure, of {','.join(PARTS)}",
  )
  parser.add_argument(
    "--repetitions", type=int, default=3, help="timed calls of each function"
  )
  options = parser.parse_args()
  unknown = sorted(set(options.only) - set(PARTS))
  if unknown:
    parser.error(f"unknown parts {', '.join(unknown)}")
  if options.repetitions < 1:
    parser.error("--repetitions must be at least 1")
  devices.use_all_cores()
  console = rich.console.Console()
  for name in PARTS:
    if name not in options.only:
      console.print(f"skipped: {name}, which --only does not name")
  figures = measure(options.only, options.repetitions)
  print_table(console, figures)
  wanted = {name: figures[name] for name in WANTED if name in figures}
  print(json.dumps({name: round(value, 4) for name, value in wanted.items()}))


if __name__ == "__main__":
  main()
