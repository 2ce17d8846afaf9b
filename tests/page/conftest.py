"""The page in a real browser, before the real service, over a store that was filled without training."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from autopeft.settings import Settings
from autopeft.store import Store
from tests.page import stores

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# How long a browser may take on a machine that does much else; nothing is asserted of it.
PATIENCE_MILLISECONDS = 90_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)


@dataclass(frozen=True)
class Filled:
    """A data folder with searches in it."""

    settings: Settings
    store: Store

    def work(self, name: str, **changes) -> stores.Work:
        """Return a controller at work on a new search."""
        return stores.Work(self.store, self.settings, stores.create(self.store, name, **changes))


@pytest.fixture(scope="package")
def filled(tmp_path_factory) -> Filled:
    """``reviews`` and ``small`` are done, ``overnight`` waits, ``broken`` has failed."""
    home = tmp_path_factory.mktemp("page")
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'autopeft.db'}", ray_address=None)
    there = Filled(settings, Store(settings.database_url))
    stores.finish(there.store, settings, "reviews", budget="34")
    stores.finish(there.store, settings, "small", budget="14", space="lora", max_params="1%")
    stores.create(there.store, "overnight", budget="2h")
    there.work("broken", baselines=False).end("failed", "the first 5 runs all failed; the last: no memory for 1 row")
    return there


def serve(home: Path, *options: str) -> "subprocess.Popen[str]":
    """Start the service on a free port; the first line that it prints is its address."""
    environment = {**os.environ, "AUTOPEFT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment.pop("AUTOPEFT_DATABASE_URL", None)
    command = [sys.executable, "-m", "autopeft", "serve", "--port", "0", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def wait_for(process: "subprocess.Popen[str]") -> str:
    """Return the service's address when it has loaded what checks, drawings and Optuna's dashboard need."""
    base = process.stdout.readline().strip().rstrip("/")
    for path in ("/api/v1/options", "/dashboard"):
        httpx.get(f"{base}{path}", timeout=240).raise_for_status()
    return base


def end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="package")
def address(filled):
    """Where the service of ``filled`` is, without a controller."""
    process = serve(filled.settings.home, "--no-controller")
    base = wait_for(process)
    yield base
    end(process)


@pytest.fixture(scope="package")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser: {CHROMIUM} is not there (Debian's package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Watch:
    """What a page may not do, as far as it did it."""

    host: str
    errors: list[str]
    dialogs: list[str]
    strangers: list[str]

    def see(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._read)
        page.on("dialog", self._dismiss)
        page.on("request", self._ask)

    def _read(self, message) -> None:
        # That a request failed is said by the browser; the tests of errors make it say so.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def _dismiss(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _ask(self, request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https") and url.netloc != self.host:
            self.strangers.append(request.url)


@pytest.fixture
def watched(browser: Browser, address):
    """``watched(base, **options)``: a page of a new context; at the end it has run no error and asked nobody else."""
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []

    def make(base: str = address, **options) -> Page:
        context = browser.new_context(base_url=base, viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        contexts.append(context)
        watches.append(Watch(urlsplit(base).netloc, [], [], []))
        page = context.new_page()
        watches[-1].see(page)
        return page

    yield make
    for context in contexts:
        context.close()
    for watch in watches:
        assert (watch.errors, watch.dialogs, watch.strangers) == ([], [], [])


@pytest.fixture
def page(watched) -> Page:
    return watched()


@pytest.fixture
def hurried(page) -> Page:
    """A page that waits for a twentieth of the time between two looks."""
    page.add_init_script(
        """for (const name of ["setTimeout", "setInterval"]) {
            const wait = window[name];
            window[name] = (work, milliseconds) => wait(work, milliseconds / 20);
        }"""
    )
    return page


@pytest.fixture
def visit(page):
    """``visit(route)``: the page at that route, when its heading is there."""

    def go(route: str, heading: str | None = None) -> Page:
        page.goto(f"/#{route}")
        expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
        return page

    return go
