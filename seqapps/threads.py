"""The number of threads of linear algebra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits BLAS to one thread. It would split every short dot product of an iteration over all cores, which costs
    four (seasonal ARIMA) to ten times (LIBLINEAR) the time, and many times that when other programs run, too."""
    import scipy.linalg  # noqa: F401 - only what is loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
