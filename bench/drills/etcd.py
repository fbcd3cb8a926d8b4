#!/usr/bin/env python3
"""etcd under the load that `cargo bench -p hexpop-bench --bench replication` puts on this mesh.

    bench/drills/etcd.py [SECONDS] [DIR]

Three members on loopback with their disks under DIR; gRPC calls by h2load, one at a time per client.
Needs `etcd` and `h2load` (Debian: etcd-server, nghttp2-client). Run it right after that benchmark: the
two are compared on the same machine and the same disk.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from mesh import free_ports

CLIENTS = (1, 16, 64, 256)
VALUE = 256


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(data):
    """A gRPC message, not compressed."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    base = tempfile.mkdtemp(prefix="etcd-", dir=sys.argv[2] if len(sys.argv) > 2 else None)
    members = []

    def end():
        for member in members:
            member.kill()
            member.wait()
        shutil.rmtree(base, ignore_errors=True)

    atexit.register(end)
    ports = free_ports(6)
    peers = ",".join(f"m{n}=http://127.0.0.1:{ports[2 * n + 1]}" for n in range(3))
    for n in range(3):
        client, peer = (f"http://127.0.0.1:{port}" for port in ports[2 * n:2 * n + 2])
        members.append(subprocess.Popen(
            ["etcd", "--name", f"m{n}", "--data-dir", f"{base}/m{n}", "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls",
             peer, "--initial-cluster", peers, "--initial-cluster-state", "new", "--log-level", "error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    client = f"http://127.0.0.1:{ports[0]}"
    for _ in range(300):
        try:
            if b"true" in urllib.request.urlopen(f"{client}/health", timeout=1).read():
                break
        except OSError:
            time.sleep(0.1)
    else:
        raise SystemExit("etcd is not healthy")
    calls = {
        "put": ("Put", field(1, b"key") + field(2, b"v" * VALUE)),
        "linearizable read": ("Range", field(1, b"key")),
        "serializable read": ("Range", field(1, b"key") + varint(7 << 3) + b"\1"),
    }
    for clients in CLIENTS:
        for name, (method, body) in calls.items():
            path, log = os.path.join(base, "body"), os.path.join(base, "log")
            with open(path, "wb") as file:
                file.write(message(body))
            if os.path.exists(log):
                os.remove(log)
            subprocess.run(
                ["h2load", "-c", str(clients), "-m", "1", "-D", str(seconds), "-d", path, "-H", "te: trailers",
                 "-H", "content-type: application/grpc", f"--log-file={log}",
                 f"{client}/etcdserverpb.KV/{method}"], check=True, capture_output=True)
            with open(log) as lines:
                rows = [line.split("\t") for line in lines]
            took = sorted(int(row[2]) for row in rows if row[1] == "200")
            failed = len(rows) - len(took)
            print(f"{clients:4} clients, {name:18} {len(took) / seconds:8.0f}/s   p50 "
                  f"{took[len(took) // 2] / 1000:.2f} ms   p99 {took[int(len(took) * 0.99)] / 1000:.2f} ms"
                  f"   failed {failed}", flush=True)


main()
