"""A mesh of real processes on loopback, for the drills beside this file. Standard library only.

Everything it starts ends with it: nodes are killed when the script exits, and the data is removed.
"""

import atexit
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

REGIONS_MAX = 2_000


def free_ports(count):
    """Ports that nobody listens on, for TCP and UDP."""
    found, held = [], []
    while len(found) < count:
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:
            tcp.close()
            continue
        held += [tcp, udp]
        found.append(port)
    for sock in held:
        sock.close()
    return found


class Origin:
    """An origin of the drill's own, until the script ends. `answer` makes of a path a body and fields, or `None`
    for 404. A body is bytes, or any number of pieces: as long as `Content-Length` says, or chunked."""

    def __init__(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body, fields = answer(self.path) or (None, {"Cache-Control": "no-store"})
                self.send_response(404 if body is None else 200)
                whole = body if isinstance(body, bytes) else b"" if body is None else None
                if whole is not None:
                    fields = {**fields, "Content-Length": str(len(whole))}
                is_chunked = "Content-Length" not in fields
                if is_chunked:
                    fields = {**fields, "Transfer-Encoding": "chunked"}
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [whole] if whole is not None else body:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                if is_chunked:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """Who asks closes when it has enough."""

        server = Server(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Node:
    def __init__(self, mesh, number, pop, ports):
        self.mesh, self.number, self.pop = mesh, number, pop
        self.http_port, self.admin_port, self.mesh_port = ports
        self.http = f"http://127.0.0.1:{self.http_port}"
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.data = os.path.join(mesh.dir, f"node-{number}")
        self.process = None

    def start(self):
        log = open(os.path.join(self.mesh.dir, f"node-{self.number}.log"), "ab")
        config = os.path.join(self.mesh.dir, f"node-{self.number}.toml")
        self.process = subprocess.Popen(
            [self.mesh.binary, "node", "--config", config],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait()

    def is_up(self):
        return self.process is not None and self.process.poll() is None

    def get(self, path, timeout=5.0, admin=True):
        port = self.admin_port if admin else self.http_port
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def json(self, path, timeout=5.0):
        status, body = self.get(path, timeout)
        if status != 200:
            raise OSError(f"{path}: {status} {body[:200]!r}")
        return json.loads(body)

    def metrics(self):
        """Every sample, by its name with labels."""
        _, body = self.get("/metrics")
        samples = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return 0.0


class Mesh:
    """Nodes with a configuration each. A territory may name the label that it needs: `PT:norte@eu`. `founders`
    is how many nodes there are at first."""

    def __init__(self, binary, nodes=3, pops=("mil", "mad", "ber"), territories=("IT:lombardia",),
                 origin=None, extra="", replicas=3, founders=None, labels=lambda _: ("eu",)):
        self.binary = os.path.abspath(binary)
        self.dir = tempfile.mkdtemp(prefix="hexpop-drill-")
        self.nodes, self.extra = [], []
        atexit.register(self.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        certs = os.path.join(self.dir, "certs")
        self.run("certs", "init", "--cluster", "drill", "--dir", certs)
        keys = os.path.join(certs, "session.keys")
        self.run("certs", "session-keys", "--name", "drill", "--file", keys)
        needed = {name.partition("@")[2] for name in territories} - {""}
        for label in needed:
            shutil.copy(keys, f"{keys}.{label}")
            self.run("certs", "session-keys", "--name", label, "--label", label, "--file", f"{keys}.{label}")
        ports = free_ports(3 * nodes + 1)
        self.origin_port = ports.pop()
        if origin is not None:
            self.origin_port = None
        else:
            origin = f"http://127.0.0.1:{self.origin_port}"
        for number in range(1, nodes + 1):
            pop = pops[(number - 1) % len(pops)]
            self.nodes.append(Node(self, number, pop, ports[3 * number - 3:3 * number]))
            self.run("certs", "issue", str(number), "--dir", certs)
        bootstrap = list(range(1, min(nodes, 3) + 1))
        founders = founders or nodes
        for node in self.nodes:
            # Who carries the label holds its key, and nobody else.
            carried = [f"{keys}.{label}" for label in labels(node.number) if label in needed]
            seeds = [f"127.0.0.1:{n.mesh_port}" for n in self.nodes if n is not node][:3]
            text = f"""
[node]
id = {node.number}
pop = "{node.pop}"
labels = {json.dumps(list(labels(node.number)))}
data_dir = "{node.data}"
[mesh]
cluster = "drill"
listen = "127.0.0.1:{node.mesh_port}"
seeds = {json.dumps(seeds)}
bootstrap = {bootstrap}
ca = "{certs}/ca.pem"
cert = "{certs}/node-{node.number}.pem"
key = "{certs}/node-{node.number}.key"
[listen]
http = "127.0.0.1:{node.http_port}"
admin = "127.0.0.1:{node.admin_port}"
[admin]
loopback_role = "chaos"
[chaos]
enabled = true
[data]
session_keys = "{(carried + [keys])[0]}"
[origin]
url = "{origin}"
[placement]
replicas = {replicas}
expect_nodes = {founders}
{extra}
"""
            for territory in territories:
                name, _, label = territory.partition("@")
                text += f'[[territories]]\nterritory = "{name}"\nreplicas = {replicas}\n'
                text += f'labels = ["{label}"]\n' if label else ""
            with open(os.path.join(self.dir, f"node-{node.number}.toml"), "w") as config:
                config.write(text)

    def run(self, *args, check=True):
        return subprocess.run([self.binary, *args], check=check, capture_output=True, text=True)

    def start(self, data=("--listings", "0"), nodes=None):
        """With an origin that has nothing, unless there is another one or `data` names some."""
        if self.origin_port:
            self.spawn("origin", "--listen", f"127.0.0.1:{self.origin_port}", *data)
        for node in self.nodes[:nodes]:
            node.start()
        return self

    def spawn(self, *args, stdout=subprocess.DEVNULL):
        child = subprocess.Popen([self.binary, *args], stdout=stdout, stderr=subprocess.PIPE)
        self.extra.append(child)
        return child

    def live(self):
        return [node for node in self.nodes if node.is_up()]

    def shards(self, node=None):
        """As a node has them; without one, any that answers: the first may have been killed a moment ago."""
        for attempt in range(100):
            live = self.live()
            asked = node or live[attempt % len(live)]
            try:
                return asked.json("/admin/v1/shards", timeout=20.0)["shards"]
            except (OSError, http.client.HTTPException):
                if node or attempt == 99:
                    raise
                time.sleep(0.05)

    def wait(self, what, holds, patience=120.0, pause=0.1):
        begin = time.monotonic()
        last = None
        while time.monotonic() < begin + patience:
            try:
                last = holds()
                if last is True:
                    return time.monotonic() - begin
            except (OSError, http.client.HTTPException) as error:
                last = error
            time.sleep(pause)
        raise SystemExit(f"{what}: not within {patience} s; last: {last}")

    def wait_ready(self, patience=120.0):
        def ready():
            states = [node.get("/readyz?verbose") for node in self.live()]
            return all(status == 200 for status, _ in states) or states
        return self.wait("all nodes are ready", ready, patience)

    def end(self):
        for node in self.nodes:
            if node.is_up():
                node.process.send_signal(signal.SIGCONT)
                node.process.kill()
                node.process.wait()
        for child in self.extra:
            if child.poll() is None:
                child.kill()
                child.wait()
        if os.environ.get("HEXPOP_DRILL_KEEP"):
            print(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class Demo(Mesh):
    """`hexpop demo`: with a stand-in origin and data. A node that is started again is this script's."""

    def __init__(self, binary, nodes=5, listings=20_000, args=()):
        data = [] if listings is None else ["--listings", str(listings)]
        self.binary = os.path.abspath(binary)
        self.dir = tempfile.mkdtemp(prefix="hexpop-drill-")
        self.nodes, self.extra = [], []
        atexit.register(self.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        ready = os.path.join(self.dir, "ready.json")
        demo = self.spawn("demo", "--nodes", str(nodes), *data, "--base-port", "0",
                          "--dir", self.dir, "--ready-file", ready, *args)
        self.wait("the demo is ready", lambda: os.path.exists(ready) or demo.poll() is None, 5.0)
        self.wait("the demo is ready", lambda: os.path.exists(ready) or demo.poll(), 600.0)
        with open(ready) as file:
            found = json.load(file)
        self.origin = found["origin"]["url"]
        for one in found["nodes"]:
            ports = [host_and_port(one[kind])[1] for kind in ("http", "admin")] + [0]
            node = Node(self, one["id"], one["pop"], ports)
            node.data, node.process = one["data_dir"], Adopted(one["pid"])
            self.nodes.append(node)


class Adopted:
    """A process that another one started, as far as drills need `subprocess.Popen`."""

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        try:
            with open(f"/proc/{self.pid}/stat") as stat:
                return 0 if stat.read().rsplit(")", 1)[1].split()[0] in "ZX" else None
        except OSError:
            return 0

    def send_signal(self, how):
        if self.poll() is None:
            os.kill(self.pid, how)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self):
        while self.poll() is None:
            time.sleep(0.01)


def territories(count):
    """So many territories: each has shards of its own, and so has what lies between two of them."""
    assert count <= REGIONS_MAX
    return [f"IT:r{number:04}" for number in range(count)]


def quantiles(values, points=(0.5, 0.9, 0.99, 1.0)):
    """Of a list, as text; times in milliseconds."""
    values = sorted(values)
    if not values:
        return "none"
    at = [values[min(len(values) - 1, int(point * len(values)))] for point in points]
    names = ["max" if point == 1.0 else f"p{point * 100:g}" for point in points]
    return ", ".join(f"{name} {value:.0f}" for name, value in zip(names, at))


def host_and_port(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port
