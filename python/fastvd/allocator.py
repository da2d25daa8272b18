"""Memory kept between steps: a CPU run is bound by page faults, not by arithmetic."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3

# mallopt takes a C int: 2 GiB less a byte is the most it can say
SETTINGS = {
    _M_MMAP_THRESHOLD: 1 << 30,
    _M_TRIM_THRESHOLD: (1 << 31) - 1,
    _M_TOP_PAD: 512 << 20,
}


def tune() -> str:
    """Tell glibc to keep freed memory for the process, and return a line for the log.

    By default each large tensor is fresh memory, which the system has to clear page by page.
    Changes the whole process, so a command or a training run calls it, an import never does.
    Elsewhere than on glibc it changes nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return "allocator: not glibc, left as it is"
    if not all(mallopt(option, value) for option, value in SETTINGS.items()):
        return "allocator: glibc refused to keep memory, large tensors will be slow"
    return "allocator: freed memory is kept for reuse"
