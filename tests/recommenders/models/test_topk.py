import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommenders.models.topk import top_k

SCORES = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.sampled_from([-1, 0, 1, 2]))


@given(scores=SCORES, k=st.integers(1, 15))
def test_ties_go_to_the_lower_column_as_in_a_full_sort(scores: np.ndarray, k: int) -> None:
    columns, best = top_k(scores, k)
    width = min(k, scores.shape[1])
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    np.testing.assert_array_equal(columns[:, :width], expected)
    np.testing.assert_array_equal(best[:, :width], np.take_along_axis(scores, expected, axis=1))
    assert (columns[:, width:] == -1).all()
    assert np.isneginf(best[:, width:]).all()
