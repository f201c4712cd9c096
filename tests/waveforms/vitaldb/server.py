"""VitalDB's web interface on the loopback, from generated files, with every fault that was seen in the wild."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital

HTML = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"
CASES = {
    1: ("SNUADC/ART", "Vigilance/CO"),
    2: ("SNUADC/ART", "EV1000/CO"),
    3: ("SNUADC/ART",),
    4: ("SNUADC/PLETH", "Vigilance/CO"),
    5: ("SNUADC/ART", "Vigileo/CO", "CardioQ/CO"),
}


def case_bytes(case: int, folder: Path, seconds: float = 20.0) -> bytes:
    """A generated case; the even ones are packed."""
    time_s = np.arange(round(seconds * 125)) / 125.0
    rng = np.random.default_rng(case)
    wave = 90 + 20 * np.sin(2 * np.pi * 1.2 * time_s) + rng.normal(0, 0.5, len(time_s))
    waves = [VitalWave(name, wave, 125.0, "mmHg" if name.endswith("ART") else "") for name in CASES[case][:1]]
    at = np.arange(2.0, seconds, 2.0)
    numbers = [VitalNumbers(name, at, 5 + 0.1 * rng.normal(size=len(at)), "L/min") for name in CASES[case][1:]]
    return write_vital(folder / f"made{case}.vital", waves, numbers, packed=case % 2 == 0).read_bytes()


@dataclass
class Data:
    """What is served, which faults, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    validators: bool = True
    busiest: int = 0
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, path: str) -> str:
        """The next fault of a path; the last one stays."""
        left = self.faults.get(path, [])
        return (left.pop(0) if len(left) > 1 else left[0]) if left else ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    data: Data

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        data = self.data
        with data.lock:
            data.asked[self.path] += 1
            data.agents.add(self.headers.get("User-Agent", ""))
            data.busy += 1
            data.busiest = max(data.busiest, data.busy)
            fault = data.fault(self.path)
        self.close_connection = True
        try:
            self.answer(fault)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with data.lock:
                data.busy -= 1

    def answer(self, fault: str) -> None:
        body = self.data.files.get(self.path)
        if body is None or fault == "404":
            return self.plain(404, b"no such case")
        if fault == "500":
            return self.plain(500, b"broken")
        if fault == "429":
            return self.plain(429, b"slow down", {"Retry-After": "0.05"})
        if fault == "html":
            return self.plain(200, HTML, {"Content-Type": "text/html"})
        if fault == "html, called binary":
            return self.plain(200, HTML)
        if fault == "not gzip":
            return self.plain(200, b"VITA" + bytes(2000))
        if fault == "gzip of nothing":
            return self.plain(200, gzip.compress(b"hello, not vital", 1))
        if fault == "gzip cut, length right":
            return self.plain(200, body[: len(body) // 2])
        if fault == "gzip with a wrong bit":
            return self.plain(200, body[:200] + bytes([body[200] ^ 255]) + body[201:])
        return self.broken(fault, body)

    def broken(self, fault: str, body: bytes) -> None:
        if fault == "silent":
            time.sleep(1.0)
            return None
        if fault == "reset":
            self.head(200, len(body))
            self.wfile.write(body[:1000])
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return None
        if fault == "truncated":
            self.head(200, len(body))
            self.wfile.write(body[: len(body) // 2])
            return None
        if fault == "too short a length":
            self.head(200, len(body) // 2)
            self.wfile.write(body)
            return None
        if fault == "too long a length":
            self.head(200, len(body) + 100)
            self.wfile.write(body)
            return None
        if fault == "slow":
            self.head(200, len(body))
            for k in range(40):
                self.wfile.write(body[k : k + 1])
                self.wfile.flush()
                time.sleep(0.05)
            return None
        if fault == "patient":
            time.sleep(0.1)
        return self.whole(body)

    def whole(self, body: bytes) -> None:
        asked, tag = self.headers.get("Range"), self.tag(body)
        if asked:
            with self.data.lock:
                self.data.ranges.append(asked)
        if asked and self.headers.get("If-Range") == tag and self.data.validators:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            self.finish_head(len(body) - first, tag)
            self.wfile.write(body[first:])
            return
        self.head(200, len(body))
        self.wfile.write(body)

    def head(self, code: int, length: int) -> None:
        self.send_response(code)
        self.finish_head(length, self.tag(self.data.files[self.path]) if self.data.validators else "")

    def finish_head(self, length: int, tag: str) -> None:
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(length))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()

    @staticmethod
    def tag(body: bytes) -> str:
        return f'"{len(body)}-{sum(body[:4000])}"'

    def plain(self, code: int, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/octet-stream", **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, Data]]:
    """The interface at an address of the loopback, and what it serves."""
    data = Data({f"/1.0.1/{case}.vital": case_bytes(case, folder) for case in CASES})
    subjects = "".join(f"{case},{100 + case % 3},{40 + case},M\n" for case in CASES)
    data.files["/cases"] = gzip.compress(f"\ufeffcaseid,subjectid,age,sex\n{subjects}".encode())
    rows = "".join(f"{case},{name},t{case}\n" for case, names in CASES.items() for name in names)
    data.files["/trks"] = f"caseid,tname,tid\n{rows}".encode()
    data.files["/labs"] = b"caseid,dt,name,result\n1,10,hb,12.1\n"
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"data": data}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", data
    finally:
        server.shutdown()
        server.server_close()
