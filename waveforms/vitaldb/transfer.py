r"""One file over HTTP: timeouts, retries that wait longer each time, bytes kept between them, nothing trusted unseen.

A server may answer slowly, not at all, with an error, a page of HTML, less than it announced, or hang up. Each attempt
that fails for a reason that may pass is made again after $w\,2^k$ seconds, half of it at random, or what the server
asks for in `Retry-After`. Where the server names a version of the file (ETag or date), the next attempt goes on from
the bytes that are there (`Range` with `If-Range`); the same holds for the next process after a kill. After the last
attempt nothing of the file is left.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .errors import SourceError

__all__ = ["Patience", "download"]

_CHUNK: Final = 1 << 16
_LARGEST: Final = 4 << 30
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Check = Callable[[Path], None]
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Patience:
    r"""How long to wait for a server.

    Arguments:
        attempts: Attempts in all.
        wait_s: Wait after the first failure; doubled after each [s].
        longest_s: Longest wait, also where the server asks for more [s].
        timeout_s: Longest silence [s]; as long as this is also given to every `timeout_s * least_rate` bytes.
        least_rate: Slowest rate that is borne [bytes/s].

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Patience(attempts=3, wait_s=0.5).waits()
        [0.5, 1.0]
    """

    attempts: int = 5
    wait_s: float = 1.0
    longest_s: float = 60.0
    timeout_s: float = 30.0
    least_rate: float = 1000.0

    def __post_init__(self) -> None:
        """Check every field."""
        if self.attempts < 1 or not (self.wait_s >= 0 and self.longest_s >= 0 and self.timeout_s > 0):
            raise ValueError(
                f"patience needs one attempt or more, waits of 0 s or more and a timeout above 0 s, got {self}"
            )

    def waits(self) -> list[float]:
        r"""Waits between the attempts, without their random part [s]."""
        return [min(self.wait_s * 2.0**k, self.longest_s) for k in range(self.attempts - 1)]


def download(
    url: str,
    part: Path,
    *,
    check: Check,
    patience: Patience = Patience(),
    agent: str = "pulsebayes",
    progress: Told | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    r"""Downloads a file under its temporary name and checks it.

    Arguments:
        url: Where it is.
        part: Where it is written; bytes that stand there from a killed process are gone on from.
        check: Looks at the whole file and raises `SourceError` where it is not what was asked for.
        patience: How long to wait for the server.
        agent: Who asks.
        progress: Told bytes so far and in all (0: not known).
        sleep: Waits.

    Returns:
        The server's ETag or date of change; empty where it gave none.

    Raises:
        SourceError: If the file cannot be had; nothing is left of it then.

    Example:
        >>> import tempfile
        >>> try:
        ...     download("ftp://a/b", Path(tempfile.mkdtemp()) / "b", check=lambda path: None)
        ... except SourceError as error:
        ...     error.code
        'url'
    """
    _check_url(url)
    part.parent.mkdir(parents=True, exist_ok=True)
    waits = patience.waits()
    try:
        for k in range(patience.attempts):
            try:
                fetch = _Fetch(url, part, patience, agent, progress)
                validator = fetch.run()
                try:
                    check(part)
                except SourceError:
                    fetch.forget()
                    raise
                fetch.settle()
                return validator
            except SourceError as error:
                if not error.retry or k == patience.attempts - 1:
                    raise _said(error, k + 1) from error
                wait = max(waits[k] * (0.5 + 0.5 * random.random()), error.after_s)
                sleep(min(wait, patience.longest_s))
    except SourceError:
        _Fetch(url, part, patience, agent, None).forget()
        raise
    raise SourceError(f"{url}: no attempt was made", code="url")


def _said(error: SourceError, attempts: int) -> SourceError:
    tries = f" ({attempts} attempts)" if attempts > 1 else ""
    return SourceError(f"{error.message}{tries}", code=error.code, hint=error.hint)


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceError(f"expected an address that begins with https://, got {url!r}", code="url", hint="--base-url")


@dataclass(frozen=True)
class _Fetch:
    """One attempt at one file."""

    url: str
    part: Path
    patience: Patience
    agent: str
    progress: Told | None

    @property
    def _name(self) -> str:
        return urllib.parse.urlsplit(self.url).path.rsplit("/", 1)[-1]

    @property
    def _note(self) -> Path:
        """What is known of the bytes that are there."""
        return self.part.with_name(self.part.name + ".json")

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def settle(self) -> None:
        self._note.unlink(missing_ok=True)

    def run(self) -> str:
        known = self._known()
        headers = {"User-Agent": self.agent, "Accept-Encoding": "identity"}
        if known:
            headers |= {"Range": f"bytes={self.part.stat().st_size}-", "If-Range": known}
        try:
            with _opener(self.url).open(
                urllib.request.Request(self.url, headers=headers), timeout=self.patience.timeout_s
            ) as answer:
                return self._take(answer, known)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                self.forget()
                raise self._error("the part that is there does not fit the file", "server", retry=True) from None
            raise self._status(error) from None
        except (http.client.HTTPException, OSError) as error:
            raise self._lost(error) from error

    def _known(self) -> str:
        """The validator of the bytes that are there; empty, and none there, where they are of no use."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["url"] == self.url and note["validator"] and self.part.stat().st_size > 0:
                return str(note["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.forget()
        return ""

    def _take(self, answer: Any, known: str) -> str:
        """Writes the body behind the bytes that are there, or over them where the server sends all."""
        if "html" in str(answer.headers.get("Content-Type", "")).lower():
            raise self._error("expected a file, the server sent an HTML page", "html", retry=True)
        goes_on = bool(known) and answer.status == 206 and self._range_fits(answer)
        if answer.status == 206 and not goes_on:
            self.forget()
            raise self._error("the server sent another part of the file than was asked for", "server", retry=True)
        first = self.part.stat().st_size if goes_on else 0
        length = answer.headers.get("Content-Length")
        announced = int(length) if length is not None and length.isdigit() else -1
        tag = str(answer.headers.get("ETag") or "")
        # A weak ETag does not promise the same bytes, so nothing is gone on from it.
        strong = tag if tag and not tag.startswith("W/") else str(answer.headers.get("Last-Modified") or "")
        self._note.write_text(json.dumps({"url": self.url, "validator": strong}), encoding="utf-8")
        total = first + announced if announced >= 0 else 0
        if max(total, 0) > _LARGEST:
            raise self._error(f"the server announces {total} bytes, at most {_LARGEST} are taken", "too-large")
        got = self._copy(answer, first, total)
        if announced >= 0 and got != announced:
            code, what = ("truncated", "only ") if got < announced else ("length", "")
            raise self._error(f"the server announced {announced} bytes and sent {what}{got}", code, retry=True)
        return strong or tag

    def _range_fits(self, answer: Any) -> bool:
        said = str(answer.headers.get("Content-Range", ""))
        return said.startswith(f"bytes {self.part.stat().st_size}-")

    def _copy(self, answer: Any, first: int, total: int) -> int:
        got, since, mark = 0, time.monotonic(), 0
        with self.part.open("ab" if first else "wb") as stream:
            while block := answer.read1(_CHUNK):
                stream.write(block)
                got += len(block)
                if self.progress is not None:
                    self.progress(first + got, total)
                if first + got > _LARGEST:
                    raise self._error(f"the server sends more than {_LARGEST} bytes", "too-large")
                now = time.monotonic()
                if now - since > self.patience.timeout_s:
                    if got - mark < self.patience.least_rate * (now - since):
                        rate = (got - mark) / (now - since)
                        raise self._error(f"the server sends {rate:.0f} bytes a second", "slow", retry=True)
                    since, mark = now, got
            stream.flush()
            os.fsync(stream.fileno())
        return got

    def _status(self, error: urllib.error.HTTPError) -> SourceError:
        what = f"the server says {error.code} {error.reason}".rstrip()
        if error.code in (404, 410):
            return self._error(what, "not-found", hint="check the case's number, or --base-url")
        after = 0.0
        with contextlib.suppress(TypeError, ValueError):
            after = float(error.headers.get("Retry-After", 0))
        after = after if math.isfinite(after) and after > 0 else 0.0
        code = "server" if error.code in _PASSING or error.code >= 500 else "refused"
        return self._error(what, code, retry=code == "server", after_s=after)

    def _lost(self, error: Exception) -> SourceError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError) or "timed out" in str(reason):
            return self._error(f"no answer within {self.patience.timeout_s:g} s", "timeout", retry=True)
        if isinstance(error, http.client.IncompleteRead):
            return self._error("the connection ended before the file did", "truncated", retry=True)
        what = str(reason) or type(reason).__name__
        return self._error(f"the connection failed: {what}", "connection", retry=True)

    def _error(
        self, what: str, code: str, *, retry: bool = False, hint: str = "try later, or --base-url", after_s: float = 0.0
    ) -> SourceError:
        return SourceError(f"{self._name}: {what}", code=code, hint=hint, retry=retry, after_s=after_s)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Proxies of the environment, but never for this machine's own servers."""
    host = urllib.parse.urlsplit(url).hostname
    if host in _LOOPBACK:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()
