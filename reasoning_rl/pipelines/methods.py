"""The searches by name, and what a config may say of them."""

from __future__ import annotations

import ml_collections

# Frontier searches by the allocation rule that they are.
FRONTIER = {
  "independent": "independent",  # Samples; best-of-N with a PRM.
  "beam": "best",
  "dvts": "subtrees",  # Diverse verifier tree search.
  "lookahead": "best",  # Beam search whose scores look ahead.
  "rebase": "rebase",
  "particles": "particles",  # Particle filtering.
  "tot_bfs": "breadth_first",  # Tree of Thoughts.
  "tot_dfs": "depth_first",
}
# Every slot of these is a sample of its own: equal ones are both wanted.
SAMPLES = ("independent", "rebase", "particles")
TREE = (
  "mcts",  # PUCT.
  "uct",
  "gumbel",  # Sequential Halving at the root.
  "rstar",  # rStar-Math.
  "rest_mcts",  # ReST-MCTS*.
)
METHODS = (*FRONTIER, *TREE)


def votes(answer: str, method: str) -> str:
  """Returns what votes in a search, as `measure.search_point` names it.

  Args:
    answer: `evaluate.search_answer`.
    method: The search.
  """
  if answer == "best":
    return ""
  return "samples" if method in SAMPLES else "different"


def check(config: ml_collections.ConfigDict) -> None:
  """Refuses now what a search would refuse after all the learning."""
  search, evaluate = config.search, config.evaluate
  if search.draw not in ("distinct", "merged"):
    raise ValueError(
      f"search.draw is {search.draw!r}; use 'distinct' or 'merged'."
    )
  if not 0 < search.top_p <= 1:
    raise ValueError(
      f"search.top_p is {search.top_p}: give a share above 0, at most 1."
    )
  least = dict.fromkeys(
    ("beam_candidates", "mcts_candidates", "beam_stretch"), 1
  )
  least |= dict.fromkeys(("rebase_temperature", "particle_temperature"), 1e-6)
  least |= dict.fromkeys(("lanes", "lookahead"), 0)
  for key, value in least.items():
    if not search[key] >= value:
      raise ValueError(f"search.{key} is {search[key]}: give at least {value}.")
  if evaluate.budgets and min(evaluate.budgets) < 1:
    raise ValueError(
      f"evaluate.budgets is {evaluate.budgets}: each is at least 1."
    )
  if evaluate.samples < 0:
    raise ValueError(
      f"evaluate.samples is {evaluate.samples}: give 0 (greedy alone) or more."
    )
  if not 0 <= search.likelihood < 1:
    raise ValueError(
      f"search.likelihood is {search.likelihood}: give at least 0, below 1."
    )
  errors = (search.value_error, *evaluate.value_errors)
  if not all(0 <= error <= 1 for error in errors):
    raise ValueError(f"search.value_error is a share, not {errors}.")
  if evaluate.search_answer not in ("best", "vote"):
    raise ValueError(
      f"evaluate.search_answer is {evaluate.search_answer!r}; use 'best' or"
      " 'vote'."
    )
  if config.collect.final_problems < 0:
    raise ValueError(
      f"collect.final_problems is {config.collect.final_problems}: give 0 (as"
      " many as collect.problems) or more."
    )
  unknown = set(evaluate.methods) - set(METHODS)
  if unknown:
    raise ValueError(
      f"evaluate.methods has {sorted(unknown)}; use some of {METHODS}."
    )
