r"""The error for a data source that cannot be reached or does not send what it should."""

from __future__ import annotations

__all__ = ["SourceError"]


class SourceError(Exception):
    r"""A download that failed, or something that is not in the cache.

    Codes: `not-found`, `refused`, `server`, `timeout`, `slow`, `connection`, `truncated`, `length`, `html`,
    `not-gzip`, `damaged`, `not-vital`, `table`, `offline`, `cache`, `no-case`, `too-large`, `url`.

    Arguments:
        what: What was expected and what came.
        code: Short slug, one of the above.
        hint: What to try.
        retry: Whether the same request may succeed later.
        after_s: How long the server asks to wait [s]; 0 where it does not say.

    Example:
        >>> error = SourceError("8.vital: the server says 404", code="not-found", hint="another case")
        >>> error.code, str(error)
        ('not-found', '8.vital: the server says 404')
    """

    def __init__(self, what: str, *, code: str, hint: str = "", retry: bool = False, after_s: float = 0.0) -> None:
        super().__init__(what)
        self.message = what
        self.code = code
        self.hint = hint
        self.retry = retry
        self.after_s = after_s
