"""An error as one line, and the exit status for it."""

import sys


def fail(error: Exception) -> int:
    """Print an error as one line and return the exit status for it."""
    text = str(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        text = f"{name}{error.strerror or error}"
    print(f"fastvd: {' '.join(text.split())}", file=sys.stderr)
    return 2
