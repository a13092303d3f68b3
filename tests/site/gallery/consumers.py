import asyncio
import json

from channels.generic.websocket import AsyncWebsocketConsumer
from django.utils import timezone


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
