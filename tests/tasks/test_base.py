"""Tests of what all tasks share."""

import collections
import hashlib

import numpy as np
import pytest

from reasoning_rl.tasks import base, countdown


def test_draws_are_the_raw_bits_of_the_seeded_generator():
  bits = np.random.PCG64(np.random.SeedSequence((3, 1, 4)))
  raw = bits.random_raw(64).tolist()
  rng = base.Draws(3, 1, 4)
  assert [rng.below(1000) for _ in range(3)] == [x % 1000 for x in raw[:-4:-1]]


def test_below_covers_its_range_evenly_across_refills():
  rng = base.Draws(0)
  counts = collections.Counter(rng.below(5) for _ in range(4000))
  assert sorted(counts) == [0, 1, 2, 3, 4]
  assert max(counts.values()) - min(counts.values()) < 150


def test_shuffled_gives_every_order_equally_often_and_spares_its_argument():
  rng = base.Draws(1)
  items = (1, 2, 3)
  counts = collections.Counter(tuple(rng.shuffled(items)) for _ in range(1200))
  assert len(counts) == 6
  assert max(counts.values()) - min(counts.values()) < 100
  assert items == (1, 2, 3)


def test_splits_hold_eight_one_and_one_tenth_of_all_identities():
  counts = collections.Counter(base.split_of(str(i)) for i in range(5000))
  assert counts["train"] / 5000 == pytest.approx(0.8, abs=0.02)
  assert counts["validation"] / 5000 == pytest.approx(0.1, abs=0.02)
  assert counts["heldout"] / 5000 == pytest.approx(0.1, abs=0.02)


def test_the_split_of_an_identity_never_changes():
  # Pinned: stored problems rely on it. Bucket 8 is validation, 9 held-out.
  digests = [
    hashlib.blake2b(c, digest_size=8).hexdigest() for c in (b"0", b"8")
  ]
  assert [int(digest, 16) % 10 for digest in digests] == [9, 8]
  assert base.split_of("0") == "heldout"
  assert base.split_of("1") == "train"
  assert base.split_of("8") == "validation"


def test_draw_returns_only_content_of_the_wanted_split():
  def propose(rng):
    number = rng.below(10**6)
    return (str(number), number) if number % 2 else None

  for split in base.SPLITS:
    for index in range(20):
      _, number, _ = base.draw(0, split, index, propose, "")
      assert number % 2 and base.split_of(str(number)) == split


def test_a_draw_that_never_succeeds_says_what_to_change():
  with pytest.raises(base.TaskError, match="no solvable problem.*raise x$"):
    base.draw(0, "train", 0, lambda rng: None, "raise x")


@pytest.mark.parametrize(
  ("split", "index", "message"),
  [("test", 0, "unknown split 'test'"), ("train", -1, "index -1 is negative")],
)
def test_a_wrong_split_or_index_is_named(split, index, message):
  with pytest.raises(base.TaskError, match=message):
    base.draw(0, split, index, lambda rng: ("", ""), "")


class _Repeating(countdown.Countdown):
  """A task of five problems, again and again."""

  def problem(self, split, index):
    return base.Problem(index, split, "", "", (), f"{index % 5}")


def test_different_problems_are_the_first_of_each_identity():
  found = base.different(_Repeating(), "heldout", 3, 5)
  assert [problem.id for problem in found] == [3, 4, 5, 6, 7]
  task = countdown.Countdown(numbers=3, max_number=5, target_max=30)
  found = base.different(task, "validation", 10, 10)
  assert len({(tuple(sorted(p.facts[0])), p.facts[1]) for p in found}) == 10
  repeated = [
    p
    for p in (task.problem("validation", i) for i in range(10, found[-1].id))
    if p.id not in {f.id for f in found}
  ]
  assert repeated, "the range must hold repeats, or nothing was tested"
  before = {f.identity: f.id for f in found}
  assert all(before[p.identity] < p.id for p in repeated)


def test_a_split_with_too_few_different_problems_says_how_many_there_are():
  with pytest.raises(base.TaskError, match="6 different.*more than 5: ask"):
    base.different(_Repeating(), "heldout", 0, 6)


@pytest.mark.parametrize(
  ("completion", "thoughts"),
  [
    ("a\nb\n", ["a\n", "b\n"]),
    ("\n", ["\n"]),
    ("a\n\n", ["a\n", "\n"]),
    ("a\x0cb\u2028c\r\n", ["a\x0cb\u2028c\r\n"]),
    ("", None),
    ("a\nb", None),
  ],
)
def test_only_newlines_end_thoughts(completion, thoughts):
  assert base.split_thoughts(completion) == thoughts


def test_first_unreachable_is_the_first_prefix_that_fails():
  problem = base.Problem(0, "train", "", "", (), "")
  assert base.first_unreachable(lambda _, t: len(t) < 3, problem, "abcd") == 2
  assert base.first_unreachable(lambda _, t: True, problem, "abcd") is None
