"""
``BackpressureSend``: a ``send`` for the application on Daphne, which waits for the client.

Daphne's own never waits, so that what the client doesn't take piles up in memory. (The head of a
response waits for the first part of its body on Daphne too.)
"""

import asyncio

from ..types import Message, Receive, Scope, Send
from .base import ClientDisconnectedError, ResponseWriter, abort_on
from .send import response_writer


class BackpressureSend:
    """One response of the application."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout: float) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._send_timeout = send_timeout
        self._head: Message | None = None
        # The writer of a response that has more than one message, until it has ended.
        self._writer: ResponseWriter | None = None
        self._has_ended = False
        # Several tasks of the application may send. A writer waits for one of them.
        self._turn = asyncio.Lock()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        async with self._turn:
            if self._has_ended:
                # Daphne too ignores what comes after a disconnect. An application that doesn't
                # listen for it must not hold the loop.
                await asyncio.sleep(0)
            elif kind == "http.response.start" and self._head is None:
                self._head = message
            elif kind == "http.response.body" and self._head is not None:
                body, more = message.get("body", b""), message.get("more_body", False)
                if self._scope["method"] == "HEAD":
                    body = b""  # Twisted drops only the first part of it
                await self._send_body(self._head, body, more=more)
            else:
                await self._send(message)

    async def _send_body(self, head: Message, body: bytes, *, more: bool) -> None:
        writer = self._writer
        self._has_ended = not more
        try:
            if writer is None:
                writer = response_writer(self._scope, self._receive, self._send, self._send_timeout)
                # The writer adds the date.
                headers = [pair for pair in head.get("headers", ()) if pair[0].lower() != b"date"]
                if not more:
                    await writer.send(head["status"], headers, body)
                    return
                self._writer = writer
                await writer.start(head["status"], headers)
            if body or more:  # an empty body sends the head
                await writer.write(body)
            if not more:
                await writer.finish()
                self.close()
        except ClientDisconnectedError as error:
            assert writer is not None
            self._has_ended = True
            await abort_on(error, writer)
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def end(self) -> None:
        """The application has returned or raised. What it has not finished is cut off."""
        if self._writer is not None:
            await self._writer.abort()
            self.close()
