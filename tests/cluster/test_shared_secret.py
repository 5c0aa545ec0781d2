"""The secret that Ray keeps for an application."""

import ray

from legato.cluster.shared_secret import shared_secret


def test_all_processes_of_an_application_get_the_same_and_no_other_application_does(
    local_ray: None,
) -> None:
    elsewhere = ray.remote(num_cpus=0)(shared_secret)
    ours, theirs = shared_secret("ours"), shared_secret("theirs")
    assert ray.get([elsewhere.remote("ours"), elsewhere.remote("theirs")]) == [ours, theirs]
    assert ours != theirs
    assert len(ours) >= 32
