"""What W&B's errors mean for a study, in one line: whether they are final, and what to say.

Nothing secret is repeated: neither the values of settings nor the passwords in addresses.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Any

SERVICE_LOST = {"ConnectionResetError", "BrokenPipeError", "MailboxClosedError", "HandleAbandonedError"}
OF_THE_DISK = {"ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "ENAMETOOLONG"}


class UnwantedError(Exception):
    """W&B cannot or should not be used at all; another attempt would end in the same way."""


def failure(error: Exception) -> dict[str, Any]:
    """The answer that tells of an error, in one line, without the advice that W&B gives in further ones."""
    text = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
    final = isinstance(error, UnwantedError)
    if type(error).__name__ in SERVICE_LOST:
        text = "its service process ended"
    elif isinstance(error, OSError) and error.strerror:
        final = errno.errorcode.get(error.errno or 0) in OF_THE_DISK
        place = f"{os.path.abspath(error.filename)}: " if isinstance(error.filename, str) else ""
        text = f"{place}{error.strerror}"
    elif not final and (not type(error).__module__.startswith("wandb.errors") or text in ("", "<no message>")):
        text = f"{type(error).__name__}: {text}"
    text = re.sub(r"//[^/@\s]*@", "//", text)  # the password in an address
    return {"kind": "failed", "reason": text, "final": final}


def complaint(error: Exception) -> str:
    """What is wrong with W&B's settings, in one line: the first of its complaints, without the value."""
    details = getattr(error, "errors", None)
    if callable(details):
        first = details(include_url=False, include_input=False)[0]
        return f"its setting {'.'.join(map(str, first['loc']))} is refused: {first['msg']}"
    return f"its settings are refused: {failure(error)['reason']}"
