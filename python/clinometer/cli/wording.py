"""Messages of the Python package in words of the command line."""

from __future__ import annotations

import re

__all__ = ["in_options"]

# arguments of Python functions -> options; a message names an argument in front, or says what to pass
_WORDS = (
    (r"^values: ", "--value: "),
    (r"^(constitutions|clusters|logprobs|covariates|columns): ", r"--\1: "),
    (r"^prompt_ids: ", "--prompt-ids: "),
    (r"^(folds|alpha|method|base|precision) is ", r"--\1 is "),
    (r"^n_threads is ", "--threads is "),
    (r"choose with tensor=('[^']*'|\"[^\"]*\")", r"choose with --tensor \1"),
    (r" or layer=(\d+)", r" or --layer \1"),
    (r"open the dump with nonfinite='drop'", "pass --nonfinite drop"),
    (r"columns= adds some", "--columns FILE.npz adds some"),
    (r"check_source=False allows it", "--any-source allows it"),
    (r"pass prompt_ids=", "pass --prompt-ids NAME|FILE"),
)


def in_options(message: str) -> str:
    """The message with options in place of arguments.

    >>> in_options("values: no column 'x' in d")
    "--value: no column 'x' in d"
    """
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message
