"""Which items are on sale at a time, and until when."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommenders.events.sale_periods import ALWAYS, SalePeriods

BOUND = st.one_of(st.integers(-5, 5), st.sampled_from([ALWAYS.min, ALWAYS.max]))


@given(st.lists(st.tuples(BOUND, BOUND), max_size=6), st.integers(-7, 7))
def test_an_item_is_on_sale_from_its_begin_until_before_its_end(dates: list[tuple[int, int]], time: int) -> None:
    periods = SalePeriods(*np.array(dates, dtype=np.int64).reshape(-1, 2).T)
    items, since, until = periods.at(time)
    assert items.tolist() == [begin <= time < end for begin, end in dates]
    assert since <= time < until
    for other in range(-7, 8):
        if since <= other < until:
            assert periods.at(other).items.tolist() == items.tolist()
