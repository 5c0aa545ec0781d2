import base64

import numpy as np
import pytest

from legato.deployments.openai.embedding_answer import as_base64, normalized, similarity


def test_a_vector_keeps_its_direction_and_has_length_one() -> None:
    assert normalized(np.array([3, 4], np.float32)).tolist() == pytest.approx([0.6, 0.8])
    nothing = np.zeros(2, np.float32)
    assert normalized(nothing).tolist() == [0, 0]


def test_similarity_is_the_cosine() -> None:
    one, other = np.array([2, 0], np.float32), np.array([3, 3], np.float32)
    assert similarity(one, other) == pytest.approx(2**-0.5)
    assert similarity(one, -one) == pytest.approx(-1)


def test_base64_is_of_little_endian_floats() -> None:
    text = as_base64(np.array([1, -2.5], np.float32))
    assert base64.b64decode(text) == b"\x00\x00\x80\x3f\x00\x00\x20\xc0"
