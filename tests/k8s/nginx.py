"""A real nginx with the configuration that we ship, and a service that knows who has logged in.

test ──TLS──> nginx ──> Legato
                └─────> LoginService, as oauth2-proxy: a cookie in, a name out
"""

import getpass
import shutil
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from legato.tests.deployments.server import STOP_TIMEOUT_S, free_port, until
from legato.tests.k8s.manifests import K8S

SHIPPED = K8S / "nginx" / "legato.conf"
USERS = ("alice", "bob")
START_TIMEOUT_S = 10.0
# What Debian's /etc/nginx/nginx.conf says around the files in conf.d, for folders of this test.
_AROUND = """\
user {user};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_types *;
    include {folder}/legato.conf;
}}
"""


class Nginx:
    """One nginx in front of something on `upstream_port`."""

    def __init__(self, folder: Path, upstream_port: int, login_port: int, api_key: str) -> None:
        binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if binary is None or shutil.which("openssl") is None:
            pytest.skip("needs Debian's packages nginx and openssl")
        self._folder = folder
        self.port, self.plain_port = free_port(), free_port()
        _write_certificate(folder / "tls")
        (folder / "legato-key.conf").write_text(f'set $legato_key "{api_key}";\n')
        (folder / "legato.conf").write_text(self._placed(upstream_port, login_port))
        around = _AROUND.format(user=getpass.getuser(), folder=folder)
        (folder / "nginx.conf").write_text(around)
        self._process = subprocess.Popen(
            [binary, "-e", folder / "error.log", "-p", folder, "-c", folder / "nginx.conf"]
        )
        self._tls = ssl.create_default_context(cafile=folder / "tls" / "fullchain.pem")

    def _placed(self, upstream_port: int, login_port: int) -> str:
        """The shipped file, with ports and files of this test and nothing else changed."""
        text = SHIPPED.read_text(encoding="utf-8")
        for theirs, ours in {
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream_port};",
            "server 127.0.0.1:4180;": f"server 127.0.0.1:{login_port};",
        }.items():
            assert text.count(theirs) == 1, theirs
            text = text.replace(theirs, ours)
        return text.replace(" /etc/nginx/", f" {self._folder}/")

    def client(self, user: str | None = None) -> httpx.Client:
        """A client that is logged in, or not."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=self._tls,
            cookies={"session": user} if user else None,
            timeout=30,
        )

    def wait_until_up(self) -> None:
        def is_up() -> bool:
            assert self._process.poll() is None, self.errors()
            return (self._folder / "nginx.pid").exists()

        until(is_up, START_TIMEOUT_S, "nginx has written its process id")

    def errors(self) -> str:
        return (self._folder / "error.log").read_text()

    def quit(self) -> None:
        """Asks it to end when all requests have."""
        self._process.send_signal(signal.SIGQUIT)

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def running_nginx(
    folder: Path, upstream_port: int, login_port: int, api_key: str = "none"
) -> Iterator[Nginx]:
    nginx = Nginx(folder, upstream_port, login_port, api_key)
    try:
        nginx.wait_until_up()
        yield nginx
    finally:
        nginx.kill()


def _write_certificate(folder: Path) -> None:
    folder.mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=legato",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ),
            *("-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"),
        ],
        check=True,
        capture_output=True,
    )


class _LoginHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        session = SimpleCookie(self.headers.get("cookie", "")).get("session")
        user = session.value if session else None
        self.send_response(202 if user in USERS else 401)
        if user in USERS:
            self.send_header("X-Auth-Request-User", user)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Not a word."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serves `handler` in threads; gives the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def login_service() -> Iterator[int]:
    """Answers as oauth2-proxy does; the cookie `session` bears a user's name. Gives the port."""
    with serving(_LoginHandler) as port:
        yield port
