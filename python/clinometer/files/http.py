"""Ranges of bytes over HTTP: what comes back is what was asked for, or it is refused before it is read.

Connections, redirects and proxies are aiohttp's, its session and loop those of fsspec.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import DumpChangedError, DumpError, bad

TRIES, PAUSE, LONGEST = 4, 0.25, 5.0  # the pause doubles, to at most LONGEST seconds
STALL, TOTAL = 30.0, 600.0  # seconds without a byte, and for one range
AT_ONCE = 8
_PIECE = 1 << 20
_LATER = (429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)\Z")
_STAMPS = ("ETag", "Last-Modified")
_REFUSED = {
    401: "wants a user and a password", 403: "is refused: rights are lacking, or a signature has run out",
    404: "is not there", 410: "is not there any more",
}  # fmt: skip


class _AgainError(Exception):
    """Something that may be better at another try; what, and seconds to wait where the server says so."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class Web:
    """One file of a web server: its size and stamps when it was opened, and ranges of it."""

    def __init__(self, fs: Any, url: str, shown: str) -> None:
        self.fs, self.url, self.shown = fs, url, shown
        self.size, self.stamps = -1, ("", "")
        self.size, self.stamps = self._run(self._probe())

    def again(self) -> tuple[int, tuple[str, str]]:
        """Size and stamps as they are now."""
        size, self.size = self.size, -1
        try:
            return self._run(self._probe())  # type: ignore[no-any-return]
        finally:
            self.size = size

    def ranges(self, starts: list[int], ends: list[int]) -> list[bytes]:
        """Bytes [start, end) each."""
        return self._run(self._all(starts, ends))  # type: ignore[no-any-return]

    def _run(self, work: Any) -> Any:
        sync = importlib.import_module("fsspec.asyn").sync

        async def waited() -> Any:
            return await work

        return sync(self.fs.loop, waited)

    async def _all(self, starts: list[int], ends: list[int]) -> list[bytes]:
        few = asyncio.Semaphore(AT_ONCE)

        async def one(start: int, end: int) -> bytes:
            async with few:
                return (await self._get(start, end))[0]

        return list(await asyncio.gather(*map(one, starts, ends)))

    async def _probe(self) -> tuple[int, tuple[str, str]]:
        """The first byte says the size; many servers of signed addresses do not answer HEAD."""
        _, size, stamps = await self._get(0, 1)
        return size, stamps

    async def _get(self, start: int, end: int) -> tuple[bytes, int, tuple[str, str]]:
        aiohttp: Any = importlib.import_module("aiohttp")
        for attempt in range(TRIES):
            try:
                return await self._once(start, end)
            except (_AgainError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as exc:
                timed = isinstance(exc, TimeoutError)
                what = f"did not answer within {STALL:g} s" if timed else str(exc) or type(exc).__name__
                wait = getattr(exc, "wait", 0.0) or PAUSE * 2**attempt
            if attempt + 1 < TRIES:
                await asyncio.sleep(min(wait, LONGEST))
        raise bad(self.shown, f"cannot be read after {TRIES} tries ({what})")

    async def _once(self, start: int, end: int) -> tuple[bytes, int, tuple[str, str]]:
        aiohttp: Any = importlib.import_module("aiohttp")
        options = dict(self.fs.kwargs)
        asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        options["headers"] = {**options.get("headers", {}), **asked}
        options["timeout"] = aiohttp.ClientTimeout(total=TOTAL, sock_connect=STALL, sock_read=STALL)
        session = await self.fs.set_session()
        # what is quoted already, as signed addresses are, is left as it is
        url = importlib.import_module("yarl").URL(self.url, encoded="%" in self.url)
        async with session.get(url, **options) as answer:
            size, stamps = self._checked(answer, start, end)
            return (await self._body(answer, end - start) if size else b""), size, stamps

    def _checked(self, answer: Any, start: int, end: int) -> tuple[int, tuple[str, str]]:
        """Size and stamps of the file, if the answer's head is that of the range asked for."""
        status, said = answer.status, answer.headers
        if status in _LATER:
            wait = said.get("Retry-After", "")
            raise _AgainError(f"the server answers {status}", float(wait) if wait.isdecimal() else 0.0)
        if status == 200:
            what = "the server does not serve ranges of bytes; simplecache::URL downloads it whole"
            raise bad(self.shown, what)
        found = _RANGE.match(said.get("Content-Range", ""))
        if status == 416 and start == 0 and found is not None and found[3] == "0":
            return 0, _stamps(said)
        if status == 416 and self.size >= 0:
            raise self._changed()
        if status != 206:
            why = f": it {_REFUSED[status]}" if status in _REFUSED else ""
            raise bad(self.shown, f"cannot be read{why} (the server answers {status})")
        if said.get("Content-Encoding", "identity") != "identity":
            raise bad(self.shown, f"comes compressed ({quote(said['Content-Encoding'])}), which was not asked for")
        if found is None or (found[1], found[2]) != (str(start), str(end - 1)):
            got = quote(said.get("Content-Range", "no Content-Range"))
            raise bad(self.shown, f"bytes {start}-{end - 1} were asked for, the server answers {got}")
        if found[3] == "*":
            raise bad(self.shown, "does not say its size, so its claims cannot be checked")
        size, stamps = int(found[3]), _stamps(said)
        other = any(a and b and a != b for a, b in zip(stamps, self.stamps, strict=True))
        if self.size >= 0 and (size != self.size or other):
            raise self._changed()
        length = said.get("Content-Length")
        if length is not None and length != str(end - start):
            raise bad(self.shown, f"{end - start} bytes were asked for, the server sends {quote(length)}")
        return size, stamps

    async def _body(self, answer: Any, count: int) -> bytes:
        pieces, got = [], 0
        while piece := await answer.content.read(min(_PIECE, count - got + 1)):
            pieces.append(piece)
            got += len(piece)
            if got > count:
                raise bad(self.shown, f"{count} bytes were asked for, the server sends more")
        if got < count:
            raise _AgainError(f"{got} bytes came of {count}")
        return b"".join(pieces)

    def _changed(self) -> DumpError:
        return DumpChangedError(f"{quote(self.shown, 400)}: changed since it was opened; open the dump again")


def _stamps(said: Any) -> tuple[str, str]:
    return said.get(_STAMPS[0], ""), said.get(_STAMPS[1], "")
