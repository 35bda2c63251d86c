"""Tries every verb on every kind with the typed Python client.

usage: matrix.py TASKS.json     prints a line of JSON a try: {"kind", "verb", "error"}
"""

import json
import re
import sys

from kubernetes import client, config, watch

PATCHES = {
    "json": ("application/json-patch+json", [{"op": "add", "path": "/metadata/labels/json", "value": "yes"}]),
    "merge": ("application/merge-patch+json", {"metadata": {"labels": {"merge": "yes"}}}),
    "strategic": ("application/strategic-merge-patch+json", {"metadata": {"labels": {"strategic": "yes"}}}),
}
APPLY = "application/apply-patch+yaml"


def snake(kind):
    """The client's name for a kind: IPAddress is ip_address."""
    kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", kind).lower()


class Kind:
    """The methods of one kind."""

    def __init__(self, task):
        self.task = task
        group = task["group"].removesuffix(".k8s.io") or "core"
        words = "".join(word.capitalize() for word in group.split(".") + [task["version"]])
        self.api = getattr(client, words + "Api")()
        self.noun = ("namespaced_" if task["namespaced"] else "") + snake(task["kind"])

    def call(self, verb, *arguments, suffix="", **named):
        """create_namespaced_pod(…)"""
        return getattr(self.api, f"{verb}_{self.noun}{suffix}")(*arguments, **named)

    def place(self, item):
        return [item["metadata"]["namespace"]] if self.task["namespaced"] else []

    def named(self, item):
        return [item["metadata"]["name"]] + self.place(item)


def plain(answer):
    return client.ApiClient().sanitize_for_serialization(answer)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def has(value, part):
    if isinstance(part, dict):
        return isinstance(value, dict) and all(has(value.get(key), item) for key, item in part.items())
    if isinstance(part, list):
        return isinstance(value, list) and all(any(has(one, item) for one in value) for item in part)
    return value == part or str(value).replace("+00:00", "Z") == str(part)


def attempts(task):
    """Pairs of a verb and what tries it, in the order in which they build on each other."""
    kind = Kind(task)
    if "question" in task:
        body = task["question"]

        def ask():
            check(kind.call("create", *kind.place(body), body=body).status is not None, "no answer")

        yield "create", ask
        return
    if "binding" in task:
        pod, binding = task["pod"], task["binding"]
        namespace = pod["metadata"]["namespace"]

        def bind():
            kind.api.create_namespaced_pod(namespace, pod)
            # The answer is a Status, whatever upstream's document says.
            kind.api.create_namespaced_binding(namespace, binding, _preload_content=False)
            node = kind.api.read_namespaced_pod(pod["metadata"]["name"], namespace).spec.node_name
            check(node == binding["target"]["name"], f"it is on {node}")

        yield "create", bind
        return
    if "object" not in task:
        listed = kind.call("list").items
        yield "list", lambda: check(listed, "an empty list")
        yield "get", lambda: kind.call("read", listed[0].metadata.name)
        return

    item, second = task["object"], task["second"]
    selector = f"matrix={task['tag']},set=a"
    yield "create", lambda: kind.call("create", *kind.place(item), body=item)

    def patch(name):
        media, body = PATCHES[name]
        answer = kind.call("patch", *kind.named(item), body, _content_type=media)
        check(answer.metadata.labels.get(name) == "yes", "the answer lacks the label")

    for name in PATCHES:
        yield name, lambda name=name: patch(name)
    yield "get", lambda: check(kind.call("read", *kind.named(item)).metadata.labels["merge"] == "yes", "no label")

    def update():
        body = plain(kind.call("read", *kind.named(item)))
        body["metadata"]["labels"]["replaced"] = "yes"
        del body["metadata"]["resourceVersion"]
        # A typed answer has neither.
        body["apiVersion"], body["kind"] = item["apiVersion"], item["kind"]
        # Some kinds are written only over the version that was read, which nobody else may have changed since.
        for _ in range(5):
            body["metadata"]["resourceVersion"] = kind.call("read", *kind.named(item)).metadata.resource_version
            try:
                return kind.call("replace", *kind.named(item), body)
            except client.ApiException as error:
                if error.status != 409:
                    raise
                last = error
        raise last

    yield "update", update

    def listed():
        items = kind.call("list", *kind.place(item), label_selector=selector).items
        check([one.metadata.name for one in items] == [item["metadata"]["name"]], f"{len(items)} items")

    yield "list", listed

    def watched():
        before = kind.call("list", *kind.place(item), label_selector=selector).metadata.resource_version
        label = {"metadata": {"labels": {"watched": "yes"}}}
        kind.call("patch", *kind.named(item), label, _content_type=PATCHES["merge"][0])
        method = getattr(kind.api, f"list_{kind.noun}")
        stream = watch.Watch().stream(
            method, *kind.place(item), label_selector=selector, resource_version=before, timeout_seconds=30
        )
        for event in stream:
            if event["type"] == "MODIFIED" and event["object"].metadata.labels.get("watched") == "yes":
                return
        raise AssertionError("no event")

    yield "watch", watched

    def apply(body, **options):
        return kind.call("patch", *kind.named(body), body, _content_type=APPLY, field_manager="matrix", **options)

    yield "apply", lambda: apply(item, force=True)

    def again():
        # Controllers may write in between, but not each time.
        for _ in range(5):
            first = apply(item, force=True).metadata.resource_version
            if apply(item, force=True).metadata.resource_version == first:
                return
        raise AssertionError("applying the same writes it again")

    yield "apply", again
    yield "ssa", lambda: apply(second)

    def status():
        wanted = task["status"]
        answer = kind.call("patch", *kind.named(item), wanted, suffix="_status", _content_type=PATCHES["merge"][0])
        check(has(plain(answer)["status"], wanted["status"]), f"got {plain(answer)['status']}")
        kind.call("read", *kind.named(item), suffix="_status")

    yield "status", status
    yield "delete", lambda: kind.call("delete", *kind.named(item))

    def collection():
        kind.call("delete_collection", *kind.place(second), label_selector=f"matrix={task['tag']},set=b")
        left = kind.call("list", *kind.place(second), label_selector=f"matrix={task['tag']},set=b").items
        check(all(one.metadata.deletion_timestamp for one in left), "it is still there")

    yield "collection", collection


def main():
    config.load_kube_config()
    with open(sys.argv[1], encoding="utf-8") as file:
        tasks = json.load(file)
    for task in tasks:
        try:
            for verb, attempt in attempts(task):
                if verb not in task["verbs"]:
                    continue
                error = None
                try:
                    attempt()
                except Exception as failure:  # what went wrong is the result
                    error = f"{type(failure).__name__}: {failure}"
                    body = getattr(failure, "body", None)
                    if body:
                        error = f"{failure.status}: {json.loads(body).get('message')}"
                print(json.dumps({"kind": task["label"], "verb": verb, "error": error}), flush=True)
        except AttributeError as failure:
            for verb in task["verbs"]:
                print(json.dumps({"kind": task["label"], "verb": verb, "error": f"the client has no such kind: {failure}"}))


main()
