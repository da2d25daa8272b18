"""Errors that fastvd raises beside the builtin ones; Rust raises the same classes."""


class FastvdError(Exception):
    """Base of the errors below: catch it to catch them all."""


class MediaError(FastvdError):
    """A file can't be decoded, or does not hold the frames asked for. Names file and reason."""


class TooManyBadError(MediaError):
    """More files of a ClipDataset can't be read than its ``max_bad`` allows."""


class CheckpointError(FastvdError):
    """A checkpoint is damaged, incomplete or of another run. Names directory and reason."""


class NonFiniteError(FastvdError):
    """Training met NaN or infinity too often in a row and stopped."""
