"""Uploading a trained model: what a server that speaks the hub's protocol gets, and what is told when it does not."""

import base64
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from autopeft.architecture import Architecture, Placement
from autopeft.errors import AutopeftError, InvalidInput, NotFound, ServiceUnreachable
from autopeft.messages import TaskSpec
from autopeft.retrain import retrain
from autopeft.upload import push
from tests.search.conftest import make_model, make_task

TOKEN = "hf_fortests"


class Hub:
    """What a fake of the hub has been asked for, and how it answers.

    Attributes:
        created: bodies of the requests to create a repository.
        files: content by path, of all commits.
        tokens: of the requests.
        status: with which it answers everything.
    """

    def __init__(self):
        self.created, self.files, self.tokens, self.status = [], {}, set(), 200

    def answer(self, path, body):
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return {"url": f"{self.address}/{self.created[-1].get('organization', 'me')}/{self.created[-1]['name']}"}
        if path == "/api/validate-yaml":
            return {"warnings": [], "errors": []}
        if path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitUrl": f"{self.address}/me/reviews/commit/1", "commitOid": "1", "pullRequestUrl": None}
        raise AssertionError(path)


@pytest.fixture
def hub(monkeypatch):
    """A fake of the hub on this machine; everything that is sent to the hub goes there."""
    fake = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            fake.tokens.add(self.headers["Authorization"])
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            content = fake.answer(self.path, body) if fake.status == 200 else {"error": "no"}
            self.send_response(fake.status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", fake.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def folder(make_recipe, tmp_path_factory):
    model = make_model(tmp_path_factory.mktemp("model"))
    task = TaskSpec(name=str(make_task(tmp_path_factory.mktemp("task") / "rows.csv")))
    recipe = make_recipe(str(model), task, Architecture((Placement("lora", "attention.query", 0, 2),)))
    return retrain(recipe, [0], tmp_path_factory.mktemp("trained") / "out", merged=True).folder


def test_the_whole_folder_arrives_with_its_card(folder, hub):
    (folder / ".modules.safetensors.x1y2").write_text("what a crash left")
    assert push(folder, "me/reviews") == f"{hub.address}/me/reviews"
    there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del there[".modules.safetensors.x1y2"]
    assert hub.files == there
    assert {"README.md", "recipe.yaml", "modules.safetensors", "merged/model.safetensors"} <= hub.files.keys()
    assert hub.tokens == {f"Bearer {TOKEN}"}


def test_a_repository_is_private_unless_it_is_asked_to_be_public(folder, hub):
    push(folder, "me/reviews")
    push(folder, "me/reviews", private=False)
    assert [(body["name"], body["organization"]) for body in hub.created] == [("reviews", "me")] * 2
    first, second = hub.created
    assert first.get("private", first.get("visibility")) in (True, "private")
    assert second.get("private", second.get("visibility")) in (False, "public")


def test_without_a_token_nothing_is_sent_and_the_remedy_is_told(folder, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="token of the hub: none found; set HF_TOKEN .* or log in with"):
        push(folder, "me/reviews")
    assert not hub.created


def test_what_is_no_trained_model_is_refused_before_the_token_is_looked_for(hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InvalidInput, match="not a trained model: no model.json"):
        push(tmp_path, "me/reviews")
    with pytest.raises(NotFound, match="no folder"):
        push(tmp_path / "nowhere", "me/reviews")


@pytest.mark.parametrize(
    "status, error, message",
    [
        (401, InvalidInput, "token of the hub: the hub does not know it"),
        (403, InvalidInput, "repository = 'me/reviews': this token may not write there"),
        (400, AutopeftError, "the hub refused the upload: "),
    ],
)
def test_a_refusal_of_the_hub_is_told_in_one_line(status, error, message, folder, hub):
    hub.status = status
    with pytest.raises(error, match=message) as caught:
        push(folder, "me/reviews")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == error.exit_code


def test_a_name_that_the_hub_does_not_allow_is_bad_input(folder, hub):
    with pytest.raises(InvalidInput, match="repository = 'me/a b/c': no name of the hub"):
        push(folder, "me/a b/c")


def test_a_hub_that_does_not_answer_is_told_in_one_line(folder, hub, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", nobody)
        with pytest.raises(ServiceUnreachable, match=f"the hub at {nobody} does not answer: ") as caught:
            push(folder, "me/reviews")
    assert caught.value.exit_code == 6 and "\n" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        push(folder, "me/reviews")
