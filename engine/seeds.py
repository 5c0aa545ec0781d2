"""Which seed each of a request's n sequences gets, wherever they run."""

import hashlib


def sequence_seed(seed: int, index: int) -> int:
    """The sampling seed of the sequence `index` of a request with `seed`; the first keeps it.

    The others are spread over 64 bits, so that requests with neighbouring seeds share none.
    """
    if index == 0:
        return seed
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
