"""Train, dev and test by cluster."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from promptmill.vary.splits import Shares, splits_of

domains = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True).map(tuple)


@given(st.dictionaries(st.text("xyz01", min_size=1, max_size=6), domains, min_size=1, max_size=40), st.integers(0, 99))
def test_a_split_is_empty_only_where_there_are_too_few_clusters(homes: dict[str, tuple[str, ...]], seed: int):
    alone = {name: several[:1] for name, several in homes.items()}
    split = splits_of(alone, Shares(0.1, 0.1, seed))
    for domain in {several[0] for several in alone.values()}:
        mine = [split[name] for name, several in alone.items() if domain in several]
        assert set(mine) >= set(("train", "test", "dev")[: len(mine)])
    shared = splits_of(homes, Shares(0.1, 0.1, seed))
    assert shared == splits_of(dict(reversed(homes.items())), Shares(0.1, 0.1, seed))


def test_a_cluster_keeps_its_split_whatever_stands_beside_it():
    homes = {f"c{at}": ("a",) for at in range(400)}
    shares = Shares(0.15, 0.2)
    whole, part = splits_of(homes, shares), splits_of({f"c{at}": ("a",) for at in range(100, 200)}, shares)
    assert all(whole[name] == split == shares.place(name) for name, split in part.items())
    assert 50 < sum(split == "test" for split in whole.values()) < 110
    assert set(splits_of(homes, Shares(0, 0)).values()) == {"train"}


def test_no_more_clusters_are_moved_than_splits_are_empty():
    shares = Shares(0.01, 0.01)
    homes = {name: ("a",) for at in range(999) if shares.place(name := f"c{at}") == "train"}
    moved = [name for name, split in splits_of(homes, shares).items() if split != "train"]
    assert len(moved) == 2
