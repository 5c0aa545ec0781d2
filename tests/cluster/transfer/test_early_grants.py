import pytest

from legato.cluster.transfer.early_grants import MAX_REMEMBERED, EarlyGrants
from legato.cluster.wire import Abandon, Deny, Grant

TRANSFER = b"t" * 16
OTHER_TRANSFER = b"o" * 16
GRANT = Grant(TRANSFER, b"h" * 16, 0, [1], [1])


def test_an_early_grant_is_found_once_by_its_submit() -> None:
    grants = EarlyGrants(patience_s=5.0)
    grants.hold("decode-0", GRANT, now=0.0)
    assert grants.claim(TRANSFER, "decode-0") == GRANT
    assert grants.claim(TRANSFER, "decode-0") is None
    assert grants.expire(100.0) == ()


def test_a_grant_of_another_worker_is_not_found() -> None:
    grants = EarlyGrants(patience_s=5.0)
    grants.hold("decode-1", GRANT, now=0.0)
    assert grants.claim(TRANSFER, "decode-0") is None
    grants.revoke(TRANSFER, "decode-0")
    assert grants.claim(TRANSFER, "decode-1") == GRANT


def test_a_grant_whose_submit_never_comes_is_abandoned_once() -> None:
    grants = EarlyGrants(patience_s=5.0)
    grants.hold("decode-0", GRANT, now=0.0)
    assert grants.expire(4.9) == ()
    assert grants.expire(5.0) == (("decode-0", Abandon(TRANSFER, GRANT.handle)),)
    assert grants.expire(5.0) == ()


@pytest.mark.parametrize("is_revoke_first", [True, False])
def test_a_revoked_grant_is_never_used(is_revoke_first: bool) -> None:
    grants = EarlyGrants(patience_s=5.0)
    if not is_revoke_first:
        grants.hold("decode-0", GRANT, now=0.0)
    grants.revoke(TRANSFER, "decode-0")
    grants.hold("decode-0", GRANT, now=0.0)
    assert grants.claim(TRANSFER, "decode-0") == Deny(TRANSFER)
    assert grants.expire(100.0) == ()


def test_an_abandoned_grant_is_never_used() -> None:
    grants = EarlyGrants(patience_s=5.0)
    grants.hold("decode-0", GRANT, now=0.0)
    grants.expire(5.0)
    grants.hold("decode-0", GRANT, now=6.0)
    assert grants.claim(TRANSFER, "decode-0") == Deny(TRANSFER)


def test_what_was_given_up_is_remembered_for_a_bounded_number_of_transfers() -> None:
    grants = EarlyGrants(patience_s=5.0)
    for number in range(MAX_REMEMBERED + 1):
        grants.revoke(number.to_bytes(16), "decode-0")
    assert grants.claim((0).to_bytes(16), "decode-0") is None
    assert grants.claim((1).to_bytes(16), "decode-0") is not None


def test_grants_of_a_lost_link_are_forgotten() -> None:
    grants = EarlyGrants(patience_s=5.0)
    grants.hold("decode-0", GRANT, now=0.0)
    grants.revoke(OTHER_TRANSFER, "decode-0")
    grants.link_lost("decode-1")
    grants.link_lost("decode-0")
    assert grants.claim(TRANSFER, "decode-0") is None
    assert grants.claim(OTHER_TRANSFER, "decode-0") is None
