"""One kind of Kubernetes objects as a stream of events in a queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from toolkit.backends.argo.cluster import ApiError, Cluster, KubernetesObject, Unreachable

_WATCH_SECONDS = 240.0


class ObjectEvent:
    """Something that a watch saw."""

    def __init__(self, kind: str, type: str, object: KubernetesObject) -> None:
        self.kind = kind
        self.type = type
        self.object = object


class NoAnswer:
    """The API does not answer."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


class ObjectStream:
    """One kind of objects as news in a queue: a list, then a watch from there, again and again."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        kind: str,
        selector: dict[str, Any],
        messages: queue.SimpleQueue[Any],
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._group = group
        self._kind = kind
        self._selector = selector
        self._messages = messages
        self._stop = stop
        self._known: dict[str, KubernetesObject] = {}

    def run(self) -> None:
        wait = 0.2
        while not self._stop.is_set():
            try:
                for news in self._round():
                    self._messages.put(news)
                    wait = 0.2
                    if self._stop.is_set():
                        return
            except (ApiError, Unreachable) as error:
                gone = isinstance(error, ApiError) and error.status == 410
                if not gone:
                    self._messages.put(NoAnswer(str(error)))
                self._stop.wait(wait)
                wait = min(10.0, wait * 2)
            except Exception as error:
                # Whatever it is, the follower must not wait for news for ever.
                self._messages.put(NoAnswer(f"watching the {self._kind} failed: {type(error).__name__}: {error}"))
                self._stop.wait(wait)
                wait = min(10.0, wait * 2)

    def _round(self) -> Iterator[ObjectEvent]:
        listed = self._cluster.list(self._group, self._kind, **self._selector)
        found = {one["metadata"]["name"]: one for one in listed["items"]}
        for name in set(self._known) - set(found):
            # It went while nobody watched.
            yield ObjectEvent(self._kind, "DELETED", self._known.pop(name))
        for one in found.values():
            yield ObjectEvent(self._kind, "ADDED", one)
        self._known = found
        version = listed["metadata"]["resourceVersion"]
        while not self._stop.is_set():
            watched = self._cluster.watch(self._group, self._kind, version, **self._selector, seconds=_WATCH_SECONDS)
            for event in watched:
                version = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                name = event.object["metadata"]["name"]
                if event.type == "DELETED":
                    self._known.pop(name, None)
                else:
                    self._known[name] = event.object
                yield ObjectEvent(self._kind, event.type, event.object)
