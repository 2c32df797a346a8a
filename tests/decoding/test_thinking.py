"""Thinking control against a decoder in plain Python, written from the paper.

The network is a table (see `benchmarks.table_network`) whose rows plain Python
can look up too, and the uniform numbers of both are the same.
"""

from __future__ import annotations

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import table_network
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import decode, distinct, rollouts, sampling, stops
from reasoning_rl.decoding import thinking as thinking_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE, GROUP, END = 14, 8, 1
NETWORK = table_network.make(6, "language")
PARAMS = NETWORK.init(jax.random.key(0))
PROMPT = np.array([[2, 3, 4, 0], [5, 0, 0, 0], [3, 3, 2, 5]], np.int32)
LENGTH = np.array([3, 1, 4], np.int32)
IDS = np.array([3, 0, 8])
RNG = jax.random.key(7)
SAMPLED = sampling.SamplingConfig()
Said = collections.namedtuple("Said", "tokens forced thought stopped open")


def config(end=(3,), wait=(5,), least=0, most=SIZE, waits=0):
  return thinking_lib.ThinkingConfig(end, wait, least, most, waits)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(thinking, how):
  rule = rollouts.RolloutConfig(
    GROUP, SIZE, SIZE, boundaries.single(0), (END,), how, thinking
  )
  return rollouts.from_prompts(
    NETWORK, PARAMS, RNG, PROMPT, LENGTH, IDS, rule
  ).replace(keys_values=None)


def sample(thinking, how=SAMPLED):
  return jax.tree.map(np.asarray, _sample(thinking, how))


@functools.cache
def uniforms():
  """Returns the random number of each row and position."""
  rngs = decode.row_rngs(RNG, jnp.asarray(IDS), GROUP)
  fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
  keys = fold(rngs, jnp.arange(SIZE))
  return np.asarray(jax.vmap(jax.vmap(jax.random.uniform))(keys), np.float64)


def probabilities(tokens):
  """Returns what the table says of the token after `tokens`."""
  place = np.arange(1, len(tokens) + 1)
  number = np.asarray(PARAMS["keys"])[tokens] * place % table_network.ROWS
  number = (number + np.asarray(PARAMS["values"])[tokens]).sum()
  logits = np.asarray(PARAMS["logits"])[number % table_network.ROWS]
  weights = np.exp(logits.astype(np.float64))
  return weights / weights.sum()


def decode_plainly(thinking, prompt, numbers, greedy):
  """Decodes one row, as section 3.1 of the paper has it."""
  end, said, forced, wait = list(thinking.end_ids), [], [], []
  thought, since_wait, waits, closed = [], [], 0, False
  for number in numbers:
    chance = probabilities([*prompt, *said])
    token = int(np.argmax(chance))
    if not greedy:
      token = int(np.argmax(np.cumsum(chance) > number))
    is_forced = in_wait = False
    if not closed and len(thought) >= thinking.max_tokens:
      begun = max(
        n for n in range(len(end)) if since_wait[-n:] == end[:n] or n == 0
      )
      token, is_forced = end[begun], True
    elif not closed:
      completes = (since_wait + [token])[-len(end) :] == end
      so_far = len(thought) - (len(end) - 1 if completes else 0)
      too_early = so_far < thinking.min_tokens and waits < thinking.max_waits
      if not wait and too_early and (completes or token == END):
        wait, waits = list(thinking.wait_ids), waits + 1
      if wait:
        token, is_forced, in_wait = wait.pop(0), True, True
    said.append(token)
    forced.append(is_forced)
    if not closed:
      since_wait = [] if in_wait else [*since_wait, token]
      thought.append(token)
      closed = since_wait[-len(end) :] == end
      if closed:
        thought = thought[: -len(end)]
    if token == END:
      break
  stopped = said[-1] == END
  thought = thought[:-1] if stopped and not closed else thought
  return Said(said, forced, len(thought), stopped, not closed)


