"""Captures become plain packets: this module alone knows which program reads a capture file.

`read` runs tshark through pyshark with the dissectors of Ethernet, IP and TCP only, and raw sequence numbers.

Why pyshark's JSON mode: its EK mode breaks with tshark 4.6 and keeps a cache in the home directory, its XML mode takes
13 s for 20,000 full-size packets where JSON takes 4.
"""

from __future__ import annotations

import asyncio
import datetime
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyshark
import pyshark.config
from pyshark.tshark.tshark import TSharkVersionException, get_tshark_version

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

# Kinds a packet's options may have beside the registered ones.
END_OF_OPTIONS = 0
NOP = 1
MALFORMED = -1

# Options of tshark that mean the same in 4.0, 4.2, 4.4 (--only-protocols would be simpler, but 4.0 lacks it).
_TSHARK_OPTIONS = [
    *("-o", "tcp.relative_sequence_numbers:FALSE"),
    *("-o", "tcp.analyze_sequence_numbers:FALSE"),
    *("-o", "tcp.desegment_tcp_streams:FALSE"),
    # Every port's payload is "data": neither HTTP's reassembly nor a guess at the protocol costs time.
    *("-d", "tcp.port==1-65535,data"),
    # A TCP header quoted in an ICMP error is not a segment.
    *("-Y", "tcp && !icmp && !icmpv6"),
    *("-j", "frame ip ipv6 tcp"),
]
_PCAP_MAGICS = {b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a"}

# pyshark obeys a config.ini in the current directory, which may be anybody's; its own beside it says the same.
pyshark.config.fp_config_path = pyshark.config.pyshark_config_path


class CaptureError(Exception):
    """A capture that cannot be read; the text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One TCP segment as a capture file shows it, nothing interpreted."""

    number: int  # of the frame in its file, counted from 1, as Wireshark shows it
    time: float  # seconds since 1970
    vantage: str  # where it was captured, for example "mobile"
    src: str  # IPv4 or IPv6 address in its usual text form
    sport: int
    dst: str
    dport: int
    flags: int  # FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, ...
    seq: int  # raw, 32 bits
    ack: int  # raw, 32 bits; meaningless without ACK
    window: int  # raw, as on the wire: not scaled
    length: int  # of the payload, bytes
    options: tuple[tuple[int, bytes], ...]  # (kind, data without kind and length), NOPs too; MALFORMED: what is left
    file: str = ""  # name of the capture file


def split_options(raw: bytes) -> tuple[tuple[int, bytes], ...]:
    """The options of a TCP header, in order; bytes that are no well-formed option end up in one of kind MALFORMED.

    A capture may hold anything, so unlike an end point this never fails.
    """
    options: list[tuple[int, bytes]] = []
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind in (END_OF_OPTIONS, NOP):
            options.append((kind, b""))
            at += 1
            continue
        size = raw[at + 1] if at + 1 < len(raw) else 0
        if size < 2 or at + size > len(raw):
            options.append((MALFORMED, raw[at:]))
            break
        options.append((kind, raw[at + 2 : at + size]))
        at += size
    return tuple(options)


def read(path: Path | str, vantage: str) -> list[Packet]:
    """Every TCP segment of a pcap or pcapng file, in the file's order.

    Raises CaptureError for a file that is missing, empty, cut short or no capture, and if tshark is missing or fails.
    """
    path = Path(path)
    _look_at(path)
    tshark = shutil.which("tshark")
    if tshark is None:
        raise CaptureError("tshark, which reads the captures, is not installed: install the package tshark.")
    packets: list[Packet] = []
    _run_tshark(path, tshark, lambda raw: packets.append(_packet(raw, vantage, path.name)))
    if not packets:
        raise CaptureError(f"The capture {path} holds no TCP segment.")
    return packets


def _look_at(path: Path) -> None:
    """Say in plain words what tshark (some versions silently) would trip over."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise CaptureError(f"There is no capture {path}.") from None
    except OSError as error:
        raise CaptureError(f"The capture {path} cannot be read: {error.strerror}.") from None
    if not magic:
        raise CaptureError(f"The capture {path} is empty: the capturing program wrote nothing.")
    if magic not in _PCAP_MAGICS:
        raise CaptureError(f"{path} is no capture: it is neither pcap nor pcapng.")


class _Capture(pyshark.FileCapture):  # type: ignore[misc]  # pyshark has no types
    """pyshark's reader, except that it waits for tshark's exit status and keeps everything tshark complains about.

    pyshark kills tshark as soon as its output ends, which often hides the status of one that failed.
    """

    status = 0

    def __init__(self, path: Path, tshark: str, loop: asyncio.AbstractEventLoop) -> None:
        self.complaints: list[str] = []
        super().__init__(
            str(path),
            keep_packets=False,
            use_json=True,
            tshark_path=tshark,
            custom_parameters=_TSHARK_OPTIONS,
            # With a loop of its own, pyshark leaves the thread's loop and child watcher alone.
            eventloop=loop,
        )

    def _get_tshark_version(self) -> Any:
        return _tshark_version(self.tshark_path)

    def _created_new_process(
        self, _parameters: list[str], process: asyncio.subprocess.Process, process_name: str = "TShark"
    ) -> None:
        # Not yet the time to ask for its status: one that has ended so soon has something to say on stderr.
        self._running_processes.add(process)

    async def _handle_process_stderr_forever(self, stderr: asyncio.StreamReader) -> None:
        while line := await stderr.readline():
            self.complaints.append(line.decode(errors="replace").strip())

    async def _cleanup_subprocess(self, process: asyncio.subprocess.Process) -> None:
        if not self._eof_reached and process.returncode is None:
            process.kill()
        self.status = await process.wait()


@lru_cache
def _tshark_version(tshark: str) -> Any:
    # pyshark would ask anew for each capture, and each time tshark starts for it.
    return get_tshark_version(tshark)


def _run_tshark(path: Path, tshark: str, keep: Callable[[Any], None]) -> None:
    loop = asyncio.new_event_loop()
    try:
        capture = _Capture(path, tshark, loop)
        capture.apply_on_packets(keep)
    except (OSError, TSharkVersionException) as error:
        raise CaptureError(f"tshark cannot be run to read {path}: {error}.") from None
    except (ValueError, KeyError) as error:
        raise CaptureError(f"tshark's account of {path} is not understood: {error!r}.") from error
    finally:
        loop.close()
    if capture.status:
        said = " ".join(line for line in capture.complaints if not line.startswith("Running as user"))
        if "cut short" in said:
            raise CaptureError(f"The capture {path} is cut short in the middle of a packet: capture again.")
        raise CaptureError(f"tshark failed on {path} (status {capture.status}): {said or 'it does not say why'}")


def _packet(raw: Any, vantage: str, file: str) -> Packet:
    # The fields as tshark wrote them: pyshark's wrapping of each would double the time of the whole.
    tcp = raw["tcp"]._all_fields
    network = [layer for layer in raw.layers if layer.layer_name in ("ip", "ipv6")][-1]
    version = network.layer_name
    # In a tunnel the innermost header counts.
    addresses = (network.duplicate_layers or [network])[-1]._all_fields
    number = int(raw.number)
    options = bytes.fromhex(tcp.get("tcp.options", "").replace(":", ""))
    if "tcp.urgent_pointer" not in tcp or len(options) != int(tcp["tcp.hdr_len"]) - 20:
        raise CaptureError(
            f"Packet {number} of {file} is malformed or cut inside its TCP header: "
            "capture at least 128 bytes of each packet."
        )
    return Packet(
        number=number,
        time=_seconds(raw.sniff_timestamp),
        vantage=vantage,
        src=addresses[f"{version}.src"],
        sport=int(tcp["tcp.srcport"]),
        dst=addresses[f"{version}.dst"],
        dport=int(tcp["tcp.dstport"]),
        flags=int(tcp["tcp.flags"], 16),
        seq=int(tcp["tcp.seq_raw"]),
        ack=int(tcp["tcp.ack_raw"]),
        window=int(tcp["tcp.window_size_value"]),
        length=int(tcp["tcp.len"]),
        options=split_options(options),
        file=file,
    )


def _seconds(timestamp: str) -> float:
    """Seconds since 1970; tshark before 4.6 writes them so, newer ones as ISO 8601."""
    if "T" not in timestamp:
        return float(timestamp)
    return datetime.datetime.fromisoformat(timestamp).timestamp()
