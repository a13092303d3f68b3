"""A client that downloads and throws away, for next to nothing: the kernel drops the bytes.

Run as a process: drain.py HOST PORT PATH CONNECTIONS SECONDS whole|timed|each [HEADER...]
It prints one line of JSON. `whole` stops after one complete download instead of after SECONDS, and
`each` after one of every connection. {} in PATH stands for the connection's number.
"""

import json
import selectors
import socket
import sys
import time

LIMIT = 10.0  # seconds at most for a whole download: its speed is known by then
PIECE = 4 * 1024**2


class Download:
    """One connection: a request, its answer, and so on."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.address, self.request = address, request
        self.scratch = bytearray(PIECE)
        self.durations: list[float] = []
        self.received = 0
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(self.address, 10)
        self.socket.setblocking(False)
        self.ask()

    def ask(self) -> None:
        self.head: bytes | None = b""
        self.left = 0
        self.started = time.perf_counter()
        self.socket.send(self.request)

    def take(self) -> bool:
        """Take what is there; true at the end of an answer."""
        if self.head is None:
            # MSG_TRUNC on TCP: the kernel counts the bytes and copies none.
            count = self.socket.recv_into(self.scratch, min(PIECE, self.left), socket.MSG_TRUNC)
            if not count:
                raise ConnectionError("closed in the middle of an answer")
        else:
            data = self.socket.recv(4096)
            if not data:
                raise EOFError if not self.head else ConnectionError("closed in the head")
            self.head += data
            head, found, body = self.head.partition(b"\r\n\r\n")
            if not found:
                return False
            self.head, self.left, count = None, content_length(head), len(body)
        self.received += count
        self.left -= count
        if self.left:
            return False
        self.durations.append(time.perf_counter() - self.started)
        return True


def content_length(head: bytes) -> int:
    status, *lines = head.split(b"\r\n")
    if status.split()[1] not in (b"200", b"206"):
        raise ConnectionError(f"unexpected answer: {status.decode()}")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ConnectionError("an answer without Content-Length")


def percentile(values: list[float], share: float) -> float | None:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def main() -> None:
    host, port, path, connections, seconds, mode, *headers = sys.argv[1:]
    requests = []
    for number in range(int(connections)):
        target = path.replace("{}", str(number))
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}:{port}", *headers, "", ""]
        requests.append("\r\n".join(lines).encode())
    selector = selectors.DefaultSelector()
    begin = time.perf_counter()
    deadline = begin + (LIMIT if mode == "whole" else float(seconds))
    downloads = [Download((host, int(port)), request) for request in requests]
    for download in downloads:
        selector.register(download.socket, selectors.EVENT_READ, download)
    errors, done = 0, False
    while not done and (left := deadline - time.perf_counter()) > 0:
        for key, _ in selector.select(left):
            download = key.data
            try:
                if not download.take():
                    continue
                if mode == "whole":
                    done = True
                elif mode == "each":
                    selector.unregister(download.socket)
                    done = not selector.get_map()
                else:
                    download.ask()
            except BlockingIOError:
                continue
            except (OSError, EOFError) as error:
                # EOFError: kept alive no longer, for some servers end after so many requests.
                errors += not isinstance(error, EOFError)
                if errors > 100:
                    sys.exit(f"more than 100 broken answers, the last: {error}")
                selector.unregister(download.socket)
                download.socket.close()
                try:
                    download.connect()
                except OSError as error:
                    sys.exit(f"the server is gone: {error}")
                selector.register(download.socket, selectors.EVENT_READ, download)
    elapsed = time.perf_counter() - begin
    durations = [duration for download in downloads for duration in download.durations]
    result = {
        "requests": len(durations),
        "bytes": sum(download.received for download in downloads),
        "seconds": elapsed,
        "p50": percentile(durations, 0.50),
        "p99": percentile(durations, 0.99),
        "errors": errors,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
