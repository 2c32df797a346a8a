"""What is read off a searched tree, in plain Python: dictionaries and loops."""

from __future__ import annotations

import math

import numpy as np


class Reader:
  """One problem's tree, read through its parents alone."""

  def __init__(self, tree, row: int):
    self.fields = {
      name: np.asarray(getattr(tree, name))[row].tolist()
      for name in (
        "parents",
        "valid_mask",
        "terminal_mask",
        "thought_rewards",
        "rewards",
        "discounts",
        "node_values",
        "node_visits",
      )
    }
    count = range(len(self.fields["parents"]))
    self.nodes = [x for x in count if self.fields["valid_mask"][x]]
    self.children = {x: [] for x in self.nodes}
    for node in self.nodes[1:]:
      self.children[self.fields["parents"][node]].append(node)

  def at(self, name: str, node: int):
    return self.fields[name][node]

  def qvalue(self, node: int) -> float:
    beyond = self.at("discounts", node) * self.at("node_values", node)
    return self.at("rewards", node) + beyond

  def path(self, node: int) -> list[int]:
    found = []
    while node != 0:
      found.insert(0, node)
      node = self.at("parents", node)
    return found

  def solutions(self) -> list[int]:
    return [x for x in self.nodes if self.at("terminal_mask", x)]

  def policy(self, node: int, temperature: float) -> dict[int, float]:
    """Returns π(child) ∝ visits^(1/τ), {} where no child was visited."""
    visits = {x: self.at("node_visits", x) for x in self.children[node]}
    if not any(visits.values()):
      return {}
    most = max(visits.values())
    if temperature == 0:
      weights = {x: float(n == most) for x, n in visits.items()}
    else:
      power = 1 / temperature
      weights = {x: (n / most) ** power for x, n in visits.items()}
    return {x: w / sum(weights.values()) for x, w in weights.items()}

  def best_by_score(self, aggregation: str) -> int:
    combine = {"last": lambda x: x[-1], "min": min, "product": math.prod}
    best, best_score = -1, -math.inf
    for node in self.solutions():
      scores = [self.at("thought_rewards", x) for x in self.path(node)]
      score = combine[aggregation](scores)
      if score > best_score:
        best, best_score = node, score
    return best

  def best_by_walking(self, worth) -> int:
    """Goes to the best child that leads anywhere; -1 where none does."""
    node, leads = 0, self._leads
    if not leads(0):
      return -1
    while not self.at("terminal_mask", node):
      node = max(filter(leads, self.children[node]), key=worth)
    return node

  def _leads(self, node: int) -> bool:
    if self.at("terminal_mask", node):
      return True
    return any(self._leads(child) for child in self.children[node])
