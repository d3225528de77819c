"""What a test of rewriters comes to, in figures and in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from promptmill.crafts.rewrite.measures import continual, gain, win_rate
from promptmill.crafts.rewrite.tested import GOOD, Tested
from promptmill.measure.compare import ALPHA

Row = Mapping[str, Any]


def test_report(
    tested: Sequence[Tested], offered: Tested, learned: Sequence[Sequence[str]], seed: int
) -> dict[str, Any]:
    """tested: of the untrained rewriter, then of each round, all by their first answers that break no rule. offered:
    the last one as it is offered. learned: the domains of each round. The entry `test` of report.json: figures of every
    round and domain, what later rounds have cost earlier domains, and every row of what is offered, with what the
    untrained rewriter's first answer was worth."""
    rounds = [{"round": one.round, **figures(one.rows(), seed)} for one in tested]
    untrained = {row["base_id"]: row for row in tested[0].rows()}
    last = [
        row | {f"untrained_{name}": untrained[row["base_id"]][f"raw_{name}"] for name in ("value", "score")}
        for row in offered.rows()
    ]
    domains = sorted({row["domain"] for row in last})
    by_domain = [
        {"domain": domain, "round": one.round, **figures([row for row in one.rows() if row["domain"] == domain], seed)}
        for one in tested
        for domain in domains
    ]
    found: dict[str, Any] = {
        "offered": figures(last, seed),
        "rounds": rounds,
        "domains": by_domain,
        "rows": last,
        "prompts": len(last),
    }
    one_by_one = [names[0] for names in learned if len(names) == 1]
    if len(one_by_one) == len(learned) and len(set(one_by_one)) > 1:
        gains = [_by_domain(one.rows(), domains) for one in tested]
        if all(domain in one for one in gains for domain in one_by_one):
            found["continual"] = continual(gains[1:], one_by_one, gains[0])
    return found


def figures(rows: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """value: what the test's judges make of the answers before and after, over all prompts, those left alone among
    them; raw: the same for the rewriter's first answer, whatever it is. score: by known tasks. Intervals are over
    clusters of prompts."""
    valued = [row for row in rows if row["base_value"] is not None and row["rewrite_value"] is not None]
    scored = [row for row in rows if row["base_score"] is not None and row["rewrite_score"] is not None]
    raw = [row for row in valued if row["raw_value"] is not None]
    compared = [row for row in rows if row["preferred"] is not None and None not in row["words"]]
    good = [row for row in rows if _own(row) is not None and (_own(row) or 0.0) >= GOOD]
    return {
        "value": _gain(valued, "base_value", "rewrite_value", seed),
        "raw": _gain(raw, "base_value", "raw_value", seed),
        "score": _gain(scored, "base_score", "rewrite_score", seed),
        "wins": win_rate([row["preferred"] for row in compared], [tuple(row["words"]) for row in compared], seed,
                         _clusters(compared)),
        "violations": fmean(row["guard"] is not None for row in rows) if rows else None,
        "left_alone": fmean(row["left_alone"] for row in rows) if rows else None,
        "good_left_alone": fmean(row["left_alone"] for row in good) if good else None, "good": len(good),
    }  # fmt: skip


def verdict(test: Mapping[str, Any], weak: bool, weak_test: bool = False) -> str:
    """One sentence: what is offered has brought that on prompts that were never seen. weak: the panel that taught did
    not pass its gate; weak_test: that of the test did not, which is no matter where there are true scores."""
    last = test["offered"]
    scored = bool(last["score"]["n"])
    told = last["score"] if scored else last["value"]
    what = "the true score" if scored else "the panel's value"
    if told["gain"] is None:
        return "nobody knows whether the rewrites are better: nothing of the test could be judged"
    change = f"{told['before']:.3f} to {told['after']:.3f} ({told['gain']:+.3f}, 95 % interval {told['lo']:+.3f} to " \
             f"{told['hi']:+.3f}, {_prompts(told)})"  # fmt: skip
    under = " under a panel that did not pass its gate" if weak else ""
    if weak_test and not scored:
        under += ", by the word of test judges that did not pass theirs"
    if told["lo"] > 0 and told["p"] < ALPHA:
        return f"better: {what} rises from {change}{under}"
    if told["hi"] < 0 and told["p"] < ALPHA:
        return f"worse: {what} falls from {change}{under}; do not use this rewriter"
    doubt = f", but p = {told['p']:.2g}" if told["lo"] > 0 or told["hi"] < 0 else ""
    return f"no improvement shown: {what} goes from {change}{doubt}{under}"


def _gain(rows: Sequence[Row], before: str, after: str, seed: int) -> dict[str, Any]:
    return gain([row[before] for row in rows], [row[after] for row in rows], seed, _clusters(rows))


def _clusters(rows: Sequence[Row]) -> list[str]:
    return [row["cluster"] for row in rows]


def _prompts(told: Mapping[str, Any]) -> str:
    """How many there were, and how many of these may be counted as independent."""
    inner = f" in {told['clusters']} clusters" if told["clusters"] < told["n"] else ""
    return f"{told['n']} prompts{inner}"


def _own(row: Row) -> float | None:
    """What a prompt is worth as it is."""
    value: float | None = row["base_value"] if row["base_score"] is None else row["base_score"]
    return value


def _by_domain(rows: Sequence[Row], domains: Sequence[str]) -> dict[str, float]:
    """The mean gain in value of each domain's prompts."""
    found = {}
    for domain in domains:
        gains = [
            row["rewrite_value"] - row["base_value"]
            for row in rows
            if row["domain"] == domain and row["base_value"] is not None and row["rewrite_value"] is not None
        ]
        if gains:
            found[domain] = fmean(gains)
    return found
