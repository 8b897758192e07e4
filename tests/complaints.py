"""What tests of errors share: a user's mistake is answered with one line."""

from __future__ import annotations

import pytest

from harness.errors import UserError


def complaint(act, *arguments, **named) -> str:
    """The one line with which a call fails."""
    with pytest.raises(UserError) as caught:
        act(*arguments, **named)
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message
