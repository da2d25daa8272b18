"""What several kernels do to rows in registers: norm them, turn their channels by angles."""

from .launch import jit, tl


@jit
def center(x, C: tl.constexpr):
    """Rows of C channels, and zeros behind them, less their mean; and that mean in two parts."""
    is_channel = (tl.arange(0, x.shape[1]) < C)[None, :]
    mean = tl.sum(x, axis=1) / C
    x -= mean[:, None]
    if x.shape[1] > C:
        x = tl.where(is_channel, x, 0.0)
    # a mean far from zero is rounded: what it leaves is taken off too
    rest = tl.sum(x, axis=1) / C
    x -= rest[:, None]
    if x.shape[1] > C:
        x = tl.where(is_channel, x, 0.0)
    return x, mean, rest


@jit
def standardize(x, eps, C: tl.constexpr):
    """Centered rows over their deviation, and 1 / deviation."""
    x, _, _ = center(x, C)
    r = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / C + eps)
    return x * r[:, None], r


@jit
def normalize(x, eps, C: tl.constexpr, CENTERED: tl.constexpr):
    """xhat, and what x was multiplied with; a NaN reaches all of its row."""
    if CENTERED:
        return standardize(x, eps, C)
    mean_square = tl.sum(x * x, axis=1) / C
    r = 1.0 / tl.sqrt(tl.where(mean_square * C < eps * eps, eps * eps / C, mean_square))
    return x * r[:, None], r


@jit
def turn(x, cos, sin, R: tl.constexpr):
    """Neighbouring channels of x [..., D] as pairs, the first R of them turned."""
    if R:
        HALF: tl.constexpr = x.shape[-1] // 2
        even, odd = tl.split(tl.reshape(x.to(tl.float32), x.shape[:-1] + (HALF, 2)))  # noqa: RUF005
        a, b = even * cos - odd * sin, odd * cos + even * sin
        if R < HALF:
            is_turned = tl.arange(0, HALF) < R
            a, b = tl.where(is_turned, a, even), tl.where(is_turned, b, odd)
        x = tl.reshape(tl.join(a, b), x.shape).to(x.dtype)
    return x
