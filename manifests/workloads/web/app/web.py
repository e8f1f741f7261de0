"""The sample app: a page that tells which instance of it answered, for a browser at / and for programs at /json.

It listens on $PORT, tells what the platform gave it (CF_INSTANCE_*), and the nonce that came in its tarball, which
proves that the code in the container is what the file server handed out. At TERM it takes no more connections,
finishes the requests at hand, and ends.
"""
# ruff: noqa: INP001, T201, ARG002
# It runs alone in a container, not as part of a package, and what it prints is the app's log.

import html
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STARTED = datetime.now(UTC).isoformat(timespec="microseconds")
NONCE = (Path(__file__).parent / "nonce").read_text().strip()
TOLD = (
    "CF_INSTANCE_GUID",
    "CF_INSTANCE_INDEX",
    "CF_INSTANCE_ADDR",
    "CF_INSTANCE_INTERNAL_IP",
    "CF_INSTANCE_PORTS",
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Instance {index}</title>
<style>
  body {{ font: 1.05rem/1.6 system-ui, sans-serif; margin: 12vh auto; max-width: 42rem; padding: 0 1.5rem; color: #223; }}
  h1 {{ font-weight: 600; }}
  h1 b {{ display: inline-block; min-width: 1.6em; text-align: center; border-radius: .35em; color: #fff; background: {colour}; }}
  table {{ border-collapse: collapse; width: 100%; }}
  td {{ border-top: 1px solid #dde; padding: .45em 1em .45em 0; vertical-align: top; }}
  td + td {{ font-family: ui-monospace, monospace; font-size: .92em; word-break: break-all; }}
  p {{ color: #667; }}
</style>
<h1>Hello from instance <b>{index}</b></h1>
<table>{rows}</table>
<p>Load the page again and another instance may answer. Programs read <a href="/json">/json</a>.</p>
</html>
"""
COLOURS = ("#2a6fdb", "#1b8a5a", "#b3541e", "#7b3fb5", "#a11d48")


def facts() -> dict[str, str]:
    """What this instance knows of itself."""
    told = {name: os.environ.get(name, "") for name in TOLD}
    return {**told, "nonce": NONCE, "pid": str(os.getpid()), "started": STARTED}


def page() -> str:
    index = os.environ.get("CF_INSTANCE_INDEX", "?")
    colour = COLOURS[int(index) % len(COLOURS)] if index.isdigit() else "#445"
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in facts().items()
    )
    return PAGE.format(index=html.escape(index), colour=colour, rows=rows)


class Handler(BaseHTTPRequestHandler):
    """/ for people, /json for programs, /health for the platform's check."""

    timeout = 30

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            self.answer(200, "text/html; charset=utf-8", page())
        elif path == "/json":
            self.answer(200, "application/json", json.dumps(facts()) + "\n")
        elif path == "/health":
            self.answer(200, "text/plain", "ok\n")
        else:
            self.answer(404, "text/plain", "nothing here\n")

    def answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        if self.path != "/health":
            print(
                f"{self.command} {self.path} {code} for {self.headers.get('X-Forwarded-For', '-')}",
                flush=True,
            )


class Server(ThreadingHTTPServer):
    """Waits, when it closes, for the requests that are being answered."""

    daemon_threads = False
    request_queue_size = 128


def main() -> None:
    port = int(os.environ.get("PORT", "8080"))
    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    server = Server(("0.0.0.0", port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="server").start()
    print(f"instance {os.environ.get('CF_INSTANCE_INDEX', '?')} listens on port {port}", flush=True)
    asked_to_stop.wait()
    print("asked to stop", flush=True)
    server.shutdown()
    server.server_close()
    sys.exit(0)


if __name__ == "__main__":
    main()
