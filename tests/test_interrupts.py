"""SIGTERM raises as Ctrl-C does; both wait where work must become whole first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from seqapps.runtime import Terminated, deferred, heed_sigterm, recognised


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    heed_sigterm()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_sigterm_is_caught_where_ctrl_c_is() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        send(signal.SIGTERM)
    assert caught.type is Terminated


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_waits_until_the_end_of_the_block(number: int, error: type[BaseException]) -> None:
    steps = []
    with pytest.raises(error) as caught, deferred() as interrupted:
        for step in range(5):
            if step == 2:
                send(number)
            steps.append(step)
            if interrupted():
                break
    assert (steps, caught.type) == ([0, 1, 2], error)
    with pytest.raises(error):  # as before the block
        send(number)


def test_a_second_signal_does_not_wait() -> None:
    with pytest.raises(Terminated), deferred():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        raise AssertionError("not reached")


def test_what_the_user_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with deferred() as interrupted:
        send(signal.SIGTERM)
        assert not interrupted()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
@pytest.mark.parametrize("library", ["wraps", "swallows", "passes"])
def test_what_a_library_makes_of_a_signal_is_undone(number: int, error: type[BaseException], library: str) -> None:
    steps: list[str] = []
    with pytest.raises(error) as caught, recognised(lambda: steps.append("first")):
        try:
            send(number)
        except BaseException as came:
            steps.append("heard")
            if library == "wraps":
                raise RuntimeError(f"{came!r} [while running a step]") from came
            if library == "passes":
                raise
    assert (steps, caught.type) == (["first", "heard"], error)
    with pytest.raises(error):  # as before the block
        send(number)


def test_another_error_of_a_library_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="a step"), recognised(lambda: None):
        raise RuntimeError("a step")
