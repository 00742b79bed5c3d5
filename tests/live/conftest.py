"""A browser for the live page, and a stand-in for the server behind it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.live.stub import Stub

CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = (
    "--no-sandbox",  # it does not run as root otherwise
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
Visit = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium of the system, driven by playwright."""
    if not CHROMIUM.is_file():
        pytest.skip(
            f"{CHROMIUM} is not installed: apt-get install --no-install-recommends chromium"
        )
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@dataclass
class Tab:
    """A page of the browser, and what it complained of."""

    page: Any
    refused: bool = False  # requests that fail are meant to
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        meant = self.refused and message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not meant:
            self.complaints.append(message.text)


@pytest.fixture(scope="session")
def tab(browser: Any) -> Tab:
    """A page that tests use one after another: to make one takes longer than most tests."""
    return Tab(browser.new_context().new_page())


@pytest.fixture
def visit(browser: Any, tab: Tab) -> Iterator[Visit]:
    """Open the page of a stub, which begins with it; in the end nothing may be in the console."""
    used: list[Tab] = []
    with ExitStack() as open_ones:

        def opened(
            stub: Stub,
            *,
            refused: bool = False,
            size: tuple[int, int] = (1280, 720),
            context: dict[str, Any] | None = None,
        ) -> Any:
            """Open it.

            Args:
                stub: The server.
                refused: Whether the browser will note requests that fail.
                size: Width and height of the window, in pixels.
                context: Settings of a browser of its own, with no cookies of other tests.
            """
            stub.start()
            open_ones.callback(stub.stop)
            mine = tab
            if context is not None:
                session = browser.new_context(**context)
                open_ones.callback(session.close)
                mine = Tab(session.new_page())
            used.append(mine)
            mine.refused = refused
            mine.page.set_viewport_size({"width": size[0], "height": size[1]})
            mine.page.goto(stub.url, wait_until="domcontentloaded")
            return mine.page

        yield opened
        if tab in used:
            tab.page.goto("about:blank")
    complaints = [text for one in used for text in one.complaints]
    tab.complaints.clear()
    assert complaints == []


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file axe.min.js, of EDGE_TEST_AXE or by npm."""
    named = os.environ.get("EDGE_TEST_AXE")
    if named:
        return Path(named)
    folder = tmp_path_factory.mktemp("axe")
    try:
        got = subprocess.run(
            ["npm", "pack", "--silent", "axe-core"],
            cwd=folder,
            capture_output=True,
            timeout=30,
            text=True,
            check=True,
        )
        archive = folder / got.stdout.split()[-1]
        subprocess.run(["tar", "-xzf", archive, "package/axe.min.js"], cwd=folder, check=True)
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        pytest.skip(f"no axe.min.js: EDGE_TEST_AXE names none, and npm gives none ({error})")
    return folder / "package" / "axe.min.js"
