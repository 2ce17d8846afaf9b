"""``autopeft tasks``: where tasks come from, and how they are scored."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List where tasks can come from, and the metrics."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.tasks import TASK_SOURCES
    from autopeft.tasks.metrics import METRICS

    sources = TASK_SOURCES.all()
    if as_json:
        document = {
            "sources": [{"name": n, "summary": s.summary, "example": s.example} for n, s in sources.items()],
            "metrics": [{"name": n, "kind": m.kind, "summary": m.summary} for n, m in METRICS.items()],
        }
        print(json.dumps(document, indent=2))
        return
    console = Console()
    rows = [(source.example, source.summary) for source in sources.values()]
    print_table("Tasks: autopeft search --task NAME", ("example", "what it is"), rows, console)
    metrics = [(name, metric.kind, metric.summary) for name, metric in METRICS.items()]
    print_table("Metrics: --metric NAME", ("metric", "for", "what it is"), metrics, console)
