"""The steps of `make cluster-demo`, inside of the cluster's namespaces. Standard library only."""

import http.client
import json
import subprocess
import sys
import threading
import time

NAMESPACE = "godb-demo"
VERSION = subprocess.run(
    ["sed", "-n", 's/^version = "\\(.*\\)"/\\1/p', "Cargo.toml"], capture_output=True, text=True, check=True
).stdout.split()[0]
HELM_VALUES = [
    *("--set", "image.repository=localhost/godb-operator", "--set", "image.tag=dev"),
    *("--set", "node.image.repository=localhost/godb", "--set", f"watch.namespace={NAMESPACE}"),
]
WRITERS = 4
PAUSE_SECONDS = 0.004
started = time.monotonic()


def run(*command, stdin=None, check=True):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def kubectl(*arguments, stdin=None, check=True):
    return run("kubectl", "--namespace", NAMESPACE, *arguments, stdin=stdin, check=check)


def step(what, *actions):
    """Runs the actions, and prints how long they took together."""
    began = time.monotonic()
    results = [action() for action in actions]
    print(f"{time.monotonic() - began:7.1f} s  {what}", flush=True)
    return results[-1]


def until(what, look, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"not within {seconds} s: {what}\n" + kubectl("get", "godbinstances,pods,events", check=False))


def instance():
    return json.loads(kubectl("get", "godbinstance", "people", "--output", "json"))


def condition(kind, status):
    """Whether a condition of the present spec has this status."""
    found = instance()
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] == kind:
            return one["status"] == status and one.get("observedGeneration") == found["metadata"]["generation"]
    return False


def is_ready():
    until("the instance is Ready", lambda: condition("Ready", "True"))


def patch(spec):
    kubectl("patch", "godbinstance", "people", "--type=merge", "--patch", json.dumps({"spec": spec}))


