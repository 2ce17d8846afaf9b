"""docs/exports.md tells of every format, and of the versions that the code was written for."""

from pathlib import Path

import pytest

from autopeft.exporters import EXPORTERS

PAGE = Path(__file__).parents[2].joinpath("docs", "exports.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXPORTERS.names)
def test_every_format_has_a_row_an_example_and_its_version(name):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert EXPORTERS.get(name).tool.partition(",")[0].replace(" and ", ", ") in row
    assert f"\n### {name}\n" in PAGE
