"""The same commands against a service as against the embedded store: the same words, and the same files."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import uvicorn

from autopeft.service import server
from autopeft.service.app import make_app
from autopeft.settings import Settings
from autopeft.store import Store


@pytest.fixture(scope="module")
def home_of_service(finished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the data folder with the finished search ``mine``, which may be changed."""
    return Path(shutil.copytree(finished_home, tmp_path_factory.mktemp("service") / "home"))


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """The service logs its requests to the stdout of this process, where the commands' data is looked for."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def address(home_of_service: Path) -> Iterator[str]:
    """A service on a free port, without a controller."""
    url = f"sqlite:///{home_of_service / 'autopeft.db'}"
    store = Store(url)
    app = make_app(Settings(home_of_service, url, None), store)
    listening = server.listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield server.address(listening)
    running.should_exit = True
    thread.join()
    store.close()


@pytest.fixture
def here(home_of_service, monkeypatch):
    """The service's store, as the embedded one."""
    monkeypatch.setenv("AUTOPEFT_HOME", str(home_of_service))
    for name in ("AUTOPEFT_DATABASE_URL", "AUTOPEFT_URL", "AUTOPEFT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def there(address, home, monkeypatch):
    """The service, and an empty store on this machine."""
    for name in ("AUTOPEFT_DATABASE_URL", "AUTOPEFT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUTOPEFT_URL", address)


@pytest.fixture
def both(run, here, address, monkeypatch):
    """``both("front", "mine")``: what a command does with the store, and with the service."""

    def call(*arguments):
        embedded = run(*arguments)
        with monkeypatch.context() as patch:
            patch.setenv("AUTOPEFT_URL", address)
            return embedded, run(*arguments)

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("list", "--json"),
        ("front", "mine"),
        ("front", "mine", "--json"),
        ("watch", "mine"),
        ("watch", "mine", "--json"),
        ("cancel", "mine"),
        ("show", "nobody"),
        ("watch", "nobody"),
        ("front", "nobody"),
    ],
)
def test_a_command_says_the_same_of_a_services_searches(both, arguments):
    embedded, remote = both(*arguments)
    assert remote == embedded


def test_show_says_the_same_but_for_the_rows_of_the_task(both):
    embedded, remote = both("show", "mine", "--json")
    assert {**embedded.json, "facts": None} == {**remote.json, "facts": None}
    assert remote.json["facts"].items() <= embedded.json["facts"].items()
    embedded, remote = both("show", "mine")
    assert "rows: train" in embedded.out and "rows: train" not in remote.out
    assert remote.out.splitlines()[-1] == embedded.out.splitlines()[-1]


def test_a_front_is_drawn_by_the_service(run, there, tmp_path):
    png, html = tmp_path / "front.png", tmp_path / "front.html"
    assert run("front", "mine", "--plot", png, "--plot", html).code == 0
    assert png.read_bytes().startswith(b"\x89PNG") and "<html" in html.read_text()
    refused = run("front", "mine", "--plot", tmp_path / "front.bmp")
    assert refused.code == 2 and "front.bmp" not in {path.name for path in tmp_path.iterdir()}


def test_watching_tells_the_state_and_the_progress_one_event_a_line(run, there):
    outcome = run("watch", "mine", "--json")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.code == 0 and all(event.keys() == {"id", "kind", "body"} for event in events)
    assert events[-1]["body"]["state"] == "done"
    assert any(event["kind"] == "progress" and event["body"]["phase"] == "confirm" for event in events)


@pytest.mark.parametrize("how", [("--format", "recipe"), ("--format", "recipe", "--pick", "knee")])
def test_an_export_has_the_same_files(both, tmp_path, how):
    folder = tmp_path / "out"
    embedded, remote = both("export", "mine", *how, "--out", folder)
    assert (remote.code, remote.out) == (embedded.code, embedded.out) == (0, f"{folder / 'recipe.yaml'}\n")


def test_every_lossless_format_is_exported(run, there, tmp_path):
    outcome = run("export", "mine", "--all", tmp_path / "all")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "all" / "recipe" / "recipe.yaml").is_file()
    assert len(outcome.out.splitlines()) > 1


def test_a_search_is_submitted_with_its_file_cancelled_queued_again_and_watched(run, there, tiny_task):
    asked = ("--task", tiny_task, "--name", "sent", "--budget", "9", "--executor", "inline", "--confirm", "0")
    sent = run("submit", *asked)
    assert sent.code == 0, sent.err
    assert sent.out.startswith("s-") and "autopeft watch sent" in sent.err
    (listed,) = [one for one in run("list", "--json").json if one["name"] == "sent"]
    assert listed["id"] == sent.out.strip() and listed["state"] == "queued"
    assert listed["spec"]["task"]["name"].startswith("upload:u-")
    assert run("submit", *asked).code == 4
    assert "cancelled" in run("cancel", "sent").err
    watched = run("watch", "sent")
    assert watched.code == 1 and watched.err.endswith("cancelled\n")
    resumed = run("resume", "sent", "--budget", "+3", "--json")
    assert resumed.code == 0 and resumed.json["spec"]["budget"] == "12" and resumed.json["state"] == "queued"


def test_everything_wrong_with_a_request_is_told_at_once(run, there):
    outcome = run("submit", "--budget", "soon", "--sampler", "tpee", "--name", " x ")
    assert outcome.code == 2 and outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "did you mean tpe" in outcome.err


def test_a_file_that_is_not_there_and_a_folder_are_refused_before_anything_is_sent(run, there, tmp_path):
    assert "no such file" in run("submit", "--task", tmp_path / "none.csv").err
    refused = run("submit", "--task", tmp_path)
    assert refused.code == 2 and "a folder; a service takes one file" in refused.err


def test_submitted_without_a_service_a_search_waits_for_a_controller(run, home, job):
    sent = run("submit", job, "--json")
    assert sent.code == 0 and sent.json["state"] == "queued"
    record = Store(f"sqlite:///{home / 'autopeft.db'}").get("mine")
    assert record.served and record.submitter == "local" and record.id == sent.json["id"]
    assert "autopeft watch mine" in sent.err
    assert run("submit", job).code == 4


@pytest.mark.slow
def test_a_controller_works_on_what_was_submitted_and_watching_ends_with_it(run, home, job):
    assert run("submit", job).code == 0
    watched = {}
    # Watching from another thread would print into this one's capture: the controller is what runs beside.
    controller = threading.Thread(target=lambda: watched.update(code=_work(home)))
    controller.start()
    outcome = run("watch", "mine")
    controller.join()
    assert outcome.code == 0 and "trials 10/10" in outcome.err and outcome.err.endswith("done\n")


def _work(home):
    from autopeft.dispatcher import Dispatcher  # noqa: PLC0415 - torch comes with it

    time.sleep(0.5)
    url = f"sqlite:///{home / 'autopeft.db'}"
    Dispatcher(Store(url), Settings(home, url, None)).run(until_idle=True)
    return 0


@pytest.mark.parametrize("command", ["list", "show x", "front x", "watch x", "cancel x", "resume x", "submit"])
def test_a_service_that_is_not_there_is_one_line_and_its_own_exit_code(run, home, monkeypatch, command):
    monkeypatch.setenv("AUTOPEFT_URL", "http://127.0.0.1:1")
    outcome = run(*command.split())
    assert outcome.code == 6 and outcome.out == ""
    assert outcome.err.splitlines()[-1].startswith("error: the service at http://127.0.0.1:1 does not answer: ")
