"""The typed errors of the package."""

from __future__ import annotations

from .common.visible import quote, visible, without_secrets

__all__ = ["CheckFailed", "DumpChangedError", "DumpError", "bad"]


class DumpError(ValueError):
    """A dump cannot be read as what it claims to be; the message names file, field and what to do.

    Names from outside are in it with control and direction marks escaped: a log line stays one line. Passwords and
    signatures of addresses are shown as ***. `.candidates` are the tensors that can be phi, where the error is
    that there are several.

    >>> import clinometer as cm
    >>> try:
    ...     cm.open_dump("no-such-file.npy")
    ... except cm.DumpError as error:
    ...     print(str(error)[-44:])
    cannot be opened (No such file or directory)
    """

    candidates: tuple[str, ...] = ()

    def __init__(self, *args: object) -> None:
        super().__init__(*(visible(without_secrets(a)) if isinstance(a, str) else a for a in args))


class DumpChangedError(DumpError):
    """A dump's file shrank, grew or was replaced while it was being read: `open_dump` again.

    >>> import clinometer as cm, numpy as np, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "phi.npy")
    ...     np.save(path, np.ones((4, 2)))
    ...     dump = cm.open_dump(path)
    ...     np.save(path, np.ones((3, 2)))
    ...     try:
    ...         cm.moments(dump, prompt_ids=[0, 0, 1, 1])
    ...     except cm.DumpChangedError:
    ...         print("changed")
    changed
    """


class CheckFailed(AssertionError):
    """A report's check does not hold; `.row` is the row of the table that decided it, or None.

    >>> import clinometer as cm
    >>> r = cm.report(cm.simulate(60, 8, 4, random_state=1), constitutions="judge/c0", values=["s"], kl=[0.1])
    >>> try:
    ...     r.check("s >= 5 at kl=0.1")
    ... except cm.CheckFailed as failed:
    ...     print(failed.row["value"], failed.row["kl"])
    s 0.1
    """

    def __init__(self, message: str, row: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.row = row


def bad(path: str, what: str, field: str | None = None, offset: int | None = None) -> DumpError:
    """The DumpError that names file, field and byte offset."""
    where = quote(path, 400)
    if field is not None:
        where += f", {field}"
    if offset is not None:
        where += f", byte {offset}"
    return DumpError(f"{where}: {what}")
