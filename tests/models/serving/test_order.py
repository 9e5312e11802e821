"""The ranking rule: best first, ties in row order, NaN refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.serving.order import top_k


@given(scores=st.lists(st.sampled_from([-1.5, 0.0, 0.25, 3.0]), max_size=30), k=st.integers(1, 100))
def test_it_is_a_stable_descending_sort_cut_at_k(scores: list[float], k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: -scores[i])[:k]
    assert top_k(np.array(scores, dtype=np.float32), k).tolist() == expected


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        top_k(np.array([1.0, np.nan]), 1)
