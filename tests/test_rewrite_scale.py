"""What a rewrite keeps of each of very many answers; benchmarks/rewrite_scale.py measures the whole."""

from __future__ import annotations

import json
from array import array
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rewrite_scale import A_BASE, work
from promptmill.model.keys import KeySet
from promptmill.store.manifest import manifest
from promptmill.store.stage import digest
from tests.rewriting import panel_of, values_of


@given(st.lists(st.text(max_size=3), max_size=600), st.lists(st.text(max_size=3)))
def test_a_set_of_keys_is_a_set(keys, others):
    found = KeySet(keys)
    assert len(found) == len(set(keys))
    assert all(key in found for key in keys)
    assert not any(key in found for key in set(others) - set(keys))


def test_a_key_takes_no_more_than_24_bytes():
    found = KeySet(f"{at:040x}" for at in range(20_000))
    assert len(found._slots) * 8 <= 25 * len(found)


def test_an_answer_takes_no_more_than_a_few_numbers():
    names = ("a", "b", "c")
    values = values_of(panel_of(*names), {0: [dict.fromkeys(names, 0.5)] * 200})
    assert isinstance(values.packed["b"][0], array)
    assert len(values.packed["b"][0]) == 200 * (2 + len(names))


@given(
    st.recursive(
        st.integers() | st.text(max_size=3) | st.none() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    )
)
def test_a_digest_of_an_iterator_is_that_of_its_list(value):  # fmt: skip
    rows = [value, [value], 1]
    whole = sha256(json.dumps(("x", rows, {"a": 1}), sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]
    assert digest("x", iter(rows), {"a": 1}) == digest("x", rows, {"a": 1}) == whole


async def test_every_row_is_answered_and_judged(tmp_path):
    found = await work(tmp_path / "run", 20 * A_BASE, 2)
    assert set(found) == {"answer_rows_per_s", "judge_rows_per_s", "peak_mb"}
    stages = manifest(tmp_path / "run")["stages"]
    rows = {name.rpartition("-")[0]: sum(one["rows"] for one in shards) for name, shards in stages.items()}
    assert rows["outputs-variations"] == 20 * A_BASE
    assert rows["scores-variations"] == 2 * 20 * A_BASE
