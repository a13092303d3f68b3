"""An nginx in front of the project, which serves what its views hand over."""

import contextlib
import shutil
import socket
import tempfile
import time
from pathlib import Path

from .programs import program
from .servers import Process, reserved_port

CONFIGURATION = """
daemon off;
master_process off;
error_log stderr warn;
pid {own}/pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    proxy_cache_path {own}/cache keys_zone=media:1m;
    default_type application/octet-stream;
    types {{
        application/pdf pdf;
        text/plain txt;
        image/svg+xml svg;
        text/html html;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_set_header Host $http_host;
        }}
        # The README's recipe for a shared cache.
        location ~ ^/(files|default|unbuffered|private|asked)/ {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_cache media;
            proxy_cache_revalidate on;
            proxy_ignore_headers X-Accel-Buffering;
            add_header X-Cache $upstream_cache_status;
        }}
        location /protected/ {{
            internal;
            alias {data}/protected/;
        }}
        location /media/ {{
            alias {data}/media/;
        }}
        location /media/documents/ {{
            internal;
            alias {data}/media/documents/;
        }}
    }}
}}
"""


class Nginx(Process):
    """Looks like a `Server` to clients."""

    def __init__(self, behind: int, data: Path) -> None:
        nginx = program("nginx")
        self._own = Path(tempfile.mkdtemp(prefix="nginx-"))
        self.port = reserved_port()
        configuration = self._own / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(own=self._own, port=self.port, behind=behind, data=data)
        )
        super().__init__()
        command = [nginx, "-p", str(self._own), "-e", "stderr", "-c", str(configuration)]
        self._start(command, self._own, {})
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(ConnectionError), self.connect():
                return
            assert self.alive(), self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def connect(self, *, timeout: float | None = 60, rcvbuf: int | None = None) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self._own)
