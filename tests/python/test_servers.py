"""A web server on this machine that misbehaves in thirty ways: the right bytes, or one typed error without secrets, in
bounded time and memory."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote as escaped

import numpy as np
import pytest

pytest.importorskip("aiohttp")

import clinometer as cm
from clinometer.common.visible import without_secrets
from clinometer.errors import DumpChangedError, DumpError
from clinometer.files import http as web
from clinometer.files.remote import beside, stem

N = 4000
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
HEAD = 5000  # ranges behind it are of rows


def data() -> bytes:
    import safetensors.numpy

    return safetensors.numpy.save({"phi": X, "prompt_id": np.arange(N) // 8})


DATA = data()


class Handler(BaseHTTPRequestHandler):
    """Answers ranges of one file at any path; `behave` may do otherwise."""

    protocol_version = "HTTP/1.1"
    behave: Any = None
    asked: list[str]
    count = 0

    def do_GET(self) -> None:
        cls = type(self)
        cls.count += 1
        cls.asked.append(f"{self.path} {self.headers.get('Range')} {self.headers.get('Authorization')}")
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        a, b = int(first), min(int(last) + 1, len(DATA))
        answer = (206, DATA[a:b], {"ETag": '"1"', "Content-Range": f"bytes {a}-{b - 1}/{len(DATA)}"})
        answer = cls.behave(self, a, b, *answer) if cls.behave else answer
        if answer is not None:
            self.send(*answer)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, type[Handler]]]]:
    monkeypatch.setattr(web, "STALL", 0.4)
    monkeypatch.setattr(web, "TOTAL", 2.0)
    monkeypatch.setattr(web, "PAUSE", 0.01)
    monkeypatch.setattr(web, "LONGEST", 0.02)
    running = []

    def start(behave: Any = None) -> tuple[str, type[Handler]]:
        handler = type("H", (Handler,), {"behave": staticmethod(behave) if behave else None, "asked": []})
        server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}", handler

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def rows(url: str) -> np.ndarray:
    dump = cm.open_dump(url)
    return np.asarray(dump.read(0, dump.n_rows))


def on_rows(change: Callable[..., Any]) -> Callable[..., Any]:
    """Only ranges of rows are changed: the header opens."""
    return lambda h, a, b, s, body, head: change(h, a, b, s, body, head) if b - a > HEAD else (s, body, head)


def headers(**more: str) -> Callable[..., Any]:
    named = {k.replace("_", "-"): v for k, v in more.items()}
    return lambda h, a, b, s, body, head: (s, body, {**head, **named})


def trickle(h: Handler, a: int, b: int, s: int, body: bytes, head: dict[str, str]) -> None:
    h.send_response(206)
    for name, value in {"Content-Length": str(b - a), **head}.items():
        h.send_header(name, value)
    h.end_headers()
    for k in range(50):
        h.wfile.write(body[k : k + 1])
        time.sleep(0.1)


def silent(h: Handler, *_: Any) -> None:
    time.sleep(1.0)
    h.close_connection = True


def cut(h: Handler, a: int, b: int, s: int, body: bytes, head: dict[str, str]) -> None:
    h.send_response(206)
    for name, value in {"Content-Length": str(b - a), **head}.items():
        h.send_header(name, value)
    h.end_headers()
    h.wfile.write(body[: len(body) // 2])
    h.close_connection = True


def reset(h: Handler, *_: Any) -> None:
    h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    h.connection.close()
    h.close_connection = True


def garbage(h: Handler, *_: Any) -> None:
    h.wfile.write(b"\x00\xff what is HTTP\r\n\r\n")
    h.close_connection = True


def chunked(h: Handler, a: int, b: int, s: int, body: bytes, head: dict[str, str]) -> None:
    """Without a length, and more than was asked for, as long as anybody listens."""
    h.send_response(206)
    for name, value in {"Transfer-Encoding": "chunked", **head}.items():
        h.send_header(name, value)
    h.end_headers()
    piece = bytes(1 << 20)
    try:
        for _ in range(256):
            h.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
    except OSError:
        h.close_connection = True


def other_range(h: Handler, a: int, b: int, s: int, body: bytes, head: dict[str, str]) -> Any:
    return 206, DATA[a - 64 : b - 64], {**head, "Content-Range": f"bytes {a - 64}-{b - 65}/{len(DATA)}"}


def redirect_loop(h: Handler, *_: Any) -> Any:
    return 302, b"", {"Location": h.path}


def packed(h: Handler, a: int, b: int, s: int, body: bytes, head: dict[str, str]) -> Any:
    return s, gzip.compress(body), {**head, "Content-Encoding": "gzip"}


BOMB = gzip.compress(bytes(64 << 20), 1)


def bomb(h: Handler, a: int, b: int, s: int, body: bytes, head: dict[str, str]) -> Any:
    return 206, BOMB, {**head, "Content-Encoding": "gzip"}


def continues(h: Handler, *_: Any) -> None:
    """Goes on saying that it will go on."""
    with contextlib.suppress(OSError):
        for _ in range(300):
            h.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.01)
    h.close_connection = True


def signed_elsewhere(h: Handler, *_: Any) -> Any:
    """Sends on to a signed address of its own, where the signature has run out."""
    return (403, b"no", {}) if "moved" in h.path else (302, b"", {"Location": "/moved?X-Sig=s1gnature"})


SIZE = len(DATA)
BAD: dict[str, tuple[Any, str]] = {
    "other range": (on_rows(other_range), "were asked for, the server answers"),
    "no Content-Range": (headers(Content_Range=""), "no Content-Range"),
    "Content-Range of nonsense": (headers(Content_Range="bytes x-y/z"), "were asked for"),
    "Content-Range beyond numbers": (headers(Content_Range=f"bytes 0-0/{10**30}"), "were asked for"),
    "unknown size": (headers(Content_Range="bytes 0-0/*"), "does not say its size"),
    "two ranges": (headers(Content_Range="", Content_Type="multipart/byteranges; boundary=x"), "no Content-Range"),
    "more than asked": (lambda h, a, b, s, body, head: (s, body + bytes(1 << 20), head), "the server sends"),
    "more, without a length": (chunked, "sends more"),
    "less than asked": (on_rows(lambda h, a, b, s, body, head: (s, body[:-5], head)), "the server sends"),
    "length of nonsense": (on_rows(headers(Content_Length="12abc")), "cannot be read"),
    "compressed": (on_rows(packed),
                   "comes compressed"),
    "unpacks to far more": (bomb, "comes compressed"),
    "whole file": (lambda h, a, b, s, body, head: (200, DATA, {}), "does not serve ranges"),
    "no file": (lambda *_: (404, b"gone", {}), "is not there"),
    "gone": (lambda *_: (410, b"gone", {}), "is not there any more"),
    "forbidden": (lambda *_: (403, b"no", {}), "signature has run out"),
    "unauthorised": (lambda *_: (401, b"no", {}), "wants a user and a password"),
    "teapot": (lambda *_: (418, b"", {}), "the server answers 418"),
    "range not satisfiable": (lambda *_: (416, b"", {}), "the server answers 416"),
    "always 503": (lambda *_: (503, b"", {}), "after 4 tries.*503"),
    "always 500": (lambda *_: (500, b"", {}), "after 4 tries.*500"),
    "too many, come back in a year": (lambda *_: (429, b"", {"Retry-After": "31536000"}), "after 4 tries.*429"),
    "reset": (reset, "after 4 tries"),
    "silent": (silent, "did not answer within"),
    "a byte now and then": (on_rows(trickle), "did not answer within"),
    "cut in the middle": (on_rows(cut), "after 4 tries"),
    "no HTTP": (garbage, "cannot be read"),
    "redirected for ever": (redirect_loop, "cannot be read"),
    "redirected to a file": (lambda *_: (302, b"", {"Location": "file:///etc/hostname"}), "cannot be read"),
    "redirected to a signature that has run out": (signed_elsewhere, "signature has run out"),
    "redirected with a password to nobody": (
        lambda *_: (302, b"", {"Location": "http://user:s3cret@127.0.0.1:1/x?X-Sig=s1gnature"}), "after 4 tries"),
    "continues for ever": (continues, "after 4 tries"),
    "headers without end": (lambda h, a, b, s, body, head: (
        s, body, {**head, **{f"X-{k}": "x" * 100 for k in range(10_000)}}), "cannot be read"),
    "endless header": (headers(X_Long="x" * 70000), "cannot be read"),
    "other size": (on_rows(lambda h, a, b, s, body, head: (s, body, {**head, "Content-Range":
                   f"bytes {a}-{b - 1}/{SIZE + 9}"})), "changed since"),
    "other tag": (on_rows(headers(ETag='"2"')), "changed since"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_one_typed_error(name: str, serve: Any) -> None:
    behave, said = BAD[name]
    url, handler = serve(behave)
    secret = url.replace("http://", "http://user:s3cret@") + "/x.safetensors?X-Sig=s1gnature&v=2"
    tracemalloc.start()
    begun = time.monotonic()
    with pytest.raises(DumpError, match=said) as caught:
        rows(secret)
    took, peak = time.monotonic() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 30 and peak < 24 << 20 and handler.count < 40
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value)
    assert "s3cret" not in shown and "s1gnature" not in shown and "X-Sig=***" in shown
    assert name not in ("other size", "other tag") or isinstance(caught.value, DumpChangedError)


def flaky(first: Any) -> Any:
    """Every second answer is a bad one."""
    return lambda h, *rest: first(h, *rest) if type(h).count % 2 else rest[2:]


GOOD: dict[str, Any] = {
    "as it should be": None,
    "503 now and then": flaky(lambda *_: (503, b"", {})),
    "resets now and then": flaky(reset),
    "cut now and then": flaky(cut),
    "silent once": lambda h, *rest: silent(h) if type(h).count == 3 else rest[2:],
    "asks to wait": flaky(lambda *_: (429, b"", {"Retry-After": "1"})),
    "no stamps": headers(ETag=""),
    "identity said": headers(Content_Encoding="identity"),
    "weak stamps come and go": lambda h, a, b, s, body, head: (s, body, {**head, "ETag": "" if a else '"1"'}),
    "redirected": lambda h, a, b, s, body, head: (s, body, head) if "moved" in h.path else (
        307, b"", {"Location": "/moved" + h.path}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_answer_is_taken(name: str, serve: Any) -> None:
    url, _ = serve(GOOD[name])
    np.testing.assert_array_equal(rows(f"{url}/x.safetensors?X-Sig=abc"), X)


def test_a_signed_address_is_the_file_before_its_query(serve: Any) -> None:
    url, handler = serve()
    dump = cm.open_dump(f"{url}/some/x.safetensors?X-Amz-Signature=abc%2Fdef&v=2")
    assert (dump.n_rows, dump.name) == (N, "x.safetensors") and dump.path == without_secrets(str(dump.path))
    assert all(a.startswith("/some/x.safetensors?X-Amz-Signature=abc%2Fdef&v=2 ") for a in handler.asked)
    report = cm.report(dump, constitutions=np.eye(3)[:1], values=X[:, 1], kl=[0.1])
    assert "abc" not in report.to_json() and "X-Amz-Signature=***" in str(report.command)


def test_a_password_goes_to_its_own_host_only(serve: Any) -> None:
    other, there = serve()
    url, here = serve(lambda h, *rest: (302, b"", {"Location": f"{other}{h.path}"}))
    np.testing.assert_array_equal(rows(url.replace("http://", "http://user:s3cret@") + "/x.safetensors"), X)
    assert all(a.endswith("Basic dXNlcjpzM2NyZXQ=") for a in here.asked)
    assert there.asked and all(a.endswith("None") for a in there.asked)


def test_folders_are_not_listed_and_their_signature_goes_along(serve: Any) -> None:
    url, handler = serve(lambda *_: (404, b"", {}))
    with pytest.raises(DumpError, match="web servers do not list folders"):
        cm.open_dump(f"{url}/d?sig=x")
    assert handler.asked[0].startswith("/d/manifest.json?sig=x ")


HOSTILE = ("http://127.0.0.1:1/x.safetensors", "../phi-00000.safetensors", "/etc/hostname", "file:///etc/hostname",
           "//nowhere/x", "simplecache::phi-00000.safetensors", "s3://b/x", "phi-00000.safetensors\\u0000")  # fmt: skip


def test_a_signed_folder_is_a_dump_and_names_files_of_its_own_only(serve: Any, tmp_path: Any) -> None:
    cm.write_dump(tmp_path / "d", X, prompt_ids=np.arange(N) // 8)
    held = {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()}
    manifest = held["manifest.json"]

    def behave(h: Any, a: int, b: int, *_: Any) -> Any:
        last, whole = int(h.headers["Range"].rpartition("-")[2]) + 1, held.get(h.path.split("?")[0].rpartition("/")[2])
        if whole is None:
            return 404, b"", {}
        return 206, whole[a:last], {"Content-Range": f"bytes {a}-{last - 1}/{len(whole)}", "ETag": '"1"'}

    url, handler = serve(behave)
    np.testing.assert_array_equal(rows(f"{url}/d?X-Sig=s1gnature"), X)
    assert {a.split()[0] for a in handler.asked} == {f"/d/{name}?X-Sig=s1gnature" for name in held}
    for name in HOSTILE:
        handler.asked.clear()
        held["manifest.json"] = manifest.replace(b'"phi-00000.safetensors"', f'"{name}"'.encode())
        with pytest.raises(DumpError) as caught:
            rows(f"{url}/d?X-Sig=s1gnature")
        assert "s1gnature" not in str(caught.value)
        assert {a.split()[0] for a in handler.asked} == {"/d/manifest.json?X-Sig=s1gnature"}, name
    for name in ("x?y=z", "x#a", "%2e%2e%2fx", "a b", "it's"):  # of files with such names, which are not there
        handler.asked.clear()
        held["manifest.json"] = manifest.replace(b'"phi-00000.safetensors"', f'"{name}"'.encode())
        with pytest.raises(DumpError) as caught:
            rows(f"{url}/d?X-Sig=s1gnature")
        assert "s1gnature" not in str(caught.value)
        asked = {a.split()[0].removesuffix("?X-Sig=s1gnature") for a in handler.asked}
        assert asked == {"/d/manifest.json", f"/d/{escaped(name)}"}


def test_a_host_that_is_not_there_is_one_typed_error() -> None:
    with pytest.raises(DumpError, match="cannot be reached") as caught:
        cm.open_dump("ftp://user:s3cret@127.0.0.1:1/x.npy")
    assert "s3cret" not in str(caught.value)


def test_addresses_taken_apart() -> None:
    assert beside("https://h/d/?s=1/2#f", "a.npy") == "https://h/d/a.npy?s=1/2#f"
    assert beside("s3://b/d?e", "a.npy") == "s3://b/d?e/a.npy"
    assert stem("simplecache::https://h/x.npy?a.npz") == "simplecache::https://h/x.npy"
    assert stem("/tmp/what?.npy") == "/tmp/what?.npy"
    for url in ("https://u:p@ss@h/x", "https://token@h/x", "https://h/x?token", "https://h/x?a=token&token#f",
                "see 's3://u:token@h/x?k=token' and https://h/y?z=token.", "https://h/a b'c?x=token"):  # fmt: skip
        assert "token" not in without_secrets(url).replace("k=", "") and "p@ss" not in without_secrets(url)


def test_the_command_line_tells_no_secret(capsys: Any) -> None:
    from clinometer.cli import main

    for address in ("http://user:s3cret@127.0.0.1:9/x.gif?sig=s1gn", "nosuch://user:s3cret@h/x.npy?sig=s1gn"):
        assert main(["inspect", address]) == 2
        said = "".join(capsys.readouterr())
        assert said.startswith("clinometer: ") and "s3cret" not in said and "s1gn" not in said
