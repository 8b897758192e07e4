"""What tests share that need a browser: Debian's chromium, driven by playwright; without either they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
# Charts follow the width of their place one frame after it is known.
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser without a network."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if executable is None:
        pytest.skip(f"no browser is installed ({', '.join(EXECUTABLES)})")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, path: Path, address: str = "", width: int = 1280, **options: Any) -> Iterator[Any]:
    """Open a page from its file; whatever it complains about, or asks the network for, fails the test at the end."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: (
            complaints.append(f"request: {request.url}") if not request.url.startswith(("file:", "data:")) else None
        ),
    )
    try:
        page.goto(f"file://{path}{address}")
        page.wait_for_selector("html[data-ready]", state="attached")
        page.evaluate(TWO_FRAMES)
        yield page
        assert complaints == []
    finally:
        context.close()


def shown(page: Any, view: str) -> Any:
    """Wait for a view that an address or a link has asked for (the page follows a moment later), and give it."""
    view = page.locator(f"#{view}")
    view.wait_for(state="visible")
    page.evaluate(TWO_FRAMES)
    return view
