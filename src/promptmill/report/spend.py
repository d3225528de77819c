"""What a run has cost, from the entries that every report has (`Ledger.summary`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptmill.report.blocks import Block, Cell, Facts


def spend(report: Mapping[str, Any]) -> list[Block]:
    """Nothing where the report tells nothing."""
    rows: list[tuple[str, Cell]] = [(f"{role} calls", count) for role, count in (report.get("calls") or {}).items()]
    tokens, paid = report.get("tokens") or {}, report.get("paid") or {}
    rows += [(f"{kind} tokens", tokens[kind]) for kind in ("prompt", "completion") if kind in tokens]
    if report.get("cost"):
        rows.append(("cost", f"${report['cost']:.4f}"))
    if paid and paid.get("calls") != sum((report.get("calls") or {}).values()):
        rows.append(("calls paid in all", paid.get("calls")))
    rows += [(f"failed: {kind}", count) for kind, count in (report.get("failures") or {}).items()]
    return [Facts(rows, title="Spend")] if rows else []
