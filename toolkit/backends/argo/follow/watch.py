"""One kind of Kubernetes objects as a stream of events in a queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from toolkit.backends.argo.cluster import ApiError, Cluster, KubernetesObject, Unreachable

_WATCH_SECONDS = 240.0


class ObjectEvent:
    """A change of one object: ``type`` is ADDED, MODIFIED or DELETED."""

    def __init__(self, kind: str, type: str, object: KubernetesObject) -> None:
        self.kind = kind
        self.type = type
        self.object = object


class NoAnswer:
    """The API does not answer; ``sentence`` says how."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


class ObjectStream:
    """Puts the events of one kind of objects into a queue: a list, then a watch from there, again and again.

    Args:
        selector: ``labels`` or ``fields``, as :meth:`Cluster.list` takes them.
        messages: gets an :class:`ObjectEvent` for each change, and a :class:`NoAnswer` for each failure to ask.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        kind: str,
        selector: dict[str, str],
        messages: queue.SimpleQueue[Any],
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._group = group
        self._kind = kind
        self._labels = selector.get("labels", "")
        self._fields = selector.get("fields", "")
        self._messages = messages
        self._stop = stop
        self._known: dict[str, KubernetesObject] = {}

    def run(self) -> None:
        """Watches until it is asked to stop."""
        wait = 0.2
        while not self._stop.is_set():
            try:
                for event in self._list_and_watch():
                    self._messages.put(event)
                    wait = 0.2
                    if self._stop.is_set():
                        return
            except (ApiError, Unreachable) as error:
                version_is_too_old = isinstance(error, ApiError) and error.status == 410
                if not version_is_too_old:
                    self._messages.put(NoAnswer(str(error)))
                self._stop.wait(wait)
                wait = min(10.0, wait * 2)
            except Exception as error:
                # Whatever it is, the follower must not wait for events for ever.
                self._messages.put(NoAnswer(f"watching the {self._kind} failed: {type(error).__name__}: {error}"))
                self._stop.wait(wait)
                wait = min(10.0, wait * 2)

    def _list_and_watch(self) -> Iterator[ObjectEvent]:
        listed = self._cluster.list(self._group, self._kind, self._labels, self._fields)
        objects = {item["metadata"]["name"]: item for item in listed["items"]}
        for name in set(self._known) - set(objects):
            # It was deleted while nobody watched.
            yield ObjectEvent(self._kind, "DELETED", self._known.pop(name))
        for item in objects.values():
            yield ObjectEvent(self._kind, "ADDED", item)
        self._known = objects
        version = listed["metadata"]["resourceVersion"]
        while not self._stop.is_set():
            events = self._cluster.watch(
                self._group, self._kind, version, self._labels, self._fields, seconds=_WATCH_SECONDS
            )
            for event in events:
                version = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                name = event.object["metadata"]["name"]
                if event.type == "DELETED":
                    self._known.pop(name, None)
                else:
                    self._known[name] = event.object
                yield ObjectEvent(self._kind, event.type, event.object)
