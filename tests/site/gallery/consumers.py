import asyncio
import json
import os
import socket
from pathlib import Path

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.utils import timezone

from .samples import VOID


class Live(AsyncWebsocketConsumer):
    """Tells who is signed in and, each second, the server's time; sends every text back."""

    async def connect(self) -> None:
        await self.accept()
        await self.tell(user=self.scope["user"].get_username() or "anonymous")
        self.clock = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        while True:
            await self.tell(time=timezone.localtime().strftime("%H:%M:%S"))
            await asyncio.sleep(1)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.tell(echo=text_data)

    async def disconnect(self, code: int) -> None:
        self.clock.cancel()

    async def tell(self, **message: str | None) -> None:
        await self.send(json.dumps(message))


class Memory(AsyncWebsocketConsumer):
    """Tells how much memory this process has, four times a second.

    On "stall" it becomes four clients of its own server. Each asks for a gibibyte, and reads
    nothing of it until "release".
    """

    async def connect(self) -> None:
        self.clients: list[socket.socket] = []
        await self.accept()
        self.clock = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        while True:
            await self.send(json.dumps({"memory": memory(), "clients": len(self.clients)}))
            await asyncio.sleep(0.25)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.release()
        if text_data == "stall":
            for _ in range(4):
                await self.stall()

    async def stall(self) -> None:
        host, port = self.scope["server"]
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.clients.append(client)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (host, port))
        target = f"{settings.MEDIA_URL}samples/{VOID}"
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await loop.sock_sendall(client, request.encode())

    def release(self) -> None:
        for client in self.clients:
            client.close()
        self.clients = []

    async def disconnect(self, code: int) -> None:
        self.clock.cancel()
        self.release()


def memory() -> float | None:
    """The resident memory of this process in MiB, or None where nothing tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
