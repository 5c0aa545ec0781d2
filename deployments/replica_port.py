"""Keeps the port that Serve opens in every replica off the other interfaces.

A replica has a gRPC server for calls between deployments. Serve binds it to all interfaces, asks
callers for nothing and unpickles what they send, and there is no setting for its address. It is
bound after the deployment's constructor has run, so the constructor can say where.
"""

import logging
from typing import Any

import ray.util
from ray.serve._private import replica

_EVERY_INTERFACE = "[::]:"
logger = logging.getLogger(__name__)


def bind_to_node_address() -> None:
    """To be called in a replica's constructor; the address is the one that Ray has for the node."""
    module: Any = replica  # what it imports is not part of its interface
    bind = getattr(module, "add_port_to_grpc_server", None)
    if bind is None:
        logger.warning("this version of Ray Serve opens its replicas' ports to all interfaces")
        return
    host = ray.util.get_node_ip_address()

    def bind_to_node(server: Any, address: str) -> int:
        port: int = bind(server, address.replace(_EVERY_INTERFACE, f"{host}:"))
        return port

    module.add_port_to_grpc_server = bind_to_node
