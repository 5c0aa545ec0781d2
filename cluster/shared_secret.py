"""The secret that every stream between processes of one application presents.

It lies in Ray's own key-value store, where each process reads it as it starts: no configuration,
argument or log line bears it, and it outlives every process. Who can read that store can run code
on the cluster anyway.
"""

import secrets

from ray.experimental import internal_kv

_NAMESPACE = "legato"


def shared_secret(application: str) -> str:
    """The application's; whoever asks first draws it. Blocks for milliseconds."""
    key = f"secret:{application}"
    internal_kv._internal_kv_put(
        key, secrets.token_urlsafe(32), overwrite=False, namespace=_NAMESPACE
    )
    value: bytes = internal_kv._internal_kv_get(key, namespace=_NAMESPACE)
    return value.decode()
