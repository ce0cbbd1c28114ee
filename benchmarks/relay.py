"""A long and lossy way in user space: between two TUN devices, every packet waits for its turn and its time, and some
are lost. Run as `python -m benchmarks.relay WAY`, WAY being JSON; it writes `ready` and runs until it is ended.

Kernels without netem can do it too; it needs the right to make TUN devices.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import selectors
import struct
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

#: Of linux/if_tun.h: the request that names a device, and its flags: packets of IP, with nothing before them.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
#: Larger than any packet of a device with the usual MTU of 1500.
PACKET_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Way:
    """Two devices by name, and what lies between them: seconds one way, the share of packets lost, bits a second, and
    how many bytes wait for their turn before a packet is dropped (netem has 1,000 packets)."""

    devices: tuple[str, str]
    delay: float = 0.020
    loss: float = 0.01
    bits_a_second: int = 200_000_000
    waiting: int = 1_500_000

    def text(self) -> str:
        """As JSON, for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Way:
        """Back from `text()`."""
        read = json.loads(text)
        return cls(**{**read, "devices": tuple(read["devices"])})


@dataclass(slots=True)
class Line:
    """One direction. `free_at`: when the last packet will have gone out; `under_way`: (when it arrives, packet)."""

    way: Way
    dice: random.Random
    free_at: float = 0.0
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, packet: bytes, now: float) -> None:
        """Let a packet go, or lose it. Packets never overtake each other."""
        seconds = len(packet) * 8 / self.way.bits_a_second
        is_full = (self.free_at - now) * self.way.bits_a_second > self.way.waiting * 8
        if is_full or self.dice.random() < self.way.loss:
            return
        self.free_at = max(now, self.free_at) + seconds
        self.under_way.append((self.free_at + self.way.delay, packet))

    def arrived(self, now: float) -> list[bytes]:
        """The packets that have arrived by now, in order; each is told once."""
        packets = []
        while self.under_way and self.under_way[0][0] <= now:
            packets.append(self.under_way.popleft()[1])
        return packets

    def next_arrival(self) -> float | None:
        """When the next packet arrives; None where none is under way."""
        return self.under_way[0][0] if self.under_way else None


def open_device(name: str) -> int:
    """Make a TUN device of that name; it goes with the descriptor. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), IFF_TUN | IFF_NO_PI))
    return descriptor


def relay(way: Way) -> None:
    """Carry packets both ways until the process is ended."""
    ends = [open_device(name) for name in way.devices]
    lines = {
        ends[0]: (Line(way, random.Random(1)), ends[1]),
        ends[1]: (Line(way, random.Random(2)), ends[0]),
    }
    selector = selectors.DefaultSelector()
    for end in ends:
        selector.register(end, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        arrivals = [at for line, _ in lines.values() if (at := line.next_arrival()) is not None]
        ready = selector.select(max(0.0, min(arrivals) - time.monotonic()) if arrivals else None)
        for key, _ in ready:
            _take_all(key.fd, lines[key.fd][0])
        now = time.monotonic()
        for line, end in lines.values():
            for packet in line.arrived(now):
                _put(end, packet)


def _take_all(end: int, line: Line) -> None:
    """Take what waits at one end. A device that is not up yet has nothing."""
    for _ in range(256):
        try:
            line.take(os.read(end, PACKET_BYTES), time.monotonic())
        except OSError:
            return


def _put(end: int, packet: bytes) -> None:
    """A device that takes no more loses the packet, as any would."""
    try:
        os.write(end, packet)
    except OSError:
        return


if __name__ == "__main__":
    relay(Way.of(sys.argv[1]))
