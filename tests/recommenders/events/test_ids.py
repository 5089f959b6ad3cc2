import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommenders.events.ids import IdMap

IDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=20)


@given(IDS)
def test_every_id_is_found_at_its_row(ids: list[str]) -> None:
    known = IdMap.from_ids(ids)
    assert len(known) == len(set(ids))
    assert known.ids[known.rows(ids)].tolist() == ids
    assert [known.row(id_) for id_ in ids] == known.rows(ids).tolist()


@given(IDS, IDS)
def test_an_unknown_id_has_row_minus_one(ids: list[str], others: list[str]) -> None:
    known = IdMap.from_ids(ids)
    expected = [id_ in set(ids) for id_ in others]
    assert (known.rows(others) >= 0).tolist() == expected


def test_an_empty_map_has_no_ids() -> None:
    assert IdMap.from_ids([]).rows(["1", "2"]).tolist() == [-1, -1]
    assert IdMap.from_ids([]).rows(np.array([], dtype=np.str_)).tolist() == []


@given(IDS, st.data())
def test_an_alias_has_the_row_of_its_id_and_is_saved(ids: list[str], data: st.DataObject) -> None:
    own = sorted(set(ids[::2]))
    others = sorted(set(ids) - set(own))
    pointed = {alias: data.draw(st.sampled_from([*own, "not in the map"])) for alias in others}
    known = IdMap(np.array(own, dtype=np.str_), pointed)
    for each in (known, IdMap.from_arrays({f"items.{k}": v for k, v in known.arrays().items()}, "items.")):
        assert each.rows(own).tolist() == list(range(len(own)))
        for alias, id_ in pointed.items():
            assert each.row(alias) == each.rows([alias]).tolist()[0] == each.row(id_)
    assert set(IdMap.from_ids(ids).arrays()) == {"bytes", "ends"}  # as before there were aliases
