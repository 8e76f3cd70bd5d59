"""The steps of `make demo`. Standard library only.

Values are compared by their text: numbers digit by digit, keys in their order.
"""

import collections
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

BINARY, SOURCES, SCRATCH = sys.argv[1:4]
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
WRITERS = 8
WRITE_SECONDS = 4.0

differences = []
rows = []


def difference(text):
    differences.append(text)
    if len(differences) <= 10:
        print(f"   DIFFERENCE: {text}", flush=True)


def step(name, started, documents=None, size=None):
    seconds = time.monotonic() - started
    row = f"{name:<44} {seconds:8.2f} s"
    if documents is not None:
        row += f" {documents:9,d} docs {documents / seconds:11,.0f} docs/s"
    if size is not None:
        row += f" {size / seconds / 1e6:8.1f} MB/s"
    rows.append(row)
    print(row, flush=True)


def exact(text):
    """JSON with numbers kept as text and objects as lists of pairs."""
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=Pairs)


class Number(str):
    """The text of a number: never equal to a string of the same characters."""

    def __eq__(self, other):
        return type(other) is Number and str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


class Pairs(tuple):
    def without_id(self):
        return Pairs(pair for pair in self if pair[0] != "_id")

    def id(self):
        return dict(self)["_id"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    def __init__(self, directory):
        self.directory = directory
        self.port, self.admin = free_port(), free_port()
        self.log = open(os.path.join(directory, "node.log"), "ab")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [BINARY, "--data-dir", os.path.join(directory, "data"), "--durability", "full",
             "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin}"],
            stdout=self.log, stderr=self.log)
        while True:
            if self.process.poll() is not None:
                sys.exit(f"the node ended: {self.process.returncode}, see {self.log.name}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.005)
        self.ready_after = time.monotonic() - started

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def call(client, method, target, body=None):
    headers = {"Content-Type": "application/json"} if body is not None else {}
    client.request(method, target, body, headers)
    response = client.getresponse()
    return response.status, response.read()


def run(*arguments):
    done = subprocess.run([BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout.decode()}")
    return done.stdout.decode()


def stream(node, collection):
    """Every document of a collection, one line at a time."""
    client = node.client()
    client.request("GET", f"/collections/{collection}/find_with_stream")
    response = client.getresponse()
    assert response.status == 200, response.status
    for line in response:
        text = line.decode().strip()
        text = text.removeprefix("[").removesuffix("]").removesuffix(",")
        if text:
            yield text


def compare_cities(node, expected, batches=()):
    """`batches` are those in flight at the crash: each is there as a whole or not at all."""
    found = 0
    seen = set()
    size = 0
    left = dict(expected)
    for text in stream(node, "cities"):
        document = exact(text)
        found += 1
        size += len(text.encode())
        key = document.id()
        seen.add(key)
        if key not in left:
            difference(f"city {key} was never sent, was deleted, or came twice")
            continue
        allowed = left.pop(key)
        if document.without_id() not in allowed:
            difference(f"city {key}: {text[:200]}")
    for key, allowed in left.items():
        if None not in allowed:
            difference(f"city {key} is gone")
    for batch in batches:
        there = len(seen.intersection(batch))
        if there not in (0, len(batch)):
            difference(f"a batch is there in part: {there} of {len(batch)} documents")
    return found, size


def compare_movies(node, movies):
    expected = collections.Counter(movies)
    found = collections.Counter(exact(text).without_id() for text in stream(node, "movies"))
    for movie in (expected - found) | (found - expected):
        difference(f"movie: {str(movie)[:200]}")
    return sum(found.values())


def finds(node, cities):
    """Answers of the index against a count over the file."""
    client = node.client()
    asked = 0
    by = {"countrycode": collections.defaultdict(set), "timezone": collections.defaultdict(set)}
    for key, city in cities.items():
        for field, ids in by.items():
            ids[dict(city)[field]].add(key)
    chosen = random.Random(SEED)
    for field, ids in by.items():
        for value in chosen.sample(sorted(ids), 60):
            query = urllib.parse.urlencode({field: value, "limit": 1000})
            seen, after = set(), ""
            while True:
                status, body = call(client, "GET", f"/collections/cities/find?{query}{after}")
                page = json.loads(body)
                asked += 1
                if status != 200:
                    difference(f"find {query}: {status} {body[:200]}")
                    break
                if "total" in page and page["total"] != len(ids[value]):
                    difference(f"find {query}: total {page['total']}, not {len(ids[value])}")
                seen |= {document["_id"] for document in page["documents"]}
                if not page["has_next"]:
                    break
                after = "&after=" + urllib.parse.quote(page["next_cursor"], safe="")
            if seen != ids[value]:
                difference(f"find {query}: {len(seen)} ids, not {len(ids[value])}")
    return asked


def write_until_killed(node, number, keys, expected, acknowledged, batches, stop):
    """One writer with cities of its own: `expected` holds every value that may be there."""
    chosen = random.Random(SEED * 100 + number)
    client = node.client()
    count = 0
    try:
        while not stop.is_set():
            count += 1
            kind = chosen.random()
            picked = chosen.sample(keys, 3)
            key = picked[0]
            before = expected[key]
            if kind < 0.35:
                new = f"demo-{number}-{count}"
                after = [exact(json.dumps({"visit": count, "by": number}))]
                expected[new] = [None, *after]
                body = json.dumps({"_id": new, "visit": count, "by": number})
                status, answer = call(client, "POST", "/collections/cities", body)
                assert status == 201, (status, answer)
                expected[new] = after
            elif kind < 0.75:
                if None in before:
                    continue
                after = [Pairs((*(p for p in before[0] if p[0] != "visited"), ("visited", Number(count))))]
                if any(p[0] == "visited" for p in before[0]):
                    after = [Pairs((k, Number(count) if k == "visited" else v) for k, v in before[0])]
                expected[key] = [*before, *after]
                status, answer = call(client, "PATCH", f"/collections/cities/documents/{key}",
                                      json.dumps({"visited": count}))
                assert status == 200, (status, answer)
                expected[key] = after
            elif kind < 0.85:
                if None in before:
                    continue
                expected[key] = [*before, None]
                status, answer = call(client, "DELETE", f"/collections/cities/documents/{key}")
                assert status == 204, (status, answer)
                expected[key] = [None]
            else:
                new = [f"demo-{number}-{count}-{i}" for i in range(20)]
                values = {k: exact(json.dumps({"batch": count})) for k in new}
                for k in new:
                    expected[k] = [None, values[k]]
                batches[number] = new
                body = json.dumps({"documents": [{"_id": k, "batch": count} for k in new]})
                status, answer = call(client, "POST", "/collections/cities/batch", body)
                assert status == 201, (status, answer)
                for k in new:
                    expected[k] = [values[k]]
                del batches[number]
            acknowledged[number] += 1
    except (OSError, http.client.HTTPException):
        pass  # killed: what was in flight has two allowed values


def main():
    directory = tempfile.mkdtemp(prefix="godb-demo-", dir=SCRATCH)
    print(f"data in {directory}, seed {SEED}\n")
    with open(os.path.join(SOURCES, "cities500.json"), encoding="utf-8") as file:
        cities = {key: city for key, city in exact(file.read())}
    with open(os.path.join(SOURCES, "movies.json"), encoding="utf-8") as file:
        movies = exact(file.read())
    size = os.path.getsize(os.path.join(SOURCES, "cities500.json"))

    node = Node(directory)
    started = time.monotonic()
    run("import", os.path.join(SOURCES, "cities500.json"), "--format", "map",
        "--collection", "cities", "--url", node.url())
    step("import cities500.json, durability full", started, len(cities), size)
    started = time.monotonic()
    run("import", os.path.join(SOURCES, "movies.json"), "--collection", "movies", "--url", node.url())
    step("import movies.json", started, len(movies))
    for field in ("countrycode", "timezone"):
        started = time.monotonic()
        status, body = call(node.client(), "POST", f"/collections/cities/indexes/{field}")
        assert status == 201, (status, body)
        step(f"index on {field}", started, len(cities))
    started = time.monotonic()
    asked = finds(node, cities)
    step(f"{asked} finds by index, compared", started)
    started = time.monotonic()
    found, streamed = compare_cities(node, {key: [city] for key, city in cities.items()})
    step("stream the cities back and compare", started, found, streamed)
    started = time.monotonic()
    step("stream the movies back and compare", started, compare_movies(node, movies))

    expected = {key: [city] for key, city in cities.items()}
    acknowledged = [0] * WRITERS
    batches = {}
    stop = threading.Event()
    keys = sorted(cities)
    started = time.monotonic()
    writers = [threading.Thread(target=write_until_killed,
                                args=(node, n, keys[n::WRITERS], expected, acknowledged, batches, stop))
               for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(WRITE_SECONDS)
    node.kill9()
    stop.set()
    for writer in writers:
        writer.join()
    step("writes by 8 clients until kill -9", started, sum(acknowledged))

    started = time.monotonic()
    node = Node(directory)
    step("restart after kill -9, until ready", started)
    unknown = sum(1 for allowed in expected.values() if len(allowed) > 1)
    started = time.monotonic()
    found, streamed = compare_cities(node, expected, batches.values())
    step(f"compare all again ({unknown} documents in flight)", started, found, streamed)
    started = time.monotonic()
    step("compare the movies again", started, compare_movies(node, movies))
    started = time.monotonic()
    code = node.stop()
    step("clean stop", started)
    if code != 0:
        difference(f"SIGTERM: exit {code}")
    started = time.monotonic()
    node = Node(directory)
    step("restart after a clean stop, until ready", started)
    node.stop()
    started = time.monotonic()
    run("verify", os.path.join(directory, "data"))
    step("godb verify", started)

    used = sum(os.path.getsize(os.path.join(path, name))
               for path, _, names in os.walk(os.path.join(directory, "data")) for name in names)
    print(f"\n{found:,} documents, {used / 1e6:.1f} MB on disk for {streamed / 1e6:.1f} MB of JSON")
    print(f"{len(differences)} differences")
    if differences:
        sys.exit(1)
    subprocess.run(["rm", "-rf", directory], check=True)


main()
