"""What the programs of measuring share: a Braid of their own, and what it takes."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request


class Braid:
    """A server on free ports with a folder of its own, ended by its process id; `with` ends it and removes the folder.

    `at` has the addresses by the name of their port. `start` and `stop` restart it on the same data.
    """

    def __init__(self, binary, name, memory, *more, dir=None):
        self.home = tempfile.mkdtemp(prefix=f"braid-{name}-", dir=dir)
        self.command = [binary, "serve", "--free-ports", "--print-ready", "--data-dir", f"{self.home}/data", "--memory", memory, *more]
        self.process = None
        self.start()

    def start(self):
        with open(f"{self.home}/log", "a") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            with open(f"{self.home}/log") as log:
                raise SystemExit(f"braid does not start: {log.read()[-2000:]}")
        self.at = json.loads(line)

    def stop(self):
        end(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process.poll() is None

    def settle(self):
        """Everything in its final form."""
        request = urllib.request.Request(f"http://{self.at['braid']}/api/admin/settle", method="POST")
        urllib.request.urlopen(request, timeout=3600).read()

    def memory(self, field="VmRSS"):
        """MiB: resident now, or at the peak (`VmHWM`)."""
        with open(f"/proc/{self.pid}/status") as text:
            return int(re.search(rf"{field}:\s+(\d+) kB", text.read()).group(1)) / 1024

    def cpu(self):
        """Seconds of processor time, user and system."""
        with open(f"/proc/{self.pid}/stat") as text:
            fields = text.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bytes(self):
        """Of all files that it keeps."""
        return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(f"{self.home}/data") for name in names)


def end(process):
    """Ends a process that was started here, if it still runs."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
