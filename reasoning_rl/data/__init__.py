"""Text to fixed shapes and back: tokenizers, thoughts, batches, stored data.

`tokenizers` turn text into ids, `thoughts` finds the thoughts of a row on the
device, `batching` packs and draws batches, `records` is the one-trajectory
form that `trajectory_store` (a TFDS dataset) and `formats` (JSON lines) keep.
"""
