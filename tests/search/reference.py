"""Searches over a table in plain NumPy, one problem and one thought at a time.

Written from the definitions in the papers, for nothing but clarity: sums and
counts instead of running means, dictionaries instead of arrays.
"""

from __future__ import annotations

import collections
import math

import numpy as np


class Problem:
  """One row of a table: what each state is, and what its children are."""

  def __init__(self, table, row: int, branching: int):
    self.branching = branching
    for name in ("valid", "open", "terminal"):
      setattr(
        self, f"is_{name}", np.asarray(getattr(table, f"{name}_mask"))[row]
      )
    for name in ("prior_logits", "rewards", "discounts", "values"):
      setattr(self, name, np.asarray(getattr(table, name))[row].astype(float))
    self.scores = np.asarray(table.thought_rewards)[row].astype(float)

  def children(self, state: int, copy: int = 0, count: int | None = None):
    """Returns the valid ones of the `copy`-th `count` children."""
    count = self.branching if count is None else count
    index = range(copy * count, min((copy + 1) * count, self.branching))
    every = [state * self.branching + 1 + i for i in index]
    return [child for child in every if self.is_valid[child]]


class TreeSearch:
  """PUCT (arXiv:1911.08265, appendix B) with virtual loss.

  Attributes:
    visits: Simulations through each state.
    total: Sum of their returns.
    expanded: States whose children are known.
    finished: Complete solutions that have been visited, if these are skipped.
    tokens: Thoughts decoded, which are one token long.
  """

  def __init__(
    self,
    problem: Problem,
    value_kind: str,
    leaves_per_pass: int = 1,
    skip_exhausted: bool = False,
  ):
    self.problem = problem
    self.value_kind = value_kind
    self.leaves_per_pass = leaves_per_pass
    self.visits = collections.Counter()
    self.total = collections.Counter()
    self.skip_exhausted = skip_exhausted
    self.expanded = set()
    self.finished = set()
    self.tokens = 0

  def run(self, num_passes: int, token_budget: float = math.inf):
    for _ in range(num_passes):
      if self.tokens >= token_budget or self._is_exhausted(0):
        break
      self._one_pass()
    return self

  def _one_pass(self):
    pending, paths = collections.Counter(), []
    for _ in range(self.leaves_per_pass):
      path = self._walk(pending)
      if path not in paths:
        paths.append(path)
      pending.update(path)
    for path in paths:
      if self.problem.is_open[path[-1]] and path[-1] not in self.expanded:
        self.expanded.add(path[-1])
        self.tokens += self.problem.branching
    for path in paths:
      returns = self.problem.values[path[-1]]
      for state in reversed(path):
        self.visits[state] += 1
        self.total[state] += returns
        reward, discount = self.problem.rewards, self.problem.discounts
        returns = reward[state] + discount[state] * returns
      if self.skip_exhausted and path[-1] not in self.expanded:
        self.finished.add(path[-1])

  def _is_exhausted(self, state) -> bool:
    """Whether every solution below has been visited; asked from scratch."""
    if not self.skip_exhausted or state not in self.expanded:
      return state in self.finished
    return all(map(self._is_exhausted, self.problem.children(state)))

  def _walk(self, pending):
    path = [0]
    while path[-1] in self.expanded:
      children = self.problem.children(path[-1])
      scores = self._puct(path[-1], children, pending)
      exhausted = list(map(self._is_exhausted, children))
      path.append(children[int(np.argmax(np.where(exhausted, -1e9, scores)))])
    return path

  def value(self, state: int, pending=None) -> float:
    """Mean return; a pending visit returned 0; before any, the estimate."""
    count = self.visits[state] + (pending[state] if pending else 0)
    return self.total[state] / count if count else self.problem.values[state]

  def worth(self, state: int, pending) -> float:
    """Mean of what entering was worth; a pending visit was worth 0."""
    entered = self.problem.rewards[state]
    entered += self.problem.discounts[state] * self.value(state)
    if not pending[state]:
      return entered
    visits = self.visits[state]
    return entered * visits / (visits + pending[state])

  def _puct(self, parent, children, pending):
    count = lambda state: self.visits[state] + pending[state]
    logits = self.problem.prior_logits[children]
    priors = np.exp(logits) / np.sum(np.exp(logits))
    constant = 1.25 + math.log((count(parent) + 19652 + 1) / 19652)
    scores = []
    q = {x: self.worth(x, pending) for x in children}
    known = [q[x] for x in children if count(x)] + [self.value(parent, pending)]
    span = max(max(known) - min(known), 1e-8)
    for child, prior in zip(children, priors, strict=True):
      worth = q[child]
      if self.value_kind == "siblings":
        worth = (worth - min(known)) / span if count(child) else 0.0
      explore = prior * math.sqrt(count(parent)) / (1 + count(child)) * constant
      scores.append(worth + explore)
    return scores

  def known_states(self) -> list[int]:
    below = [x for s in self.expanded for x in self.problem.children(s)]
    return [0, *below]


def path_score(problem: Problem, path: tuple[int, ...], aggregation: str):
  scores = [problem.scores[state] for state in path[1:]]
  combine = {"last": lambda x: x[-1], "min": min, "product": math.prod}
  return combine[aggregation](scores) if scores else 1.0


def beam(
  problem: Problem,
  width: int,
  num_candidates: int,
  aggregation: str,
  num_passes: int,
  refill: bool = False,
) -> list[tuple[int, ...]]:
  """Beam search over thoughts (arXiv:2408.03314): returns the beam's paths.

  With `refill` a beam too narrow repeats its open paths until it is full.
  """
  paths = [(0,)] * width
  for _ in range(num_passes):
    offered, copies = [], collections.Counter()
    offered += [path for path in paths if not problem.is_open[path[-1]]]
    for path in paths:
      if problem.is_open[path[-1]]:
        copy, copies[path] = copies[path], copies[path] + 1
        found = problem.children(path[-1], copy, num_candidates)
        offered += [(*path, child) for child in found]
    usable = [p for p in offered if _goes_on(problem, p[-1])]
    usable.sort(key=lambda p: -path_score(problem, p, aggregation))
    paths = usable[:width]
    again = [path for path in paths if problem.is_open[path[-1]]] * width
    paths += again[: width - len(paths)] if refill else []
  return paths


def best_of_n(
  problem: Problem, width: int, num_passes: int
) -> list[tuple[int, ...] | None]:
  """Independent samples; None where one ended without a solution."""
  samples = []
  for copy in range(width):
    path = (0,)
    for _ in range(num_passes):
      if path is None or not problem.is_open[path[-1]]:
        break
      first = len(path) == 1
      found = problem.children(path[-1], copy if first else 0, 1)
      found = [child for child in found if _goes_on(problem, child)]
      path = (*path, found[0]) if found else None
    samples.append(path)
  return samples


def solutions(problem: Problem) -> list[tuple[int, ...]]:
  """Every complete solution there is, by exhaustion."""
  complete, paths = [], [(0,)]
  while paths:
    path = paths.pop()
    if problem.is_terminal[path[-1]]:
      complete.append(path)
    elif problem.is_open[path[-1]]:
      paths += [(*path, child) for child in problem.children(path[-1])]
  return complete


def _goes_on(problem: Problem, state: int) -> bool:
  """Whether a state is a solution or can still become one."""
  return bool(problem.is_open[state] or problem.is_terminal[state])