def service_answers():
    """Ready is what the pod says; the Service learns of it within a second."""
    address = kubectl("get", "service", "people", "--output", "jsonpath={.spec.clusterIP}")

    def look():
        try:
            connection = http.client.HTTPConnection(address, 8080, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    until("the Service answers", look)


def pod():
    text = kubectl("get", "pod", "people-0", "--output", "json", "--ignore-not-found")
    return json.loads(text) if text else None


def life():
    found = pod()
    if not found or not found["status"].get("containerStatuses"):
        return None
    return found["metadata"]["uid"], found["status"]["containerStatuses"][0]["restartCount"]


def another_life_than(before):
    def look():
        found = pod()
        ready = found and any(
            one["type"] == "Ready" and one["status"] == "True" for one in found["status"].get("conditions", [])
        )
        return ready and life() != before

    until("another life of the pod", look)


def kill9():
    container = pod()["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    for line in run("ctr", "tasks", "ls").splitlines():
        if line.startswith(container):
            run("kill", "-9", line.split()[1])


def client_pod(name, *arguments, stdin=""):
    """The image has no shell, but it imports and exports."""
    container = {
        **{"name": name, "image": "localhost/godb:dev", "args": arguments, "stdin": True, "stdinOnce": True},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    overrides = json.dumps({"spec": {"securityContext": security, "containers": [container]}})
    return kubectl(
        *("run", name, "--rm", "--stdin", "--quiet", "--restart=Never", "--image=localhost/godb:dev"),
        *("--overrides", overrides),
        stdin=stdin,
    )


class Writer(threading.Thread):
    """Makes one document after the other, and goes on after each failure. Knows what was acknowledged."""

    def __init__(self, number, address):
        super().__init__(daemon=True)
        self.number, self.address = number, address
        self.acknowledged, self.unknown, self.failures = set(), set(), 0
        self.outage = 0.0
        self.stop = False

    def run(self):
        connection, serial, failing_since = None, 0, None
        while not self.stop:
            serial += 1
            identity = f"w{self.number}-{serial:07}"
            body = json.dumps({"_id": identity, "n": serial, "text": "x" * 200})
            try:
                connection = connection or http.client.HTTPConnection(self.address, 8080, timeout=10)
                connection.request("POST", "/collections/load", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 201:
                    self.acknowledged.add(identity)
                    if failing_since:
                        self.outage = max(self.outage, time.monotonic() - failing_since)
                        failing_since = None
                    time.sleep(PAUSE_SECONDS)
                    continue
                if answer.status >= 500:
                    self.unknown.add(identity)
            except (OSError, http.client.HTTPException):
                self.unknown.add(identity)
                connection = None
            self.failures += 1
            failing_since = failing_since or time.monotonic()
            time.sleep(0.02)


def compare(address, writers):
    connection = http.client.HTTPConnection(address, 8080, timeout=60)
    connection.request("GET", "/collections/load/find_with_stream")
    found = {one["_id"]: one["n"] for one in json.loads(connection.getresponse().read())}
    acknowledged = set().union(*(writer.acknowledged for writer in writers))
    sent = acknowledged.union(*(writer.unknown for writer in writers))
    lost = sorted(acknowledged - found.keys())
    strange = sorted(found.keys() - sent)
    wrong = [identity for identity, value in found.items() if int(identity.split("-")[1]) != value]
    print(f"\n{len(acknowledged):,} acknowledged documents: {len(lost)} lost, {len(wrong)} wrong;")
    print(f"{len(found) - len(acknowledged)} more are there whose answer was lost; {len(strange)} never sent")
    return not lost and not strange and not wrong and len(acknowledged) > 100


def remove_leftovers():
    run("helm", "uninstall", "godb-demo", "--namespace", NAMESPACE, "--ignore-not-found", "--wait", check=False)
    run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=120s")


def main():
    remove_leftovers()
    kinds = ["--take-ownership"]
    install = ["helm", "install", "godb-demo", "charts/godb", "--namespace", NAMESPACE, "--create-namespace"]
    step("helm install", lambda: run(*install, "--wait", *kinds, *HELM_VALUES))
    spec = {
        "version": VERSION,
        "image": "localhost/godb:dev",
        "engine": {"durability": "os"},
        "storage": {"size": "128Mi"},
        "pod": {"labels": {"drain": "demo"}},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    }
    manifest = {"apiVersion": "godb.dev/v1alpha1", "kind": "GoDbInstance", "metadata": {"name": "people"}, "spec": spec}
    step(
        "kubectl apply: a GoDbInstance, until it is Ready",
        lambda: kubectl("apply", "--filename", "-", stdin=json.dumps(manifest)),
        is_ready,
        service_answers,
    )
    url = ("--collection", "people", "--url", "http://people:8080")
    step(
        "the first document, from another pod",
        lambda: client_pod("writer", "import", "-", "--id-prefix", "first", *url, stdin='{"_id":"ada","name":"Ada","born":1815}\n'),
    )
    read = step("read back, from a third pod", lambda: client_pod("reader", "export", *url))
    if '{"_id":"ada","name":"Ada","born":1815}' not in read:
        sys.exit(f"not what was written: {read}")

    before = life()
    tuned = step(
        "durability os -> full by kubectl patch, until ConfigApplied",
        lambda: patch({"engine": {"durability": "full"}}),
        lambda: until("ConfigApplied", lambda: condition("ConfigApplied", "True")),
    )
    address = json.loads(kubectl("get", "service", "people", "--output", "json"))["spec"]["clusterIP"]
    writers = [Writer(number, address) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(1)
    print(f"           {WRITERS} writers begin; every acknowledgement is recorded")
    step(
        "checkpoint interval 30s -> 5s, until ConfigApplied",
        lambda: patch({"engine": {"checkpointInterval": "5s"}}),
        lambda: until("ConfigApplied", lambda: condition("ConfigApplied", "True")),
    )
    if not tuned or life() != before or any(writer.failures for writer in writers):
        sys.exit("a setting restarted the node, or a request failed")

    for what, action in [
        ("kill -9 of the node's process, until Ready", kill9),
        ("kubectl delete pod, until Ready", lambda: kubectl("delete", "pod", "people-0", "--wait=false")),
        (
            "kubectl drain and uncordon, until Ready",
            lambda: (
                run("kubectl", "drain", "node1", "--pod-selector=drain=demo",
                    "--delete-emptydir-data", "--timeout=90s"),
                run("kubectl", "uncordon", "node1"),
            ),
        ),
    ]:
        before = life()
        step(what, action, lambda before=before: another_life_than(before))
        time.sleep(1)

    before, failures = life(), sum(writer.failures for writer in writers)
    step(
        "volume 128Mi -> 256Mi, until the file system has it",
        lambda: patch({"storage": {"size": "256Mi"}}),
        lambda: until(
            "the claim has 256Mi",
            lambda: kubectl("get", "pvc", "data-people-0", "--output", "jsonpath={.status.capacity.storage}") == "256Mi",
        ),
        is_ready,
    )
    if life() != before or sum(writer.failures for writer in writers) != failures:
        sys.exit("growing restarted the node, or a request failed")
    run("ctr", "images", "tag", "--force", "localhost/godb:dev", "localhost/godb:next")
    step(
        "another node image, until Ready: one orderly restart",
        lambda: patch({"image": "localhost/godb:next"}),
        lambda: another_life_than(before),
        is_ready,
    )
    step(
        "helm upgrade of the operator, while the node goes on",
        lambda: run("helm", "upgrade", "godb-demo", "charts/godb", "--namespace", NAMESPACE, "--wait",
                    *HELM_VALUES, "--set", "log.level=debug"),
    )
    time.sleep(1)
    for writer in writers:
        writer.stop = True
    for writer in writers:
        writer.join()
    good = compare(address, writers)
    print(f"the longest that a writer stood still: {max(writer.outage for writer in writers):.1f} s\n")

    step("kubectl delete godbinstance", lambda: kubectl("delete", "godbinstance", "people", "--wait", "--timeout=60s"))
    if not kubectl("get", "pvc", "data-people-0", "--output", "name"):
        sys.exit("the volume is gone")
    print("           its volume is kept, as deletionPolicy Retain says")
    step(
        "helm uninstall, and the namespace with the volume",
        remove_leftovers,
    )
    print(f"{time.monotonic() - started:7.1f} s  in all")
    sys.exit(0 if good else "documents differ")


main()
