"""What users ran into: long texts of a group, files that are read and written, ids and copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptmill.crafts.recover.bank import make_bank
from promptmill.crafts.recover.candidates import Drawer
from promptmill.crafts.recover.config import CandidatesConfig, RankConfig
from promptmill.crafts.recover.missing import warnings_of
from promptmill.crafts.recover.predicting import line_of
from promptmill.crafts.recover.rank.known import Known
from promptmill.crafts.recover.ranking import Prediction, Ranker
from promptmill.crafts.recover.shown import shortener
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.tables import PartRow
from promptmill.crafts.recover.traces import Group, Trace, check_place, read_traces
from promptmill.crafts.recover.weights import default_weights
from promptmill.errors import InputError
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.lockstep import Lockstep, behind
from promptmill.vary.wording import load_wording


async def test_texts_are_cut_by_the_models_tokens_also_while_its_calls_go_in_lockstep() -> None:
    model = Model(open_backend(ModelConfig()))
    plain, text = model.backend, "castle " * 900
    cut = shortener(model, 480, 96, 4)(text)
    async with Lockstep() as lockstep:
        model.backend = lockstep.front(plain)
        assert behind(model.backend) is plain
        assert shortener(model, 480, 96, 4)(text) == cut
    assert len(cut.split()) < 300


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("id,rewritten_text\n1,a\n")
    with pytest.raises(InputError, match="is what is read"):
        check_place(path, [None, path])
    with pytest.raises(InputError, match="there is no folder"):
        check_place(tmp_path / "none" / "x.csv")
    check_place(tmp_path / "new.csv", [path])


def test_an_id_that_was_made_of_a_rows_number_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mix.csv"
    path.write_text("id,rewritten_text\n1,some text\n,other text\n")
    with pytest.raises(InputError, match="a row without an id has its number"):
        read_traces(path)


def test_the_bank_gives_no_copy_of_the_text() -> None:
    text = "the old dog ran home again"
    bank = make_bank([Known(text), Known("Make it uppercase.")], Grams())
    drawer = Drawer(Model(open_backend(ModelConfig())), load_wording(), CandidatesConfig(), str, bank=bank)
    rows = drawer._of_bank(Group("g", (Trace("g", text, text.upper()),)))
    assert sorted((row.text, (row.error or "").partition(":")[0]) for row in rows if row.text) == [
        ("Make it uppercase.", "")
    ]
    assert [(row.error or "").partition(":")[0] for row in rows if row.text is None] == ["copied"]


def test_a_group_of_one_row_tells_its_id() -> None:
    group = Group("gg", (Trace("77", None, "some text", group="gg"),))
    told = line_of(group, Prediction("gg", (), 0.0, True, {}))
    assert (told["id"], told["traces"]) == ("gg", ["77"])
    assert "traces" not in line_of(Group("77", (Trace("77", None, "text"),)), Prediction("77", (), 0.0, True, {}))


def test_where_every_answer_is_refused_the_screen_says_why() -> None:
    missing = {"asked": 4, "no_answer": {}, "no_prompt": {"attack": 4}, "groups": 0, "unscored": {},
               "such_as": {"attack": "attack: it holds 'lucrarea'"}}  # fmt: skip
    assert warnings_of(missing) == ["no answer may be a prompt: 4 attack (attack: it holds 'lucrarea')"]
    assert warnings_of({**missing, "no_prompt": {"attack": 3}}) == []


@pytest.mark.parametrize(("gain", "least", "most"), [(-0.76, 0.0, 0.01), (2.0, 0.99, 1.0), (None, 1.0, 1.0)])
def test_a_lone_candidate_is_only_as_sure_as_it_explains_the_text(
    gain: float | None, least: float, most: float
) -> None:
    row = PartRow("g", 0, "Write it.", ["zero_shot"], 1.0, None, gain, -0.5, None, None)
    ranker = Ranker.plain(RankConfig())
    found = ranker.predicted(Group("g", (Trace("g", "a", "b"),)), [row])
    assert least <= found.confidence <= most
    assert default_weights().each["likelihood"] > 0
