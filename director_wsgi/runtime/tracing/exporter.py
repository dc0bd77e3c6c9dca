"""OTLP over HTTP, through the door of all outbound calls: its deadline bounds everything a collector may do.

Source: OTLP 1.x, "OTLP/HTTP Response"; `Retry-After` in seconds only.
"""

import gzip
import logging
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, OutboundError
from director_wsgi.runtime.tracing import otlp
from director_wsgi.runtime.tracing.batch import Sent
from director_wsgi.runtime.tracing.client import Client
from director_wsgi.runtime.tracing.span import Span
from director_wsgi.runtime.tracing.spec import TracingSpec

MAX_ANSWER_BYTES: Final = 64 * 1024

_COME_AGAIN: Final = frozenset({429, 502, 503, 504})
_SECONDS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)

_log = logging.getLogger(__name__)


class Exporter:
    """Sends spans to one collector; for one thread. `close` may be called by any.

    Args:
        spec: Which collector, and how.
        resource: Names and values that say who sends.
        client: This owns it.
    """

    def __init__(self, spec: TracingSpec, resource: Sequence[tuple[str, str]], client: Client) -> None:
        self._url = spec.endpoint
        self._host = urlsplit(spec.endpoint).netloc
        self._is_zipped = spec.compression == "gzip"
        self._headers = {**dict(spec.headers), "Content-Type": "application/x-protobuf"}
        if self._is_zipped:
            self._headers["Content-Encoding"] = "gzip"
        self._encoder = otlp.Encoder(resource)
        self._client = client
        self._trouble = ""
        self._is_closed = False

    def send(self, spans: Sequence[Span], deadline: Deadline) -> Sent:
        """Send them, once; nothing the collector does raises."""
        body = self._encoder.encode(spans)
        if self._is_zipped:
            body = gzip.compress(body, compresslevel=1)
        try:
            answer = self._client.send(
                "POST", self._url, deadline=deadline, headers=self._headers, body=body, max_bytes=MAX_ANSWER_BYTES
            )
        except OutboundError as error:
            self._note(error.failure.value)
            return Sent(again=True)
        return self._judge(answer, len(spans))

    def _judge(self, answer: Answer, spans: int) -> Sent:
        if 200 <= answer.status < 300:
            rejected = min(spans, otlp.rejected(answer.body))
            self._note(f"{rejected} of {spans} spans rejected" if rejected else "")
            return Sent(rejected=rejected)
        self._note(f"status {answer.status}")
        if answer.status in _COME_AGAIN:
            told = answer.headers.get("Retry-After", "").strip()
            return Sent(again=True, after_s=float(told) if _SECONDS.fullmatch(told) else 0.0)
        return Sent(rejected=spans)

    def _note(self, trouble: str) -> None:
        """Log when it begins to fail, and when it works again; not each time between."""
        before, self._trouble = self._trouble, trouble
        if self._is_closed:
            return
        if trouble and not before:
            _log.warning("Spans cannot be handed to the collector at %s: %s", self._host, trouble)
        elif before and not trouble:
            _log.info("The collector at %s takes spans again", self._host)

    def close(self) -> None:
        """End what is under way; nothing is sent any more. Does not wait."""
        self._is_closed = True
        self._client.close()
