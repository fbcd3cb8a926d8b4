#!/usr/bin/env python3
"""A cache hit here beside nginx, Varnish and HAProxy: requests per CPU second of the server, and times at half load.

    bench/drills/edge.py BINARY [SECONDS] [ROUNDS]

One after the other in front of the same origin on loopback, each asked for one stored object by `h2load`
(HTTP/1.1, 64 connections kept alive). Needs `h2load` (Debian: nghttp2-client); servers that are not
installed are left out. The CPU time is that of all processes of the server, user and system.
"""

import atexit
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from mesh import Mesh, Origin, free_ports, quantiles

CONNECTIONS = 64
SIZES = (1024, 4096, 16384)


def answer(path):
    size = path.rsplit("/", 1)[-1]
    fields = {"Content-Type": "text/plain", "Cache-Control": "public, max-age=36000"}
    return (b"x" * int(size), fields) if size.isdigit() and int(size) else None


def family(pid):
    """A process and all its descendants."""
    children = {}
    for one in os.listdir("/proc"):
        if one.isdigit():
            try:
                with open(f"/proc/{one}/stat") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(one))
            except OSError:
                pass
    found, open_ = [], [pid]
    while open_:
        found.append(open_.pop())
        open_ += children.get(found[-1], [])
    return found


def cpu_seconds(pid):
    total = 0
    for one in family(pid):
        try:
            with open(f"/proc/{one}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")


def servers(base, origin, binary):
    """Name, port and process of each."""
    ports = free_ports(3)
    if shutil.which("nginx"):
        path = os.path.join(base, "nginx.conf")
        with open(path, "w") as config:
            config.write(f"""
worker_processes 1; daemon off; pid {base}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;
  proxy_cache_path {base}/nginx-cache levels=1:2 keys_zone=one:16m max_size=1g inactive=1d;
  open_file_cache max=1000 inactive=1h;
  server {{ listen 127.0.0.1:{ports[0]};
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_cache one; proxy_http_version 1.1; }} }}
}}""")
        yield "nginx", ports[0], subprocess.Popen(["nginx", "-p", base, "-c", path])
    if shutil.which("varnishd"):
        yield "varnish", ports[1], subprocess.Popen(
            ["varnishd", "-F", "-a", f"127.0.0.1:{ports[1]}", "-b", f"127.0.0.1:{origin}", "-s", "malloc,256m",
             "-n", f"{base}/varnish"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if shutil.which("haproxy"):
        path = os.path.join(base, "haproxy.cfg")
        with open(path, "w") as config:
            config.write(f"""
global
  nbthread 1
  tune.maxrewrite 1024
  tune.bufsize 32768
defaults
  mode http
  timeout client 1h
  timeout server 10s
  timeout connect 2s
cache one
  total-max-size 64
  max-object-size 1000000
  max-age 36000
frontend in
  bind 127.0.0.1:{ports[2]}
  default_backend out
backend out
  http-request cache-use one
  http-response cache-store one
  server origin 127.0.0.1:{origin}
""")
        yield "haproxy", ports[2], subprocess.Popen(["haproxy", "-db", "-f", path],
                                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    mesh = Mesh(binary, nodes=1, pops=("mil",), replicas=1, origin=f"http://127.0.0.1:{origin}")
    mesh.start()
    mesh.wait_ready()
    yield "hexpop", mesh.nodes[0].http_port, mesh.nodes[0].process


def ask(port, path):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    link.request("GET", path)
    answer = link.getresponse()
    body = answer.read()
    link.close()
    return answer.status, len(body)


def load(base, port, path, seconds, rate=None):
    """Requests a second, and how long each took in milliseconds where a rate is given."""
    log = os.path.join(base, "h2load.log")
    if os.path.exists(log):
        os.remove(log)
    words = ["h2load", "--h1", "-c", str(CONNECTIONS), "-t", "1", "-D", str(seconds), "--warm-up-time=1",
             f"http://127.0.0.1:{port}{path}"]
    if rate:
        words += [f"--rps={rate / CONNECTIONS:.1f}", f"--log-file={log}"]
    done = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    line = next(line for line in done.splitlines() if line.startswith("requests:"))
    count, failed = int(line.split()[1]), int(line.split()[9])
    took = []
    if rate:
        with open(log) as lines:
            took = [int(line.split("\t")[2]) / 1000 for line in lines]
    return count, failed, took


def main():
    binary = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    base = tempfile.mkdtemp(prefix="hexpop-edge-")
    os.chmod(base, 0o755)
    origin = Origin(answer)
    running = []

    def end():
        for _, _, process in running:
            process.terminate()
            process.wait()
        shutil.rmtree(base, ignore_errors=True)

    atexit.register(end)
    for one in servers(base, origin.port, binary):
        running.append(one)
    for size in SIZES:
        path = f"/bytes/{size}"
        per_second, limits = {}, {}
        for name, port, _ in running:
            for _ in range(100):
                try:
                    if ask(port, path) == (200, size):
                        break
                except OSError:
                    pass
                time.sleep(0.05)
            else:
                raise SystemExit(f"{name} does not answer {path}")
        for _ in range(rounds):
            for name, port, process in running:
                before = cpu_seconds(process.pid)
                count, failed, _ = load(base, port, path, seconds)
                spent = cpu_seconds(process.pid) - before
                # The warm-up second costs as much as any other.
                per_second.setdefault(name, []).append(count * (seconds + 1) / seconds / spent)
                limits.setdefault(name, []).append(count / seconds)
                if failed:
                    print(f"{name}: {failed} failed")
        rate = min(statistics.median(found) for found in limits.values()) / 2
        for name, port, _ in running:
            _, _, took = load(base, port, path, seconds, rate)
            print(f"{size:6} B  {name:8} {statistics.median(per_second[name]):8.0f} requests per CPU second"
                  f" ({', '.join(f'{one:.0f}' for one in per_second[name])}), at most"
                  f" {statistics.median(limits[name]):.0f}/s; at {rate:.0f}/s, µs: "
                  + quantiles([one * 1000 for one in took]), flush=True)


main()
