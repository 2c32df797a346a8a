"""Files that are mapped into memory, and never read beyond their end."""

from __future__ import annotations

import mmap
import os
import pathlib
import stat

import numpy as np

from reasoning_rl.models.pretrained.source import PretrainedError


class MappedFile:
  """A regular file, mapped read-only: what is not used is never loaded.

  Attributes:
    path: Where it is.
    size: Its bytes when it was opened, at least one.
    data: Its content.
  """

  def __init__(self, path: pathlib.Path):
    """Maps a file.

    Args:
      path: The file; a link is followed.

    Raises:
      PretrainedError: If it is no file with content, or cannot be read.
    """
    self.path = path
    try:
      # A pipe would wait for its writer for ever.
      flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
      descriptor = os.open(path, flags)
      try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
          raise PretrainedError(f"{path} is not a file: give the model's file")
        if not status.st_size:
          raise PretrainedError(f"{path} is empty: fetch it again")
        self.data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
      finally:
        os.close(descriptor)
    except PretrainedError:
      raise
    except FileNotFoundError as error:
      raise PretrainedError(f"{path} does not exist") from error
    except OSError as error:
      raise PretrainedError(
        f"{path} cannot be read: {error.strerror}"
      ) from error
    except ValueError as error:  # A NUL in the path.
      raise PretrainedError(f"{str(path)!a} is no path") from error
    self.size = len(self.data)

  def array(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
    """Returns `count` numbers: read-only, and a view of the file if aligned.

    Args:
      offset: Where they begin, in bytes.
      count: How many.
      dtype: Their type.

    Raises:
      PretrainedError: If the file ends before them, or was cut since.
    """
    end = offset + count * dtype.itemsize
    # Touching a page that is gone ends the process, so look again.
    if offset < 0 or end > self.size or self.data.size() < self.size:
      raise PretrainedError(f"{self.path} is cut short: fetch it again")
    if not count:
      return np.empty(0, dtype)
    numbers = np.frombuffer(self.data, dtype, count, offset)
    return numbers if numbers.flags.aligned else numbers.copy()


def finite(numbers: np.ndarray) -> bool:
  """Returns whether no number is infinite or NaN, without a large temporary."""
  if numbers.dtype == np.float32:
    with np.errstate(all="ignore"):
      if np.isfinite(numbers.sum()):
        return True
    return bool(np.isfinite(numbers).all())
  exponent = numbers.view(np.uint16) & np.uint16(0x7F80)  # bfloat16.
  return not (exponent == 0x7F80).any()
