"""PyAV is imported where it is needed: what Rust does alone works without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastvd.errors import MediaError


@contextmanager
def needed_for(path: Path | str) -> Iterator[None]:
    """Around an import of PyAV: if that fails, MediaError that names the file and what to do."""
    try:
        yield
    except ImportError as error:
        raise MediaError(f"{path}: needs PyAV, try pip install av ({error})") from error
