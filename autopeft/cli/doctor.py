"""``autopeft doctor``: what works on this machine."""

from __future__ import annotations

import typer

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """Look at this machine: versions, devices, where data is kept, whether Ray starts."""
    import json

    from autopeft.doctor import examine
    from autopeft.settings import Settings

    findings = []
    for finding in examine(Settings.from_environment()):
        findings.append(finding)
        if not as_json:
            mark = {True: "ok  ", False: "FAIL", None: "    "}[finding.ok]
            print(f"{mark} {finding.what}: {finding.detail}", flush=True)
    if as_json:
        print(json.dumps([{"what": f.what, "ok": f.ok, "detail": f.detail} for f in findings], indent=2))
    if any(f.ok is False and f.what in ("store", "data folder") for f in findings):
        raise typer.Exit(1)
