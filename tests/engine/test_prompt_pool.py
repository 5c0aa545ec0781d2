import numpy as np

from legato.engine.batch import PooledRows
from legato.engine.prompt_pool import PromptPool
from legato.engine.sampling_params import Pooling


def sums(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def test_the_last_token_alone_is_looked_at_once_it_is_computed() -> None:
    pool = PromptPool(5, Pooling.LAST)
    assert pool.rows(0, 4) is None
    assert pool.rows(3, 5) == PooledRows(1, 1)
    assert pool.num_reusable == 5
    pool.take(PooledRows(1, 1), sums(2, 4))
    assert pool.embedding == sums(2, 4)


def test_a_mean_takes_each_token_once_whatever_is_computed_again() -> None:
    pool = PromptPool(5, Pooling.MEAN)
    assert (pool.rows(0, 2), pool.num_reusable) == (PooledRows(0, 2), 0)
    pool.take(PooledRows(0, 2), sums(1, 10))
    assert pool.num_reusable == 2
    assert pool.rows(0, 5) == PooledRows(2, 3)
    pool.take(PooledRows(2, 3), sums(4, 10))
    assert pool.rows(0, 5) is None
    assert pool.embedding == sums(1, 4)
