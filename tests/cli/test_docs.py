"""docs/cli.md and the command line say the same."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from autopeft import doctor
from autopeft.documents import parse
from autopeft.messages import SearchSpec
from tests.cli.conftest import APP, all_commands

TEXT = Path(__file__).parents[2].joinpath("docs", "cli.md").read_text(encoding="utf-8")
COMMANDS = all_commands()
SECTIONS = dict(zip(*[iter(re.split(r"^## ([a-z ]+)$", TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True))


def long_options(command: Any) -> set[str]:
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")} - {"--help"}


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for named, block in found if named == language]


def test_every_command_has_a_section_in_the_order_of_the_help():
    assert list(SECTIONS) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_every_documented_option_is_there(name):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", SECTIONS[name]))
    others = set().union(*map(long_options, COMMANDS.values()))
    assert long_options(COMMANDS[name]) <= named
    assert named <= others
    if name == "search":
        assert named == long_options(COMMANDS[name])


def test_options_of_the_application_itself_are_documented():
    beginning = TEXT.split("\n## ")[0]
    assert all(f"`{option}`" in beginning for option in long_options(APP))


def examples() -> list[str]:
    lines = [line for block in blocks(TEXT, "") for line in block.splitlines()]
    return [line[line.index("autopeft ") :] for line in lines]


def command_of(words: list[str]) -> str:
    return next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)


@pytest.mark.parametrize("line", examples())
def test_examples_use_what_there_is(line):
    words = [word for word in shlex.split(line)[1:] if word != "--debug"]
    if words == ["--version"]:
        return
    assert {word for word in words if word.startswith("--")} <= long_options(COMMANDS[command_of(words)])


def test_every_command_has_an_example():
    lines = [line.removeprefix("autopeft ").removeprefix("--debug ").split() for line in examples()]
    assert {command_of(words) for words in lines if words != ["--version"]} >= set(COMMANDS)


def test_defaults_of_search_are_those_documented():
    rows = re.findall(r"^\| `(--[a-z-]+)`.*?\| ([^|]*) \| [^|]* \|$", SECTIONS["search"], re.MULTILINE)
    documented = {option: default.strip("` ") for option, default in rows}
    for parameter in COMMANDS["search"].params:
        default = getattr(parameter, "show_default", None)
        if isinstance(default, str) and parameter.name != "baselines":
            assert documented[parameter.opts[0]] == default, parameter.opts


def test_request_file_has_every_key():
    (block,) = blocks(SECTIONS["search"], "yaml")
    document = yaml.safe_load(block)
    spec = parse(SearchSpec, {**document, "budget": str(document["budget"])}, "docs/cli.md")
    defaults = SearchSpec().model_dump()
    assert document.keys() == defaults.keys()
    for part in ("task", "training", "gates", "proxy", "full"):
        assert document[part].keys() == defaults[part].keys()
    own = {"name": "reviews", "max_params": "2%", "task": spec.task}
    assert spec == SearchSpec(**own), "values other than these are the defaults"


ARGUMENTS = {"show": ["mine"], "front": ["mine"], "spaces show": ["layerwise"], "spaces sample": ["autopeft"]}


@pytest.mark.parametrize(
    "name",
    ["list", "show", "front", "modules", "samplers", "spaces", "spaces show", "spaces sample", "tasks", "doctor"],
)
def test_json_has_the_documented_keys(run, finished, monkeypatch, name):
    monkeypatch.setattr(doctor, "_RAY", "pass")
    (block,) = blocks(SECTIONS[name], "json")
    _compare(json.loads(block), run(*name.split(), *ARGUMENTS.get(name, []), "--json").json, name)


def _compare(documented: Any, real: Any, where: str) -> None:
    # What is empty in the document, or a mapping from free names, is explained elsewhere.
    if isinstance(documented, list) and documented:
        assert real, where
        if isinstance(documented[0], dict):
            _compare(documented[0], real[-1], f"{where}[]")
    elif (
        isinstance(documented, dict)
        and documented
        and not where.endswith((".versions", ".architecture", ".dimensions[]"))
    ):
        assert documented.keys() == real.keys(), where
        for key, value in documented.items():
            _compare(value, real[key], f"{where}.{key}")


def test_exit_codes_are_documented():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert codes == {0, 1, 2, 3, 4, 5, 6, 7, 130}
