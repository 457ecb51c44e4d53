"""The errors that end a command, each with its exit code. Does not import jax: `maskrep.data` raises them too."""


class RunError(Exception):
  """Ends a run with one line on standard error and its exit code, without a traceback."""

  exit_code = 1


class ConfigError(RunError):
  """An invalid field or flag: the message names it, its value and the remedy."""

  exit_code = 2


class DataError(RunError):
  """An incomplete data set, or more unreadable images than `data.max_broken_fraction` allows."""

  exit_code = 3


class Stalled(DataError):
  """No image arrived for 2 x `data.stall_timeout_s`. Threads blocked in a read are abandoned."""


class CheckpointError(RunError):
  """A checkpoint cannot be written, or none can be read."""

  exit_code = 4


class NonFiniteError(RunError):
  """Too many steps had a loss, gradient or update that was infinite or NaN."""

  exit_code = 5


class PeerLost(RunError):
  """Another process of the run is lost: killed, stopped, or its machine or network is gone."""

  exit_code = 6


class Hung(PeerLost):
  """A step does not end: most often because it waits for a process, a device or a network that hangs."""


class Preempted(RunError):
  """Stopped by a signal, after everything was saved. The exit code is EX_TEMPFAIL: schedulers restart the job."""

  exit_code = 75
