"""Why FFmpeg finds no video in a file, in the words of the Rust core; for the twin."""

from pathlib import Path

from fastvd.media.boxes import lacks_index


def refusal(path: Path) -> str:
    """What is wrong with a file whose header can't be read."""
    if not path.stat().st_size:
        return "the file is empty"
    if lacks_index(path):
        return "has no index (moov): the recording or the copy was not finished"
    return "is not a video that FFmpeg knows, or its header is damaged"
