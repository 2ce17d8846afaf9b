import subprocess
import sys

import pytest

from autopeft.errors import InvalidInput
from autopeft.modules import MODULE_TYPES, ModuleType
from autopeft.registry import Registry

NAMES_IN_A_FRESH_PROCESS = """
import sys
from autopeft.registry import Registry

registry = Registry("autopeft.modules", "MODULE_TYPE", "module type")
print(" ".join(registry.names))
print(" ".join(name for name in sys.modules if name.startswith(("torch", "transformers", "autopeft.modules"))))
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A registry over a package of two toys, one of which cannot be imported."""
    package = tmp_path / "toybox"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("TOYS = 'all of them; a TOY is one'")
    (package / "spinning_top.py").write_text("TOY = 'hums'")
    (package / "broken.py").write_text("raise RuntimeError('imported')\nTOY = 'never'")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry("toybox", "TOY", "toy")
    for name in [name for name in sys.modules if name.partition(".")[0] == "toybox"]:
        del sys.modules[name]


def test_names_are_listed_without_importing_any_implementation():
    result = subprocess.run(
        [sys.executable, "-c", NAMES_IN_A_FRESH_PROCESS], capture_output=True, text=True, check=True
    )
    names, imported = result.stdout.split("\n")[:2]
    assert "lora" in names.split() and "base" not in names.split()
    assert imported == ""


def test_names_are_the_stems_of_the_files_that_define_the_attribute(toys):
    assert toys.names == ("broken", "spinning_top")


def test_get_imports_only_what_was_asked_for(toys):
    assert toys.get("spinning_top") == "hums"
    assert "toybox.broken" not in sys.modules


def test_an_implementation_that_fails_to_import_is_not_reported_as_unknown(toys):
    with pytest.raises(RuntimeError, match="imported"):
        toys.get("broken")


def test_an_unknown_name_gives_the_nearest_and_all_known(toys):
    with pytest.raises(InvalidInput, match=r"toy = 'spining_top': .*did you mean spinning_top\?.*known: broken") as e:
        toys.get("spining_top")
    assert e.value.problems[0].field == "toy"


@pytest.mark.parametrize("name", ["base", "__init__", "spinning_top.x", ""])
def test_what_is_no_implementation_is_unknown(toys, name):
    with pytest.raises(InvalidInput):
        toys.get(name)


def test_a_package_that_does_not_exist_has_no_names():
    assert Registry("no_such_package_at_all", "X", "x").names == ()


def test_every_module_type_keeps_the_contract():
    types = MODULE_TYPES.all()
    assert list(types) == sorted(types)
    for name, module_type in types.items():
        assert isinstance(module_type, ModuleType), name
        assert module_type.kinds and module_type.summary and module_type.source, name
