"""Measures reasoning and reward models, and writes the report.

  accuracy        pass@k, votes, best-of-N, accuracy against budget
  bootstrap       intervals over problems, paired differences, verdicts
  reward_quality  AUROC, first-error F1 and calibration of a PRM
  accounting      what a method costs: tokens, FLOPs, cache bytes, seconds
  results         results.json, written and read; results_schema says how
  tree_view       a search tree as it is shown, and as terminal text
  report          results, curves and trees as one page; figures beside it

Everything here is NumPy on the host.
"""
