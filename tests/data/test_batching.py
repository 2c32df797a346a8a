"""Tests of `reasoning_rl.data.batching`."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from reasoning_rl.data import batching


def test_batches_resumed_at_a_step_equal_the_uninterrupted_ones():
  whole = batching.index_batches(7, 3, seed=5)
  whole = list(itertools.islice(whole, 9))
  resumed = batching.index_batches(7, 3, seed=5, start_step=4)
  resumed = list(itertools.islice(resumed, 5))
  np.testing.assert_array_equal(whole[4:], resumed)


def test_every_epoch_holds_each_index_once_in_another_order():
  drawn = itertools.islice(batching.index_batches(20, 10, seed=0), 4)
  first, second = np.stack(list(drawn)).reshape(2, 20)
  np.testing.assert_array_equal(np.sort(first), np.arange(20))
  np.testing.assert_array_equal(np.sort(second), np.arange(20))
  assert (first != second).any()


def test_seeds_give_different_orders():
  orders = [
    next(batching.index_batches(20, 20, seed)).tolist() for seed in (1, 2)
  ]
  assert orders[0] != orders[1]


def test_a_batch_may_be_larger_than_the_source():
  drawn = next(batching.index_batches(2, 6, seed=0))
  np.testing.assert_array_equal(np.bincount(drawn), [3, 3])


def test_drawing_from_nothing_is_refused_at_once():
  with pytest.raises(ValueError, match="from 0 elements"):
    batching.index_batches(0, 4, seed=0)


def test_batches_of_a_record_are_its_rows_and_of_a_list_its_elements(
  trajectory,
):
  index = next(batching.index_batches(7, 3, seed=1))
  rows = next(batching.batches(trajectory, 3, seed=1))
  np.testing.assert_array_equal(rows.completion, trajectory.completion[index])
  np.testing.assert_array_equal(rows.problem_id, trajectory.problem_id[index])
  elements = next(batching.batches(list("abcdefg"), 3, seed=1))
  assert elements == ["abcdefg"[i] for i in index]


def test_columns_that_are_padding_in_every_row_are_cut_to_a_multiple_of_8():
  batch = batching.supervised_batch([[5, 6], [7]], [[8], [9, 1]], 4, 16)
  cut = batching.trim(batch)
  padding = [0] * 5
  np.testing.assert_array_equal(
    cut.tokens, [[5, 6, 8, *padding], [7, 9, 1, *padding]]
  )
  np.testing.assert_array_equal(
    cut.loss_mask, [[0, 0, 1, *padding], [0, 1, 1, *padding]]
  )
  np.testing.assert_array_equal(cut.length, batch.length)


def test_labels_keep_their_thoughts_when_padding_is_cut(trajectory):
  labels = batching.thought_labels(trajectory)
  cut = batching.trim(labels)
  size = cut.tokens.shape[1]
  assert labels.length.max() <= size < labels.length.max() + 8
  np.testing.assert_array_equal(cut.tokens, labels.tokens[:, :size])
  np.testing.assert_array_equal(cut.thought_end, labels.thought_end)


def test_supervised_rows_by_hand():
  batch = batching.supervised_batch([[5, 6], [7]], [[8], [9, 1]], 3, 2, 0)
  np.testing.assert_array_equal(
    batch.tokens, [[5, 6, 8, 0, 0], [7, 9, 1, 0, 0]]
  )
  np.testing.assert_array_equal(batch.length, [3, 3])
  np.testing.assert_array_equal(
    batch.loss_mask, [[0, 0, 1, 0, 0], [0, 1, 1, 0, 0]]
  )


def test_padding_does_not_move_real_tokens_or_the_mask():
  small = batching.supervised_batch([[5, 6], [7]], [[8], [9, 1]], 2, 2)
  large = batching.supervised_batch([[5, 6], [7]], [[8], [9, 1]], 6, 5, 3)
  np.testing.assert_array_equal(large.tokens[:, :3], small.tokens[:, :3])
  np.testing.assert_array_equal(large.loss_mask[:, :4], small.loss_mask)
  assert (large.tokens[:, 3:] == 3).all()
  assert not large.loss_mask[:, 3:].any()


def test_a_prompt_that_is_too_long_names_lengths_and_key():
  with pytest.raises(
    batching.PromptTooLongError, match="4 tokens but only 3.*max_prompt_tokens"
  ):
    batching.supervised_batch([[1], [1] * 4], [[1], [1]], 3, 2)
  with pytest.raises(batching.PromptTooLongError):
    batching.prompt_batch([[1] * 4], 3)


def test_a_completion_that_is_too_long_names_lengths_and_key():
  with pytest.raises(
    batching.CompletionTooLongError, match="9 tokens.*max_completion_tokens"
  ):
    batching.supervised_batch([[1]], [[1] * 9], 3, 2)


def test_thought_labels_point_at_the_same_tokens_as_the_trajectory(trajectory):
  labels = batching.thought_labels(trajectory)
  assert labels.tokens.shape == (7, 13)
  for row in range(7):
    prompt = trajectory.prompt[row, : trajectory.prompt_length[row]]
    completion = trajectory.completion[row, : trajectory.completion_length[row]]
    joined = np.concatenate([prompt, completion])
    assert labels.length[row] == len(joined)
    np.testing.assert_array_equal(labels.tokens[row, : len(joined)], joined)
    assert not labels.tokens[row, len(joined) :].any()
    count = trajectory.thought_count[row]
    np.testing.assert_array_equal(
      labels.tokens[row, labels.thought_end[row, :count]],
      completion[trajectory.thought_end[row, :count]],
    )
    assert not labels.thought_end[row, count:].any()


def test_thought_labels_never_count_past_the_last_thought(trajectory):
  everywhere = trajectory.replace(
    label_mask=np.ones_like(trajectory.label_mask)
  )
  labels = batching.thought_labels(everywhere)
  np.testing.assert_array_equal(
    labels.label_mask.sum(axis=1), trajectory.thought_count
  )


def test_concatenating_the_parts_gives_the_whole(trajectory):
  parts = [
    batching.take(trajectory, slice(0, 3)),
    batching.take(trajectory, [3, 4, 5, 6]),
  ]
  whole = batching.concatenate(parts)
  jax.tree.map(np.testing.assert_array_equal, whole, trajectory)


def test_concatenating_pads_to_the_larger_size(trajectory):
  narrow = batching.take(trajectory, [0]).replace(
    prompt=np.array([[7, 8]], np.int32)
  )
  both = batching.concatenate([narrow, trajectory])
  np.testing.assert_array_equal(both.prompt[0], [7, 8, 0, 0, 0])
  np.testing.assert_array_equal(both.prompt[1:], trajectory.prompt)
