"""The image: built of files that there are, of pinned versions, and run by nobody special."""

import re
import tomllib

from tests.deploy.files import ROOT, pinned, read_yaml

TEXT = ROOT.joinpath("workers", "Dockerfile").read_text()
LINES = re.sub(r"\\\n", " ", TEXT).splitlines()


def instructions(name):
    return [line.split(maxsplit=1)[1] for line in LINES if line.startswith(f"{name} ")]


def copied():
    return [source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]]


def test_what_is_copied_is_there_and_reaches_the_builder():
    sent = {line[1:] for line in ROOT.joinpath(".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in copied():
        assert ROOT.joinpath(source).exists() and source.split("/")[0] in sent, source


def test_every_package_of_the_wheel_is_copied():
    (line,) = re.findall(r"^include = \[(.*)\]$", ROOT.joinpath("pyproject.toml").read_text(), re.MULTILINE)
    assert {name.strip('" *') for name in line.split(",")} <= set(copied())


def test_base_image_and_torch_have_versions_that_fit_the_constraints():
    (python, *_) = re.findall(r"^ARG PYTHON=python:(\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"3\.11\.\d+-slim-\w+", python)
    assert f"torch=={pinned()['torch']}" in TEXT


def test_everything_is_installed_under_constraints():
    for line in instructions("RUN"):
        if "pip install" in line:
            assert "--constraint constraints.txt" in line


def test_the_images_own_constraints_do_not_contradict_the_others():
    both = pinned().keys() & pinned("workers/constraints.txt").keys()
    assert all(pinned()[name] == pinned("workers/constraints.txt")[name] for name in both)


def test_it_runs_as_an_ordinary_user_and_holds_no_secret():
    stages = TEXT.split("\nFROM ")
    assert re.search(r"^USER autopeft$", stages[-1], re.MULTILINE)
    assert "USER root" not in TEXT
    assert not re.search(r"(PASSWORD|TOKEN|SECRET)", TEXT)


def test_versions_are_the_same_in_every_file():
    image = read_yaml("docker-compose.yml")["services"]["service"]["image"]
    assert f"image: {image}" in ROOT.joinpath("workers", "kuberay.yaml").read_text()
    assert f"image: {image}" in ROOT.joinpath("workers", "kubernetes.yaml").read_text()
    assert f"image: {image}" in ROOT.joinpath("workers", "ray-cluster.yaml").read_text()
    assert read_yaml("workers/kuberay.yaml")["spec"]["rayVersion"] == pinned()["ray"]


def test_files_that_are_not_python_are_declared_to_be_in_the_wheel():
    declared = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package, read in (("autopeft", "."), ("search_spaces", "."), ("dashboards", "static")):
        packed = {path for pattern in declared.get(package, []) for path in ROOT.joinpath(package).glob(pattern)}
        for path in ROOT.joinpath(package, read).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                assert path in packed, f"{path.relative_to(ROOT)} would be missing from the image"
