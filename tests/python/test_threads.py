"""Work that stays on a call's threads: order, errors, and products that are what NumPy's are."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from clinometer.common.threads import applied, heard, images, shared


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_work_comes_back_in_order_and_with_its_error(n_threads: int) -> None:
    assert shared(lambda i: i * i, range(7), n_threads) == [0, 1, 4, 9, 16, 25, 36]
    assert shared(lambda i: i, [], n_threads) == []
    with pytest.raises(ZeroDivisionError):
        shared(lambda i: 1 // (i - 3), range(7), n_threads)


def test_one_item_starts_no_thread() -> None:
    here = threading.get_ident()
    assert shared(lambda _: threading.get_ident(), [0], 4) == [here]


@pytest.mark.parametrize("d", [1, 3, 7, 15, 17, 33, 700])
@pytest.mark.parametrize("k", [1, 2, 39])
def test_products_are_numpys(d: int, k: int) -> None:
    rng = np.random.default_rng(d)
    square = rng.standard_normal((d + 2, d + 2))
    square = square + square.T
    u = rng.standard_normal((k, d))
    np.testing.assert_allclose(images(square[:d, :d], u), u @ square[:d, :d], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(applied(u, square[0, :d]), u @ square[0, :d], rtol=1e-10, atol=1e-10)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C as in a terminal; what runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_is_heard_while_something_deaf_computes() -> None:
    computed, begun = threading.Event(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        heard(lambda: (os.kill(os.getpid(), signal.SIGINT), computed.wait(60)))
    assert time.monotonic() - begun < 30
    computed.set()
    assert heard(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        heard(lambda: 1 // 0)
