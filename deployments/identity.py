"""The name by which one application's routers and workers find each other.

It is a function of what Serve calls the application and of what its processes must agree upon: an
application that is built again, or whose replicas are replaced one by one, remains one cluster,
while a router never meets a worker that serves another model.
"""

import dataclasses
import hashlib
from importlib.metadata import version
from urllib.parse import quote

from legato.engine.config import CacheOptions, EngineConfig

# Workers whose caches differ in size alone understand each other.
_SIZES = ("gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override")


def cluster_name(application: str, engine: EngineConfig) -> str:
    """For `application`, Serve's name of it. Has no colon: names of actors are split at those."""
    return f"{quote(application, safe='')}-{_fingerprint(engine)}"


def _fingerprint(engine: EngineConfig) -> str:
    """Of the release (workers and routers speak one version of their messages) and the model."""
    cache = dataclasses.replace(
        engine.cache, **{name: getattr(CacheOptions(), name) for name in _SIZES}
    )
    shared = (version("legato-llm"), engine.model, cache, engine.parallel)
    return hashlib.sha256(repr(shared).encode()).hexdigest()[:8]
