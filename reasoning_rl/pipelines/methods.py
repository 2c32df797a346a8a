"""The searches by name, as configs, scripts and reports call them."""

from __future__ import annotations

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
