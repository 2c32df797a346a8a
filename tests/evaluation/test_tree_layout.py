"""The map's geometry: nothing overlaps, nothing crosses, and it stays small."""

import itertools

import numpy as np
import pytest

from reasoning_rl.evaluation import tree_layout, tree_view

Node = tree_view.NodeView


def random_tree(seed, count=200, most=5):
  """A tree of `count` nodes, its children in runs, as a search makes them."""
  rng = np.random.default_rng(seed)
  parents, waiting = [-1], [0]
  while len(parents) < count:
    parent = waiting.pop(int(rng.integers(len(waiting))))
    born = range(len(parents), len(parents) + int(rng.integers(1, most + 1)))
    parents += [parent] * len(born)
    waiting += born
  visits = [0] * len(parents)
  for node in range(len(parents) - 1, 0, -1):
    visits[node] += int(rng.integers(0, 4))
    visits[parents[node]] += visits[node]
  return make(parents, visits)


def make(parents, visits=None, chosen=()):
  visits = visits or [0] * len(parents)
  nodes = tuple(
    Node(parent, f"t{i}", visits=visits[i], chosen=i in chosen)
    for i, parent in enumerate(parents)
  )
  return tree_view.TreeView("p", "a", "m", nodes)


def levels(tree):
  depth = [0] * len(tree.nodes)
  for i, node in enumerate(tree.nodes[1:], start=1):
    depth[i] = depth[node.parent] + 1
  return depth


@pytest.mark.parametrize("most", [2, 5, 30])
@pytest.mark.parametrize("seed", range(4))
def test_discs_never_overlap_and_stay_on_the_map(seed, most):
  tree = random_tree(seed, most=most)
  at = tree_layout.layout(tree)
  for i, j in itertools.combinations(range(len(tree.nodes)), 2):
    apart = np.hypot(at.x[i] - at.x[j], at.y[i] - at.y[j])
    assert apart > at.radius[i] + at.radius[j] + 1, (i, j)
  for x, y, radius in zip(at.x, at.y, at.radius, strict=True):
    assert radius <= x <= at.width - radius
    assert radius <= y <= at.height - radius


@pytest.mark.parametrize("seed", range(4))
def test_on_every_level_families_stand_side_by_side(seed):
  tree = random_tree(seed)
  at, depth = tree_layout.layout(tree), levels(tree)
  for level in range(1, max(depth) + 1):
    row = [i for i in range(len(depth)) if depth[i] == level]
    row.sort(key=lambda i: at.x[i])
    parents = [tree.nodes[i].parent for i in row]
    # Each parent's children are neighbours, in the order of their parents.
    runs = [key for key, _ in itertools.groupby(parents)]
    assert len(runs) == len(set(runs))
    assert [at.x[p] for p in runs] == sorted(at.x[p] for p in runs)
    for i, j in itertools.pairwise(row):
      if tree.nodes[i].parent == tree.nodes[j].parent:
        assert i < j


def test_subtrees_are_moved_together_where_they_leave_room():
  # A deep and narrow branch between two leaves costs no more than its discs.
  deep = make([-1, 0, 0, 0, 2, 4, 5])
  flat = make([-1, 0, 0, 0])
  assert tree_layout.layout(deep).width == tree_layout.layout(flat).width
  # Two families of two under a root: 12 + 2.5 between siblings, 7 more between
  # cousins, 6 and 4 outside: 2 (6 + 4) + 2 · 14.5 + 21.5.
  families = tree_layout.layout(make([-1, 0, 0, 1, 1, 2, 2]))
  assert families.width == pytest.approx(70.5)
  assert families.x[3:] == pytest.approx([10, 24.5, 46, 60.5])
  assert families.x[:3] == pytest.approx([35.25, 17.25, 53.25])


def test_many_endings_stand_in_a_block_and_the_chosen_one_beside_it():
  at = tree_layout.layout(make([-1] + [0] * 17, chosen=(3,)))
  block = [i for i in range(1, 18) if i != 3]
  assert len({at.y[i] for i in block}) == 4
  assert len({round(at.x[i], 3) for i in block}) == 4
  assert at.x[3] < min(at.x[i] for i in block)
  # One line leads to it, over its middle.
  ends = [at.edge_x[i] for i in block]
  assert ends[1:] == [None] * 15
  assert ends[0] == pytest.approx(np.mean([at.x[i] for i in block]))
  assert at.edge_x[3] == at.x[3]
  # What hangs under the same level stands below the block.
  below = tree_layout.layout(make([-1] + [0] * 17 + [1]))
  assert below.y[18] > max(below.y[2:18]) + 2 * tree_layout.SMALLEST


def test_a_root_alone_and_a_long_chain_have_a_place():
  alone = tree_layout.layout(make([-1]))
  assert (alone.x, alone.y) == ([10], [18])
  chain = tree_layout.layout(make(list(range(-1, 1999))))
  assert set(chain.x) == {10} and chain.y == sorted(chain.y)


def test_a_map_of_two_hundred_thoughts_fits_a_page():
  for seed in range(4):
    at = tree_layout.layout(random_tree(seed))
    assert at.width < 1500 and min(at.radius) >= 6
