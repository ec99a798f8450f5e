"""How many threads linear algebra takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Has BLAS take one thread. It would divide every short dot product of an iteration among all cores, which costs
    four (seasonal ARIMA) to ten times (LIBLINEAR) the time, and many times that where other programs work, too."""
    import scipy.linalg  # noqa: F401 - only what is loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