def check(thinking, how=SAMPLED):
  """Compares all rows; returns the plain ones."""
  out, plain = sample(thinking, how), []
  for row in range(len(IDS) * GROUP):
    prompt = PROMPT[row // GROUP, : LENGTH[row // GROUP]].tolist()
    said = decode_plainly(
      thinking, prompt, uniforms()[row], how.temperature == 0
    )
    size = len(said.tokens)
    assert out.length[row] == out.spent[row] == size
    assert out.tokens[row, :size].tolist() == said.tokens
    assert out.forced_mask[row, :size].tolist() == said.forced
    assert not out.forced_mask[row, size:].any()
    assert out.thinking_length[row] == said.thought
    assert out.stopped_mask[row] == said.stopped
    whole = prompt + said.tokens
    own = [
      np.log(probabilities(whole[:i])[whole[i]])
      for i in range(len(prompt), len(whole))
    ]
    np.testing.assert_allclose(out.policy_logprobs[row, :size], own, atol=1e-4)
    chosen = own if how.temperature else np.zeros(size)
    behavior = np.where(said.forced, 0.0, chosen)
    np.testing.assert_allclose(
      out.behavior_logprobs[row, :size], behavior, atol=1e-4
    )
    plain.append(said)
  return plain


CASES = (
  config(),
  config(most=4),
  config(end=(3, 3), most=5),
  config(end=(3, 4, 3), wait=(5, 2), least=6, most=9, waits=2),
  config(end=(2, 3), wait=(3, 5), least=5, most=8, waits=9),
  config(end=(3, 3), wait=(3,), least=10, most=10, waits=4),
  config(end=(4,), wait=(5, 2, 5), least=8, most=8, waits=3),
)


@pytest.mark.parametrize("thinking", CASES, ids=str)
@pytest.mark.parametrize(
  "how", [SAMPLED, sampling.GREEDY], ids=["some", "best"]
)
def test_the_loop_says_what_plain_python_says(thinking, how):
  check(thinking, how)


def test_a_cap_inserts_the_delimiter_and_an_answer_follows():
  said = check(config(most=4))
  capped = [x for x in said if any(x.forced)]
  assert capped
  for row in capped:
    assert row.forced.index(True) == 4 and sum(row.forced) == 1
    assert row.tokens[4] == 3 and row.thought == 4
  assert max(x.thought for x in said) == 4


def test_a_cap_of_nothing_is_no_thinking():
  for row in check(config(end=(3, 4), most=0)):
    assert row.tokens[:2] == [3, 4] and row.thought == 0
    assert row.forced == [True, True] + [False] * (len(row.tokens) - 2)


def test_a_cap_inside_a_delimiter_inserts_what_it_lacks():
  said = check(config(end=(3, 4), most=3))
  inside = [x for x in said if x.tokens[2:3] == [3] and x.forced[3:4] == [True]]
  assert inside
  for row in inside:
    assert row.tokens[3] == 4 and row.forced[3]
    assert row.thought == 2  # The begun delimiter was no thought after all.
  assert any(sum(x.forced) == 2 for x in said)


def test_a_delimiter_may_be_the_first_token_and_is_then_put_off():
  first = [x.tokens[0] == 3 for x in check(config())]
  assert any(first)
  later = check(config(least=1, waits=1))
  for was_first, row in zip(first, later, strict=True):
    if was_first:
      assert row.tokens[0] == 5 and row.forced[0] and not any(row.forced[1:])


def test_an_end_of_text_in_thinking_is_put_off_until_no_wait_is_left():
  said = check(config(end=(4,), least=SIZE, most=SIZE, waits=2))
  assert any(x.stopped and x.open for x in said)
  for row in said:
    ended = (row.stopped or not row.open) and row.thought < SIZE
    assert not ended or sum(row.forced) == 2
  free = check(config(end=(4,)))
  assert any(x.stopped and x.open and x.thought < 4 for x in free)


def test_the_end_of_the_row_may_come_inside_a_delimiter():
  said = check(config(end=(3, 4, 2), least=SIZE - 2, most=SIZE - 2, waits=9))
  cut = [x for x in said if len(x.tokens) == SIZE and x.open]
  assert cut
  for row in cut:
    assert row.tokens[-2:] == [3, 4] and row.forced[-2:] == [True] * 2
    assert row.thought == SIZE and not row.stopped


@pytest.mark.parametrize("thinking", CASES, ids=str)
def test_a_row_goes_on_from_each_of_its_tokens_as_it_did(thinking):
  greedy = sampling.SamplingConfig(temperature=0.0)
  whole = jax.tree.map(lambda x: x[::GROUP], sample(thinking, greedy))
  rows = np.arange(len(IDS))[:, None]
  places = np.arange(SIZE)
  said = places < whole.length[:, None]
  tokens = np.zeros((len(IDS), PROMPT.shape[1] + SIZE), np.int32)
  tokens[:, : PROMPT.shape[1]] = PROMPT
  tokens[rows, LENGTH[:, None] + places] = whole.tokens
  before = thinking_lib.replay(
    thinking, whole.tokens, whole.length, whole.forced_mask
  )
  rule = rollouts.RolloutConfig(
    1, SIZE, SIZE, boundaries.single(0), (END,), greedy, thinking
  )
  goes_on = places + 1 < whole.length[:, None]
  out = rollouts.from_thoughts(
    NETWORK, PARAMS, RNG, tokens, LENGTH[:, None] + places, goes_on, IDS, rule,
    thinking=before,
  )  # fmt: skip
  shape = (len(IDS), SIZE, SIZE)
  assert said.sum() > 3 * len(IDS)
  for row, place in np.argwhere(goes_on):
    rest = slice(place + 1, whole.length[row])
    size = whole.length[row] - place - 1
    for field in ("tokens", "forced_mask"):
      found = getattr(out, field).reshape(shape)[row, place, :size]
      np.testing.assert_array_equal(found, getattr(whole, field)[row, rest])
    if whole.stopped_mask[row]:
      for field in ("stopped_mask", "thinking_length"):
        found = getattr(out, field).reshape(shape[:2])[row, place]
        assert found == getattr(whole, field)[row]


def test_completions_need_to_know_where_thinking_is():
  rule = rollouts.RolloutConfig(
    1, SIZE, SIZE, boundaries.single(0), (END,), SAMPLED, config(most=4)
  )
  with pytest.raises(ValueError, match="pass what thinking.replay returns"):
    rollouts.from_thoughts(
      NETWORK, PARAMS, RNG, PROMPT, LENGTH[:, None] - 1,
      np.ones((3, 1), bool), IDS, rule,
    )  # fmt: skip


def test_without_control_the_rows_are_as_before():
  free, loose = sample(None), sample(config(end=(0, 0, 0, 0)))
  assert free.forced_mask is None and free.thinking_length is None
  np.testing.assert_array_equal(free.tokens, loose.tokens)
  np.testing.assert_array_equal(free.behavior_logprobs, loose.behavior_logprobs)
  assert not loose.forced_mask.any()


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(least=5, most=4, waits=1), "min_tokens is 5 and max_tokens 4"),
    (dict(end=()), "end_ids"),
    (dict(wait=(), waits=1), "wait_ids"),
    (dict(waits=-1), "max_waits is -1"),
    (dict(least=-1), "min_tokens is -1"),
    (dict(least=2), "max_waits 0"),
  ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config(**changes)


def test_a_loop_that_cannot_keep_to_it_refuses():
  call = lambda **more: decode.decode(
    NETWORK,
    PARAMS,
    decode.row_rngs(RNG, jnp.arange(2), 2),
    decode.Context((), jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32)),
    jnp.ones(4, bool),
    SAMPLED,
    max_tokens=2,
    stops=stops.Stops((END,)),
    **more,
  )
  with pytest.raises(ValueError, match="distinct"):
    groups = distinct.Groups(jnp.zeros(2, bool), 2)
    call(thinking=config(), groups=groups)
  with pytest.raises(ValueError, match="token 1 ends a solution"):
    call(thinking=config(end=(3, END)))
