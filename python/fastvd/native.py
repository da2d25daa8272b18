"""The one place that imports the Rust core, and tells it where FFmpeg's libraries lie."""

import importlib.util
import logging
import os
from pathlib import Path

__all__ = ["available", "core", "video_available"]

try:
    import fastvd._core as core
except ImportError:
    # no Rust build: media and data use their twins
    core = None  # type: ignore[assignment]

available: bool = core is not None
"""Whether the Rust core is there."""


def _av_libs() -> str | None:
    """Folder of the FFmpeg libraries inside the ``av`` wheel, found without importing ``av``."""
    spec = importlib.util.find_spec("av")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.parent / "av.libs"
    return str(folder) if folder.is_dir() else None


def _table_folder() -> str | None:
    """Where frame tables stay between processes; FASTVD_CACHE names another folder, or "" none."""
    asked = os.environ.get("FASTVD_CACHE")
    if asked is not None:
        return asked or None
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        # without a home there is no cache
        return None
    # a relative folder is to be ignored, says the XDG specification
    return str(base / "fastvd" / "tables") if base.is_absolute() else None


def _open_video() -> bool:
    if not available:
        return False
    core.set_table_folder(_table_folder())
    reason = core.open_ffmpeg(_av_libs())
    if reason is not None:
        has_av = importlib.util.find_spec("av") is not None
        how = "are read by PyAV" if has_av else "can't be read, try pip install av"
        logging.getLogger(__name__).warning("videos %s: %s", how, reason)
    return reason is None


video_available: bool = _open_video()
"""Whether the Rust core could open FFmpeg's libraries; if not, PyAV, if there, reads videos."""
