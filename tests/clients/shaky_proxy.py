"""An HTTP proxy in front of a server, which behaves as badly as it is told."""

import http.client
import random
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOPS = {"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"}


class ShakyProxy:
    """`faults` maps a fault to the share of requests that meet it: drop, lose (the answer), 503, 403, delay, truncate."""

    def __init__(self, host, port, seed=1):
        self.target = (host, port)
        self.faults = {}
        self.random = random.Random(seed)
        self.seen = []
        self.server = None
        self.port = 0
        self.up()

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def up(self):
        """Listens, at the same port as before."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def fault(self):
                drawn = proxy.random.random()
                for fault, share in proxy.faults.items():
                    drawn -= share
                    if drawn < 0:
                        return fault
                return None

            def cut(self):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                fault = self.fault()
                proxy.seen.append((self.command, self.path, self.headers.get("authorization", ""), fault))
                if fault == "drop":
                    return self.cut()
                if fault in ("503", "403"):
                    why = b"SlowDown" if fault == "503" else b"InvalidAccessKeyId"
                    self.send_response(int(fault))
                    self.send_header("content-length", str(len(why)))
                    self.end_headers()
                    self.wfile.write(why)
                    return None
                if fault == "delay":
                    threading.Event().wait(1.0)
                upstream = http.client.HTTPConnection(*proxy.target, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                content = answer.read()
                if fault == "lose":
                    return self.cut()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOPS:
                        self.send_header(name, value)
                if self.command == "HEAD":
                    length = answer.getheader("content-length") or "0"
                else:
                    length = str(len(content))
                if answer.status not in (204, 304):
                    self.send_header("content-length", length)
                self.end_headers()
                if self.command != "HEAD":
                    if fault == "truncate" and len(content) > 1:
                        self.wfile.write(content[: len(content) // 2])
                        self.wfile.flush()
                        return self.cut()
                    self.wfile.write(content)
                upstream.close()
                return None

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        """Nobody listens any more, and what is open ends at its next request."""
        self.server.shutdown()
        self.server.server_close()
        self.faults = {"drop": 1.0}
