"""The override for further machines in docs/deploy.md: merged as Compose merges, and held to what Compose allows."""

import copy
import json
import re

import pytest
import yaml
from compose_spec import PyCompose
from ray.scripts.scripts import cli as ray_cli

from tests.cli.conftest import APP
from tests.deploy.files import ROOT, read_yaml

RESET = object()
TEXT = ROOT.joinpath("docs", "deploy.md").read_text(encoding="utf-8")
COMPOSE = read_yaml("docker-compose.yml")
CLUSTER = ("ray-head", "ray-worker-cpu", "ray-worker-gpu", "controller")


class Loader(yaml.SafeLoader):
    """Reads YAML with Compose's tag ``!reset``."""


Loader.add_constructor("!reset", lambda *_: RESET)


def override():
    (block,) = re.findall(r"^```yaml\n(services:\n.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return yaml.load(block, Loader)


def merge(below, above):
    """Return what Compose makes of two values at one key."""
    if isinstance(below, dict) and isinstance(above, dict):
        merged = {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
        # Commands are replaced, other lists are added to.
        merged.update({key: above[key] for key in ("command", "test") if key in above})
        return {key: value for key, value in merged.items() if value is not RESET}
    if isinstance(below, list) and isinstance(above, list):
        return list(dict.fromkeys(below + above))
    return copy.deepcopy(above) if above is not RESET else RESET


MERGED = merge(COMPOSE, override())
SERVICES = MERGED["services"]


def test_the_two_files_together_are_what_the_compose_specification_allows():
    PyCompose.from_json(json.dumps(MERGED)).validate()
    assert SERVICES.keys() == COMPOSE["services"].keys()


def test_without_the_resets_they_would_be_refused():
    kept = {"services": {name: {"network_mode": "host"} for name in CLUSTER}}
    with pytest.raises(ValueError, match="network_mode"):
        PyCompose.from_json(json.dumps(merge(COMPOSE, kept)))


@pytest.mark.parametrize("name", CLUSTER)
def test_the_cluster_is_on_the_machines_network_and_nothing_asks_for_a_name_of_the_others(name):
    service = SERVICES[name]
    assert service["network_mode"] == "host" and "networks" not in service
    said = json.dumps([service.get("command"), service.get("healthcheck"), service["environment"]])
    assert "ray-head" not in said and "HEAD_ADDRESS" in said


def test_the_controller_finds_the_database_which_is_published_to_this_machine_alone():
    postgres = SERVICES["postgres"]
    assert postgres["ports"] == ["127.0.0.1:5432:5432"] and SERVICES["controller"]["extra_hosts"] == [
        "postgres:127.0.0.1"
    ]
    assert any(not (MERGED["networks"][name] or {}).get("internal") for name in postgres["networks"])
    assert set(COMPOSE["services"]["postgres"]["networks"]) <= set(postgres["networks"])


def test_commands_are_those_of_the_compose_file_at_another_address():
    for name in CLUSTER[:3]:
        program, command, *arguments = SERVICES[name]["command"]
        known = {"autopeft": APP, "ray": ray_cli}[program].commands[command]
        options = {option for parameter in known.params for option in parameter.opts}
        used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        before = {argument.partition("=")[0] for argument in COMPOSE["services"][name]["command"][2:]}
        assert used <= options
        assert {option for option in before if option.startswith("--")} <= used
