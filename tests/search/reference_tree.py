"""UCT, rStar, ReST-MCTS* and Gumbel search in plain NumPy.

Written from the papers' definitions, one problem and one simulation at a time;
see `reference` for PUCT. Nothing is cached: every walk starts at the root and
ranks from scratch.
"""

from __future__ import annotations

import collections
import math

import numpy as np

from tests.search import reference


class UCT(reference.TreeSearch):
  """Q + c √(ln N / n); children not visited yet come first, the best first."""

  constant = math.sqrt(2)

  def _puct(self, parent, children, pending):
    count = lambda state: self.visits[state] + pending[state]
    scores = []
    for child in children:
      worth = self.worth(child, pending)
      if not count(child):
        scores.append(1e3 + worth)
        continue
      bonus = math.sqrt(math.log(count(parent)) / count(child))
      scores.append(worth + self.constant * bonus)
    return scores


class RStar:
  """rStar-Math: q(s) += ±1 of the solution that a rollout ends in; Q = q / N.

  A rollout goes on, expanding as it goes, until it reaches an end; the passes
  before that count nothing.

  Attributes:
    visits: Rollouts through each state.
    q: Sum of their outcomes, and of the estimate that it begins with.
    expanded: States whose children are known.
  """

  constant = 2.0

  def __init__(self, problem, prior_value=True, leaves_per_pass=1):
    self.problem, self.prior_value = problem, prior_value
    self.leaves_per_pass = leaves_per_pass
    self.visits, self.expanded = collections.Counter(), set()
    self.q = collections.Counter()
    for state in range(len(problem.values)):
      ppm = problem.rewards[state] + (
        problem.discounts[state] * problem.values[state]
      )
      if state == 0:
        ppm = problem.values[0]
      self.q[state] = 2 * ppm - 1 if prior_value else 0.0

  def run(self, num_passes):
    for _ in range(num_passes):
      pending, paths = collections.Counter(), []
      for _ in range(self.leaves_per_pass):
        path = self._walk(pending)
        if path not in paths:
          paths.append(path)
        pending.update(path)
      ends = [path for path in paths if not self._expand(path[-1])]
      for path in ends:
        self._back_up(path)
    return self

  def _expand(self, state) -> bool:
    if self.problem.is_open[state] and state not in self.expanded:
      if self.problem.children(state):
        self.expanded.add(state)
        return True
    return False

  def _back_up(self, path):
    right = self.problem.is_terminal[path[-1]]
    outcome = 2 * self.problem.rewards[path[-1]] - 1 if right else -1
    for state in path:
      self.visits[state] += 1
      self.q[state] += outcome

  def _walk(self, pending):
    path = [0]
    while path[-1] in self.expanded:
      total = self.visits[path[-1]] + pending[path[-1]]
      scores = []
      children = self.problem.children(path[-1])
      for child in children:
        count = self.visits[child] + pending[child]
        value = (self.q[child] - pending[child]) / max(count, 1)
        bonus = 1e3
        if count:
          bonus = self.constant * math.sqrt(math.log(max(total, 1)) / count)
        scores.append(value + bonus)
      path.append(children[int(np.argmax(scores))])
    return path

  def value(self, state):
    return self.q[state] / self.visits[state]


class RestMCTS:
  """ReST-MCTS*: values are means over visited children; greedy rollouts.

  Attributes:
    visits: n of each state.
    value: V of each state.
    expanded: States whose children are known.
    stopped: Whether a selected state has reached the end gate.
    tokens: Thoughts decoded, the forgotten ones of rollouts included.
  """

  epsilon, alpha, end_gate, roll_steps = 0.7, 0.5, 0.9, 3

  def __init__(self, problem):
    self.problem = problem
    self.visits, self.expanded = collections.Counter(), set()
    own = problem.rewards + problem.discounts * problem.values
    self.value = dict(enumerate(own.tolist()))
    self.value[0] = float(problem.values[0])
    self.stopped, self.tokens = False, 0

  def run(self, num_passes):
    for _ in range(num_passes):
      if self.stopped:
        break
      self._round()
    return self

  def _round(self):
    path = [0]
    while path[-1] in self.expanded:
      path.append(self._best_child(path[-1]))
    leaf = path[-1]
    if leaf and self.value[leaf] >= self.end_gate:
      self.stopped = True
      return
    if self.problem.is_open[leaf]:
      self.tokens += self.problem.branching
      if self.problem.children(leaf):
        self.expanded.add(leaf)
        child = self._best_child(leaf)
        self._roll(child)
        self.visits[child] += 1
    for state in reversed(path):
      self.visits[state] += 1
      if state in self.expanded:
        below = self.problem.children(state)
        total = sum(self.visits[x] for x in below)
        if total:
          weighted = sum(self.visits[x] * self.value[x] for x in below)
          self.value[state] = weighted / total

  def _roll(self, child):
    state, seen = child, []
    for _ in range(self.roll_steps):
      if not self.problem.is_open[state]:
        break
      self.tokens += 1
      found = self.problem.children(state, 0, 1)
      if not found:
        break
      state = found[0]
      seen.append(self.value[state])
    if seen:
      mixed = (1 - self.alpha) * self.value[child] + self.alpha * max(seen)
      self.value[child] = mixed

  def _best_child(self, state):
    children, scores = self.problem.children(state), []
    for child in children:
      bonus = 1.0
      if self.visits[child]:
        ratio = math.log(self.visits[state]) / self.visits[child]
        bonus = self.epsilon * math.sqrt(2 * ratio)
      scores.append(self.value[child] + bonus)
    return children[int(np.argmax(scores))]


