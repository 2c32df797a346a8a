"""Search trees as the report and the terminal draw them."""

from __future__ import annotations

import numpy as np

from reasoning_rl.evaluation import accounting, tree_view
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import measure, problem_batch
from reasoning_rl.pipelines import search as search_lib
from reasoning_rl.search import extract
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import verdicts as verdicts_lib


def views(
  experiment: experiment_lib.Experiment,
  problems: problem_batch.ProblemBatch,
  found: search_lib.Found,
  method: str,
  how: str,
  count: int,
) -> list[tree_view.TreeView]:
  """Returns the first `count` trees of a search.

  Args:
    experiment: The run.
    problems: The problems; those of `found` are its first ones.
    found: What was found.
    method: The search's name.
    how: How thought scores become a solution's.
    count: Trees wanted.
  """
  rows = range(min(count, len(found.solutions)))
  return [
    view(experiment, problems.problems[row], found, row, method, how)
    for row in rows
  ]


def view(
  experiment: experiment_lib.Experiment,
  problem,
  found: search_lib.Found,
  row: int,
  method: str,
  how: str,
) -> tree_view.TreeView:
  """Returns one problem's tree, its chosen path and the oracle's verdicts."""
  tree = found.tree
  nodes = np.flatnonzero(tree.valid_mask[row])
  place = {int(node): index for index, node in enumerate(nodes)}
  chosen = set(best_path(found.solutions[row], how))
  expanded = set(tree.parents[row, nodes[1:]].tolist())
  prior = _priors(tree, row, nodes)
  records = []
  for node in nodes.tolist():
    tokens = tree.tokens[row, node, : tree.lengths[row, node]].tolist()
    text = experiment.completion_text(tokens).removesuffix("\n")
    is_root = node == 0
    records.append(
      tree_view.NodeView(
        parent=-1 if is_root else place[int(tree.parents[row, node])],
        thought=problem.shown if is_root else text,
        thought_reward=(
          float("nan") if is_root else float(tree.thought_rewards[row, node])
        ),
        visits=int(tree.node_visits[row, node]),
        value=_value(tree, row, node),
        prior=float("nan") if is_root else prior[node],
        terminal=bool(tree.terminal_mask[row, node]),
        chosen=node in chosen or is_root,
        pruned=bool(tree.open_mask[row, node]) and node not in expanded,
        correct=None
        if is_root
        else _verdict(experiment, problem, tree, row, node),
      )
    )
  cost = accounting.Cost(
    policy_tokens=float(found.policy_tokens[row]),
    prm_tokens=float(found.prm_tokens[row]),
    peak_cache_bytes=float(found.pool_bytes[row]),
    seconds=found.seconds,
  )
  return tree_view.TreeView(
    problem.shown, problem.answer, method, tuple(records), cost
  )


def best_path(found: list[extract.Solution], how: str) -> tuple[int, ...]:
  """Returns the nodes of the best-scored complete solution."""
  if not found:
    return ()
  return found[int(np.argmax(measure.solution_scores(found, how)))].nodes


def _value(tree, row, node) -> float:
  """Returns the mean return on entering a node; NaN before any visit."""
  if not tree.node_visits[row, node]:
    return float("nan")
  if node == 0:
    return float(tree.node_values[row, node])
  # A complete solution's own value is 0: what it was paid is its reward.
  return float(tree.qvalues[row, node])


def _verdict(experiment, problem, tree, row, node) -> bool | None:
  """Returns whether the thought is right, for the reader of the report.

  Without an oracle nobody knows, but of a complete solution the verifier does.
  """
  has_oracle = isinstance(experiment.task, task_base.Oracle)
  if not has_oracle and not tree.terminal_mask[row, node]:
    return None
  texts = []
  for step in extract.path_to(tree, row, node):
    tokens = tree.tokens[row, step, : tree.lengths[row, step]].tolist()
    texts.append(experiment.completion_text(tokens).removesuffix("\n") + "\n")
  if not has_oracle:
    (verdict,) = verdicts_lib.judge_many(
      experiment.task, [problem], ["".join(texts)]
    )
    return verdict.is_correct if verdict.is_decided else None
  return experiment.task.thought_correct(problem, texts)[-1]


def _priors(tree, row, nodes) -> dict[int, float]:
  """Returns each node's share among its siblings."""
  weights = np.exp(tree.prior_logits[row, nodes])
  parents = tree.parents[row, nodes]
  total = {p: weights[parents == p].sum() for p in set(parents.tolist())}
  return {
    int(node): float(weight / total[int(parent)])
    for node, weight, parent in zip(nodes, weights, parents, strict=True)
  }
