"""``autopeft export`` in other formats than the recipe."""

import pytest


def test_every_format_that_holds_the_winner_with_a_readme(run, finished, tmp_path):
    outcome = run("export", "mine", "--all", tmp_path / "all")
    assert outcome.code == 0, outcome
    listed = set(outcome.out.splitlines())
    assert listed == {str(path) for path in (tmp_path / "all").rglob("*") if path.is_file()}
    assert {str(tmp_path / "all" / name) for name in ("README.md", "script/train.py", "recipe/recipe.yaml")} <= listed
    assert "README.md" in outcome.err


def test_a_lossy_export_is_refused_until_it_is_allowed(run, finished, tmp_path):
    rows = run("front", "mine", "--json").json["baselines"]
    gated = next(row["trial"] for row in rows if row["name"].startswith("UniPELT"))
    arguments = ["export", "mine", "--pick", gated, "--format", "adapters", "--out", tmp_path / "out"]
    refused = run(*arguments)
    assert refused.code == 7 and not (tmp_path / "out").exists()
    assert "gates of lora: adapters takes one for all tokens" in refused.err
    assert "--allow-lossy writes it nevertheless" in refused.err
    allowed = run(*arguments, "--allow-lossy")
    assert allowed.code == 0, allowed
    assert "gates of lora" in (tmp_path / "out" / "adapter_config.json").read_text()


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ([], "out: give --out DIR for one format, or --all DIR for every format"),
        (["--out", "a", "--all", "b"], "out: give --out DIR for one format"),
        (["--all", "b", "--format", "peft"], "format = 'peft': --all writes every format"),
    ],
)
def test_either_one_format_or_all_of_them(options, pattern, run, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run("export", "mine", *options)
    assert outcome.code == 2 and f"error: {pattern}" in outcome.err
    assert list(tmp_path.iterdir()) == []
