"""What several files of tests take."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clinometer import _core


@pytest.fixture(params=_core.isa_available())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of this machine in turn."""
    before = _core.isa()
    _core.isa_select(request.param)
    yield request.param
    _core.isa_select(before)
