"""``autopeft show``: one search, with every trial."""

from __future__ import annotations

from autopeft.cli.options import AsJson, SearchName


def command(search: SearchName, as_json: AsJson = False) -> None:
    """Show what a search was asked for, how far it is, and its trials."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.search import Search

    loaded = Search.load(search)
    record, trials = loaded.record, loaded.trials
    if as_json:
        document = {
            "id": record.id,
            "name": record.name,
            "state": record.state,
            "detail": record.detail,
            "seconds": round(record.seconds, 1),
            "spec": record.spec.model_dump(mode="json"),
            "facts": record.facts,
            "trials": [trial.to_dict() for trial in trials],
        }
        print(json.dumps(document, indent=2))
        return
    console = Console()
    spec, rows = record.spec, record.facts["rows"]
    lines = (
        f"{record.name} ({record.id}): {record.state} {record.detail}".rstrip(),
        f"model {spec.model}, {record.facts['base_parameters']:,} parameters",
        f"task {spec.task.name}, {record.facts['kind']} by {record.facts['metric']}",
        f"rows: {', '.join(f'{name} {count}' for name, count in rows.items())}",
        f"space {spec.space}, sampler {spec.sampler}, budget {spec.budget}, {record.seconds:.0f} s spent",
    )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    table = [
        (
            trial.number,
            trial.state,
            f"{trial.params:,}",
            "" if trial.score is None else f"{trial.score:.4f}",
            f"{trial.seconds:.1f}",
            trial.name or trial.architecture.summary(),
            ": ".join(part for part in (trial.reason, trial.detail) if part),
        )
        for trial in trials
    ]
    headings = ("trial", "state", "params", "score", "seconds", "architecture", "reason")
    print_table("Trials (proxy scores on held-out rows)", headings, table, console, whole=headings[:5])
