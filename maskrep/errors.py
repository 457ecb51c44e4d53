"""The errors a run ends with. No jax here: the data room raises them too."""


class RunError(Exception):
  """Ends a run with one line on standard error and its exit code, without a traceback."""

  exit_code = 1


class ConfigError(RunError):
  """A field that cannot be right: the message names the field, its value and the remedy."""

  exit_code = 2


class DataError(RunError):
  """A data set that is not whole, or more images that cannot be read than `data.max_broken_fraction` allows."""

  exit_code = 3


class Stalled(DataError):
  """No image came for twice `data.stall_timeout_s`. The threads that hang in a read are left behind."""


class CheckpointError(RunError):
  """A checkpoint that can be neither written nor read."""

  exit_code = 4


class NonFiniteError(RunError):
  """Loss, gradient or update was infinite or not a number too often."""

  exit_code = 5


class Preempted(RunError):
  """Stopped from outside, after everything was saved. The exit code is the EX_TEMPFAIL that schedulers start again."""

  exit_code = 75