class Gumbel:
  """Gumbel search with Sequential Halving at the root.

  Attributes:
    visits: Simulations through each state.
    total: Sum of their returns.
    expanded: States whose children are known.
  """

  scale, offset, considered = 0.1, 50.0, 16

  def __init__(self, problem, noise, num_simulations):
    self.problem, self.noise = problem, noise
    self.num_simulations = num_simulations
    self.visits, self.total = collections.Counter(), collections.Counter()
    self.expanded = set()

  def run(self):
    self._simulate([0])
    if 0 not in self.expanded:
      for _ in range(self.num_simulations):
        self._simulate([0])
      return self
    left = self.problem.children(0)
    size = min(len(left), self.considered)
    rounds = math.ceil(math.log2(size)) if size > 1 else 1
    done = 0
    while done < self.num_simulations:
      for _ in range(max(1, self.num_simulations // (rounds * size))):
        # The best `size` of those left are entered once each, the best first;
        # who is best is asked anew each time.
        entered = []
        while len(entered) < size and done < self.num_simulations:
          waiting = [child for child in left if child not in entered]
          entered.append(self._ranked(waiting)[0])
          self._simulate(self._walk([0, entered[-1]]))
          done += 1
        left = entered
      size = max(2, size // 2) if size > 1 else 1
    return self

  def _ranked(self, children):
    every = self.problem.children(0)
    sigma = dict(zip(every, self._sigma(0, every), strict=True))
    index = lambda child: (child - 1) % self.problem.branching
    best = lambda child: (
      self.noise[index(child)] + self.problem.prior_logits[child] + sigma[child]
    )
    return sorted(children, key=best, reverse=True)

  def value(self, state):
    count = self.visits[state]
    return self.total[state] / count if count else self.problem.values[state]

  def _q(self, child):
    return self.problem.rewards[child] + (
      self.problem.discounts[child] * self.value(child)
    )

  def _prior(self, children):
    weights = np.exp(self.problem.prior_logits[children])
    return weights / weights.sum()

  def _sigma(self, state, children):
    visited = [self.visits[child] > 0 for child in children]
    prior = self._prior(children)
    mixed = self.problem.values[state]
    if any(visited):
      mass = sum(p for p, v in zip(prior, visited, strict=True) if v)
      mean = sum(
        p * self._q(c)
        for p, c, v in zip(prior, children, visited, strict=True)
        if v
      )
      count = sum(self.visits[child] for child in children)
      mixed = (mixed + count * mean / mass) / (1 + count)
    q = [
      self._q(c) if v else mixed for c, v in zip(children, visited, strict=True)
    ]
    span = max(max(q) - min(q), 1e-8)
    most = max(self.visits[child] for child in children)
    weight = (self.offset + most) * self.scale
    return [weight * (x - min(q)) / span for x in q]

  def _walk(self, path):
    while path[-1] in self.expanded:
      children = self.problem.children(path[-1])
      logits = np.log(self._prior(children)) + self._sigma(path[-1], children)
      policy = np.exp(logits - logits.max())
      policy /= policy.sum()
      counts = np.array([self.visits[child] for child in children])
      score = policy - counts / (1 + counts.sum())
      path = [*path, children[int(np.argmax(score))]]
    return path

  def _simulate(self, path):
    leaf = path[-1]
    if self.problem.is_open[leaf] and self.problem.children(leaf):
      self.expanded.add(leaf)
    returns = self.problem.values[leaf]
    for state in reversed(path):
      self.visits[state] += 1
      self.total[state] += returns
      reward, discount = self.problem.rewards, self.problem.discounts
      returns = reward[state] + discount[state] * returns
