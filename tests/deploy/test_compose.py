"""docker-compose.yml: what the Compose specification allows, and what it must say beyond that."""

import json
import re
from pathlib import Path

import pytest
from compose_spec import PyCompose
from ray.scripts.scripts import cli as ray_cli

from autopeft.service.app import UPLOAD_LIMIT
from tests.cli.conftest import APP
from tests.deploy.files import ROOT, read_yaml

COMPOSE = read_yaml("docker-compose.yml")
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("autopeft:")]
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY|URL")


def test_the_file_is_what_the_compose_specification_allows():
    compose = PyCompose.from_json(json.dumps(COMPOSE))
    compose.validate()
    assert set(compose.service_names()) == {
        *("postgres", "ray-head", "ray-worker-cpu", "ray-worker-gpu", "controller", "service")
    }


def test_what_the_specification_does_not_have_would_be_found():
    wrong = {"services": {"service": {**SERVICES["service"], "helthcheck": {}}}}
    with pytest.raises(ValueError, match="helthcheck"):
        PyCompose.from_json(json.dumps(wrong))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_checked_or_waits_for_one_that_is(name):
    service = SERVICES[name]
    waited = service.get("depends_on", {})
    assert "healthcheck" in service or waited
    for other, when in waited.items():
        assert when["condition"] == "service_healthy" and "healthcheck" in SERVICES[other], other


def test_nothing_is_published_but_the_service_to_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"service": ["127.0.0.1:8000:8000"]}
    assert not any(service.get("network_mode") or service.get("privileged") for service in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_files_and_never_from_the_environment(name):
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        assert not re.search(r"://[^/]*:[^/]*@", value), variable
        if SECRET.search(variable):
            assert variable.endswith(("_FILE", "_PATH")), variable
            assert value.removeprefix("/run/secrets/") in service["secrets"], variable
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


def test_secret_files_reach_neither_git_nor_the_image():
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "/secrets/" in ROOT.joinpath(".gitignore").read_text().splitlines()
    ignored = ROOT.joinpath(".dockerignore").read_text().splitlines()
    assert "*" in ignored and not any(line.startswith("!secrets") for line in ignored)


@pytest.mark.parametrize("kind", ["volumes", "networks", "secrets"])
def test_what_is_named_is_defined_and_what_is_defined_is_used(kind):
    named = {entry.split(":")[0] for service in SERVICES.values() for entry in service.get(kind, [])}
    assert named == set(COMPOSE[kind])


def test_images_have_versions_and_ours_that_of_the_package():
    version = re.search(r'^version = "(.+)"$', ROOT.joinpath("pyproject.toml").read_text(), re.MULTILINE)[1]
    for name, service in SERVICES.items():
        tag = service["image"].partition(":")[2]
        assert re.search(r"\d+\.\d+", tag), name
        assert tag == version or name not in OURS


@pytest.mark.parametrize("name", OURS)
def test_commands_and_their_options_are_there(name):
    program, command, *arguments = SERVICES[name]["command"]
    known = {"autopeft": APP, "ray": ray_cli}[program].commands[command]
    options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert used <= options


@pytest.mark.parametrize("name", OURS)
def test_variables_are_those_that_the_code_reads(name):
    source = "".join(path.read_text() for path in ROOT.joinpath("autopeft").rglob("*.py"))
    for variable in SERVICES[name].get("environment", {}):
        if variable.startswith("AUTOPEFT_"):
            assert variable.removesuffix("_FILE") in source, variable


def test_database_and_cluster_are_kept_apart():
    assert SERVICES["postgres"]["networks"] == ["database"] and COMPOSE["networks"]["database"] == {"internal": True}
    for name, service in SERVICES.items():
        both = {"cluster", "database"} <= set(service["networks"])
        assert both == (name == "controller"), name


def test_controller_and_service_share_their_data():
    data = "autopeft-data:/data"
    assert data in SERVICES["controller"]["volumes"] and data in SERVICES["service"]["volumes"]
    assert "AUTOPEFT_HOME=/data" in ROOT.joinpath("workers", "Dockerfile").read_text()


def test_every_part_of_the_cluster_asks_for_the_token_and_has_shared_memory():
    for name in ("ray-head", "ray-worker-cpu", "ray-worker-gpu", "controller"):
        service = SERVICES[name]
        assert service["environment"]["RAY_AUTH_MODE"] == "token" and "ray_token" in service["secrets"], name
        assert service["shm_size"].endswith("gb"), name


def test_the_workers_differ_in_their_gpus_alone():
    cpu, gpu = SERVICES["ray-worker-cpu"], SERVICES["ray-worker-gpu"]
    assert gpu["profiles"] == ["gpu"] and "profiles" not in cpu
    own = {"profiles", "deploy", "volumes"}
    assert {key: value for key, value in gpu.items() if key not in own} == {
        key: value for key, value in cpu.items() if key not in own
    }


def test_the_documents_proxy_takes_the_largest_upload_and_no_much_larger_one():
    text = Path(ROOT, "docs", "deploy.md").read_text()
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert UPLOAD_LIMIT < int(megabytes) * 2**20 < 1.1 * UPLOAD_LIMIT


def test_the_document_prepares_every_secret():
    text = Path(ROOT, "docs", "deploy.md").read_text()
    assert all(secret["file"].removeprefix("./") in text for secret in COMPOSE["secrets"].values())
