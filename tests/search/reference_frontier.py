"""Frontier searches over a table in plain NumPy, one slot at a time.

Written from the papers' definitions. A frontier is a list of paths of states,
None where a slot is empty; a path is a tuple that begins with the root's 0.
"""

from __future__ import annotations

import collections
import math

import numpy as np

from tests.search import reference

Path = tuple[int, ...]


def score(problem, path: Path, aggregation: str = "last", lookahead: int = 0):
  """Scores a path after its greedy continuation; the first child is likeliest.

  What is not a number ranks below every number.
  """
  for _ in range(lookahead):
    if problem.is_open[path[-1]]:
      path = (*path, problem.children(path[-1], 0, 1)[0])
  found = reference.path_score(problem, path, aggregation)
  return found if math.isfinite(found) else -math.inf


def is_open(problem, path: Path | None) -> bool:
  return path is not None and bool(problem.is_open[path[-1]])


def is_finished(problem, path: Path | None) -> bool:
  return path is not None and bool(problem.is_terminal[path[-1]])


def continuations(problem, frontier, count: int) -> list[list[Path]]:
  """Returns per slot the continuations of its thought that lead somewhere."""
  copies, every = collections.Counter(), []
  for path in frontier:
    found = []
    if is_open(problem, path):
      copy, copies[path] = copies[path], copies[path] + 1
      found = problem.children(path[-1], copy, count)
    found = [(*path, child) for child in found]
    goes_on = lambda p: is_open(problem, p) or is_finished(problem, p)
    every.append([p for p in found if goes_on(p)])
  return every


def ranked(problem, paths, **kwargs) -> list[Path]:
  """Sorts paths, best first; equal ones stay in their order."""
  return sorted(paths, key=lambda p: -score(problem, p, **kwargs))


def subtrees(problem, width: int, count: int, passes: int, **kwargs):
  """Diverse verifier tree search: each subtree is a greedy search alone."""
  frontier = []
  for subtree in range(width):
    path = (0,)
    for depth in range(passes):
      if is_open(problem, path):
        copies = [path] * (subtree + 1 if depth == 0 else 1)
        found = continuations(problem, copies, count)[-1]
        path = ranked(problem, found, **kwargs)[0] if found else None
    frontier.append(path)
  return frontier


def beam(problem, width: int, count: int, passes: int, **kwargs):
  """Beam search (arXiv:2408.03314), by lookahead where that is asked for."""
  frontier = [(0,)] * width
  for _ in range(passes):
    if not any(is_open(problem, path) for path in frontier):
      break
    finished = [path for path in frontier if is_finished(problem, path)]
    new = sum(continuations(problem, frontier, count), [])
    frontier = ranked(problem, finished + new, **kwargs)[:width]
    frontier += [None] * (width - len(frontier))
  return frontier


def breadth_first(problem, width, count, passes, threshold):
  """Tree of Thoughts (arXiv:2305.10601), algorithm 1 with pruning.

  The best states of each depth; solutions from before take what is left.
  """
  frontier = [(0,)] * width
  for _ in range(passes):
    if not any(is_open(problem, path) for path in frontier):
      break
    new = sum(continuations(problem, frontier, count), [])
    new = [path for path in new if score(problem, path) >= threshold]
    before = [path for path in frontier if is_finished(problem, path)]
    frontier = ranked(problem, new) + ranked(problem, before)
    frontier = (frontier + [None] * width)[:width]
  return frontier


def depth_first(problem, count: int, threshold: float, limit: int):
  """Tree of Thoughts, algorithm 2: yields the thoughts it expands, in order."""

  def visit(path):
    yield path
    children = continuations(problem, [path], count)[0]
    for child in ranked(problem, children):
      kept = score(problem, child) >= threshold and len(child) <= limit
      if kept and is_open(problem, child):
        yield from visit(child)

  return visit((0,))


def rebase_widths(scores, budget: int, temperature: float) -> list[int]:
  """W_j = Round(B · exp(R_j / T) / Σ_k exp(R_k / T)) (arXiv:2408.00724).

  Halves go up; the worst-scored give way where the sum would pass the budget.
  """
  powers = [math.exp((r - max(scores)) / temperature) for r in scores]
  exact = [budget * power / sum(powers) for power in powers]
  widths = [math.floor(width + 0.5) for width in exact]
  for j in sorted(range(len(scores)), key=lambda j: (scores[j], -j)):
    widths[j] -= min(widths[j], max(0, sum(widths) - budget))
  return widths


def rebase(problem, width: int, passes: int, temperature: float):
  """Reward balanced search: how many slots each path stands in."""
  frontier, finished = [(0,)] * width, []
  for _ in range(passes):
    new = sum(continuations(problem, frontier, 1), [])
    finished += [path for path in new if is_finished(problem, path)]
    nodes = [path for path in new if is_open(problem, path)]
    if not nodes:
      frontier = []
      break
    widths = rebase_widths(
      [score(problem, path) for path in nodes],
      width - len(finished),
      temperature,
    )
    pairs = zip(nodes, widths, strict=True)
    frontier = [path for path, copies in pairs for _ in range(copies)]
  return collections.Counter(frontier + finished)


def particle_probabilities(scores, temperature: float):
  """softmax(logit(score) / temperature) (arXiv:2502.01618)."""
  odds = np.asarray(scores) / (1 - np.asarray(scores))
  return odds ** (1 / temperature) / np.sum(odds ** (1 / temperature))


def particles(problem, width: int, passes: int, temperature: float, noise):
  """Particle filtering, drawing by the given Gumbel numbers.

  `noise(tokens)` are those of the pass after which so many tokens were decoded:
  for each slot one per slot it may be drawn from.
  """
  frontier, tokens = [(0,)] * width, 0
  for _ in range(passes):
    drawing = [
      slot for slot in range(width) if is_open(problem, frontier[slot])
    ]
    if not drawing:
      break
    tokens += len(drawing)
    new = continuations(problem, frontier, 1)
    moved = [new[w][0] if new[w] else None for w in range(width)]
    after = [moved[w] if w in drawing else frontier[w] for w in range(width)]
    pool = [slot for slot in range(width) if is_open(problem, after[slot])]
    numbers = noise(tokens)
    for slot in range(width):
      if is_finished(problem, after[slot]):
        frontier[slot] = after[slot]
      elif not pool:
        frontier[slot] = None
      else:
        chances = particle_probabilities(
          [score(problem, after[w]) for w in pool], temperature
        )
        keys = np.log(chances) + numbers[slot, pool]
        frontier[slot] = after[pool[int(np.argmax(keys))]]
  return frontier
