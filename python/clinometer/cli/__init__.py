"""The command line: exit 0 good, 1 a check failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; bad input is one line on stderr.

    >>> from clinometer.cli import main
    >>> main(["inspect", "no-such-dump.safetensors"])
    2
    """
    try:
        return _guarded(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader went away; the interpreter would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _guarded(argv: list[str]) -> int:
    from clinometer.errors import CheckFailed

    from .arguments import BadArguments, parse

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = _warn
            args = parse(argv)
            code = int(args.run(args))
            sys.stdout.flush()
            return code
    except CheckFailed as error:
        _say(str(error))
        return 1
    except BrokenPipeError:
        raise
    except BadArguments as error:
        _say(str(error))
    except SystemExit as error:  # --help and --version
        return error.code if isinstance(error.code, int) else 0
    except (ValueError, TypeError, OSError, ImportError, MemoryError, OverflowError) as error:
        _say(_text(error))
    return BAD_INPUT


def _text(error: Exception) -> str:
    """What an error says; of the system's without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
        return f"{path!r}: {error.strerror}"
    return str(error) or type(error).__name__


def _say(message: str) -> None:
    from clinometer.common.progress import clear
    from clinometer.common.visible import cut, without_secrets

    from .output import in_options

    clear()
    print(f"clinometer: {cut(without_secrets(in_options(message)), 4000)}", file=sys.stderr)


def _warn(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    from .output import in_options

    if issubclass(category, UserWarning):
        _say("warning: " + in_options(str(message)))
