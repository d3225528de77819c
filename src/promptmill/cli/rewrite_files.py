"""`promptmill rewrite init`, `import` and `export`: files in, files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptmill.cli.screen import out, show_rows
from promptmill.crafts.rewrite.init import init_folder
from promptmill.crafts.rewrite.original.exporting import export_original
from promptmill.crafts.rewrite.original.importing import import_original
from promptmill.crafts.rewrite.original.prose import export_prose
from promptmill.errors import InputError
from promptmill.vary.wording import load_wording

LAYOUTS = ("prose", "original")


def init_command(to: Path) -> None:
    for path in init_folder(to, load_wording()):
        out.print(str(path), markup=False, soft_wrap=True)
    out.print(f"next: edit them, then promptmill rewrite run --setup {to} --intent TEXT", markup=False, soft_wrap=True)


def import_command(folder: Path, to: Path, validators: str | None, json_: bool) -> None:
    names = tuple(name.strip() for name in (validators or "").split(",") if name.strip())
    found = import_original(folder, to, validators=names)
    if json_:
        print(json.dumps(found, ensure_ascii=False))
        return
    show_rows([*((name, f"{count:,} rows") for name, count in found["rows"].items()),
               *((one["file"], one["problem"]) for one in found["problems"])])  # fmt: skip
    out.print(f"next: promptmill panel report {to}", markup=False, soft_wrap=True)


def export_command(run: Path, to: Path, layout: str, json_: bool) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"--layout {layout}: must be one of {', '.join(LAYOUTS)}")
    counts = export_original(run, to) if layout == "original" else export_prose(run, to, *_tested(run))
    if json_:
        print(json.dumps(counts, ensure_ascii=False))
        return
    show_rows([*((name, f"{count:,}") for name, count in counts.items()), ("folder", to)])


def _tested(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a run's test, and its comparisons; none where it has not been tested."""
    try:
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [], []
    except ValueError:
        raise InputError(f"{run}/report.json: cannot be read; run the same command again") from None
    rows = report.get("test", {}).get("rows", [])
    compared = [
        {"base_id": row["base_id"], "validator": "panel", "order": "both", "p_rewrite": row["preferred"]}
        for row in rows
        if row["preferred"] is not None
    ]
    return rows, compared
