"""A network cable between this machine and a network namespace, whose faults a test may choose.

    here: TUN device <--- file ---  Cable's thread  --- file ---> TUN device: there (a namespace)
                                      drops, delays, paces

The kernel's own emulator (netem) is missing in many kernels. Two machines at the ends of a cut
cable hear nothing, not even that the cable is cut; so it is here.
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

# From linux/if_tun.h.
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
MTU = 9000  # bytes
MAX_QUEUE_S = 0.5  # what a paced cable would send later than that is dropped, as in a full switch


@dataclass(frozen=True, slots=True)
class Quality:
    """How the cable treats packets, in each direction."""

    is_cut: bool = False
    delay_s: float = 0.0
    lost_every: int | None = None  # each n-th packet is lost
    bytes_per_s: float = float("inf")


GOOD = Quality()
CUT = Quality(is_cut=True)


class Cable:
    """Two addresses that reach each other, one here and one in a namespace."""

    def __init__(self, namespace: str, here: str, there: str) -> None:
        """Needs root. `here` and `there` are IPv4 addresses of one /30 net."""
        self.quality = GOOD
        names = [f"{namespace}-{side}" for side in ("a", "b")]
        self._files = [_open_tun(name) for name in names]
        ip("link", "set", names[1], "netns", namespace)
        for name, address, where in zip(names, (here, there), ((), ("-n", namespace)), strict=True):
            ip(*where, "addr", "add", f"{address}/30", "dev", name)
            ip(*where, "link", "set", name, "up", "mtu", str(MTU))
        self._is_closed = False
        self._thread = threading.Thread(target=self._carry, name="cable", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Both devices vanish."""
        self._is_closed = True
        self._thread.join()
        for file in self._files:
            os.close(file)

    def _carry(self) -> None:
        other_end = dict(zip(self._files, reversed(self._files), strict=True))
        free_at = dict.fromkeys(self._files, 0.0)  # when the end has sent what it was given
        under_way: list[tuple[float, int, int, bytes]] = []  # due at, number, to, packet
        num_packets = 0
        while not self._is_closed:
            due_s = under_way[0][0] - time.monotonic() if under_way else 0.1
            ready, _, _ = select.select(self._files, [], [], min(max(due_s, 0), 0.1))
            now, quality = time.monotonic(), self.quality
            for file in ready:
                packet = os.read(file, 1 << 16)
                num_packets += 1
                is_lost = quality.lost_every is not None and num_packets % quality.lost_every == 0
                starts_at = max(free_at[file], now)
                if quality.is_cut or is_lost or starts_at > now + MAX_QUEUE_S:
                    continue
                free_at[file] = starts_at + len(packet) / quality.bytes_per_s
                due = free_at[file] + quality.delay_s
                heapq.heappush(under_way, (due, num_packets, other_end[file], packet))
            while under_way and under_way[0][0] <= now:
                _, _, to, packet = heapq.heappop(under_way)
                if not quality.is_cut:
                    os.write(to, packet)


def _open_tun(name: str) -> int:
    """A file that reads what the device is given to send; the device lives as long as it."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return file


def ip(*words: str) -> None:
    """Runs the command `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
