"""The few named errors; a command turns each into one line on stderr and its `exit_status`."""


class Gru4RecError(Exception):
    """Base of every error that a user can cause or meet; has the exit status of the command."""

    exit_status: int = 2


class InputError(Gru4RecError, ValueError):
    """Input that cannot be used: the message says what, where, the value, and what to do."""


class ConfigError(InputError):
    """A flag value that is unknown, out of range, or contradicts another flag."""


class DataError(InputError):
    """An events file that cannot be read as sessions."""


class CheckpointError(InputError):
    """A checkpoint that is missing, is damaged, or contradicts the flags."""


class LockedError(Gru4RecError):
    """Another run is using the directory."""

    exit_status = 4


class ClusterError(Gru4RecError):
    """A process that trains together with this one did not start, or has ended."""

    exit_status = 4


class DeviceError(InputError):
    """A device that was asked for but cannot be used."""


class DivergenceError(Gru4RecError):
    """Loss, weights, scores or all gradients are not finite, or the loss is absurd.

    model/divergence.py says what absurd is.
    """

    exit_status = 3


class Interrupted(Gru4RecError):
    """A signal asked the run to stop; `exit_status` is 130 for SIGINT and 143 for SIGTERM."""

    def __init__(self, signal_number: int,
                 message: str = "interrupted; checkpoints of finished epochs are complete") -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number
