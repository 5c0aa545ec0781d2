"""How long `legato serve` takes from the command to the first answer.

The built-in model, one prefill and one decode worker, on the CPU; each run starts from nothing.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from legato.tests.benchmarks.report import Row, show

BODY = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}


def first_answer_s(port: int, timeout_s: float = 120.0) -> float:
    """Seconds until a chat completion has come back."""
    started = time.monotonic()
    command = [sys.executable, "-m", "legato.deployments.cli", "serve", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while time.monotonic() - started < timeout_s:
            if _answers(port):
                return time.monotonic() - started
            if server.poll() is not None:
                raise RuntimeError(f"legato serve ended with {server.returncode}")
            time.sleep(0.05)
        raise TimeoutError("no answer in time")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)


def _answers(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(BODY).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
    except (urllib.error.URLError, OSError):
        return False
    return int(answer["usage"]["completion_tokens"]) > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--port", type=int, default=8766)
    args = parser.parse_args()
    times = sorted(first_answer_s(args.port) for _ in range(args.runs))
    rows = [
        Row("legato serve to first answer, median", times[len(times) // 2], "s", 30, 15, False),
        Row("fastest", times[0], "s"),
        Row("slowest", times[-1], "s"),
    ]
    return 0 if show("Start-up, 1 prefill + 1 decode worker", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
