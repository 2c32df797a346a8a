"""Problems spread over devices are searched as on one."""

import pytest


@pytest.fixture(scope="module")
def report(on_eight_devices):
  """What the process with eight devices has to say."""
  return on_eight_devices("split_problems_main.py")


@pytest.mark.parametrize("case", ["equal", "unequal", "gumbel", "rebase"])
def test_every_problem_is_searched_as_on_one_device(report, case):
  assert report[case]["nodes"] > 8  # There was something to agree on.
  assert report[case]["visits"] and report[case]["tokens"]
  assert report[case]["next"]
  assert report[case]["rewards"] < 1e-6


def test_each_device_has_its_share_of_the_problems(report):
  # Eight problems over data=2 x fsdp=2; three cannot be shared equally.
  for case in ("equal", "gumbel", "rebase"):
    assert report[case]["shard"] == 2
  assert report["unequal"]["shard"] == 3
