"""A headless Chromium driven over the DevTools protocol by a pipe: JSON messages that end in a NUL.

Nothing but the standard library and a `chromium` (or what CHROMIUM names) is wanted.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["Browser", "Tab", "find"]

SLOW = 30.0


def find() -> str | None:
    """The browser's path, or None."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


class Browser:
    """One process; tabs are opened from it. A context manager."""

    def __init__(self) -> None:
        program = find()
        if program is None:
            raise FileNotFoundError("no chromium: install it, or set CHROMIUM to its path")
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={self._home.name}", "--remote-debugging-pipe",
        ]  # fmt: skip
        # the browser reads commands from descriptor 3 and writes answers to 4
        script = f'exec 3<&{to_read} 4>&{to_write}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options, "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._last, self._held, self._events = 0, b"", []  # type: ignore[var-annotated]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(SLOW)
        os.close(self._in)
        os.close(self._out)
        self._home.cleanup()

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """The answer to one command; events that come before it are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SLOW
        while time.monotonic() < end:
            got = self._receive(end)
            if got.get("id") == self._last:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']['message']}")
                return got["result"]
            self._events.append(got)
        raise TimeoutError(f"{method} did not answer in {SLOW} s")

    def events(self, session: str, seconds: float = 0.0) -> list[dict[str, Any]]:
        """Events of a session so far, waiting a little for late ones."""
        end = time.monotonic() + seconds
        while True:
            try:
                self._events.append(self._receive(end))
            except TimeoutError:
                break
        mine = [e for e in self._events if e.get("sessionId") == session]
        self._events = [e for e in self._events if e.get("sessionId") != session]
        return mine

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("no message")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            self._held += part
        message, _, self._held = self._held.partition(b"\0")
        made: dict[str, Any] = json.loads(message)
        return made

    def open(self, path: Path, *, width: int = 1280, height: int = 900, **media: str) -> Tab:
        """A tab showing a file; media are features such as color_scheme="dark"; script=off turns JavaScript off."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.send(f"{domain}.enable")
        tab.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        if media.pop("script", "on") == "off":
            tab.send("Emulation.setScriptExecutionDisabled", value=True)
        features = [{"name": f"prefers-{k.replace('_', '-')}", "value": v} for k, v in media.items()]
        tab.send("Emulation.setEmulatedMedia", features=features)
        tab.go(path)
        return tab


class Tab:
    """One page. Everything it did is in `.seen`: requests, dialogs, exceptions, console and log entries."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.seen: list[dict[str, Any]] = []
        self.address = ""

    def send(self, method: str, **params: Any) -> Any:
        """One command to this page."""
        return self._browser.send(method, self._session, **params)

    def go(self, path: Path) -> None:
        """Load a file and wait until it is loaded."""
        self.address = path.resolve().as_uri()
        loads = self._loads() + 1
        self.send("Page.navigate", url=self.address)
        end = time.monotonic() + SLOW
        while self._loads(0.02) < loads:
            if time.monotonic() > end:
                raise TimeoutError(f"{path} did not load")

    def _loads(self, seconds: float = 0.0) -> int:
        return sum(e["method"] == "Page.loadEventFired" for e in self.collect(seconds))

    def collect(self, seconds: float = 0.0) -> list[dict[str, Any]]:
        """All events so far; dialogs are counted and dismissed."""
        fresh = self._browser.events(self._session, seconds)
        self.seen += fresh
        for e in fresh:
            if e["method"] == "Page.javascriptDialogOpening":
                self.send("Page.handleJavaScriptDialog", accept=False)
        return self.seen

    def run(self, script: str) -> Any:
        """The JSON value of an expression; promises are awaited. The page's policy does not bind the protocol."""
        made = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in made:
            raise RuntimeError(made["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return made["result"].get("value")

    def settle(self) -> None:
        """Wait for two frames."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def mouse(self, selector: str, *, click: bool = False, along: float = 0.5, down: float = 0.5) -> None:
        """Point at an element (a share of its width and height), and perhaps click."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center', "
            "behavior: 'instant'}); const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
        )
        x, y = box[0] + along * box[2], box[1] + down * box[3]
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def key(self, name: str) -> None:
        """Press a key such as ArrowRight, Tab or Enter."""
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code[name], **text
            )
        self.settle()

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        """What a printer would get."""
        made = self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(made["data"]))

    def requests(self) -> list[str]:
        """Addresses asked for, but for the file itself and objects made in the page."""
        sent = [e["params"]["request"]["url"] for e in self.collect() if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url.split("#")[0] != self.address and not url.startswith("blob:")]

    def dialogs(self) -> list[str]:
        """Texts of dialogs that opened."""
        return [e["params"]["message"] for e in self.collect() if e["method"] == "Page.javascriptDialogOpening"]

    def problems(self) -> list[str]:
        """Uncaught exceptions, console output and entries of the browser's log."""
        out = []
        for e in self.collect(0.05):
            if e["method"] == "Runtime.exceptionThrown":
                out.append(str(e["params"]["exceptionDetails"].get("exception", {}).get("description")))
            if e["method"] == "Runtime.consoleAPICalled":
                out.append(str(e["params"]["args"]))
            if e["method"] == "Log.entryAdded":
                out.append(e["params"]["entry"]["text"])
        return out

    def close(self) -> None:
        """End the tab."""
        self._browser.send("Target.closeTarget", targetId=self._target)
