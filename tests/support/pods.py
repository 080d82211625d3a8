"""Counts the pods that tests make on their cluster, because pods are what those tests cost."""

from __future__ import annotations

import re

REQUESTS = re.compile(r"^apiserver_request_total\{(.*)\} ([\d.e+]+)$", re.MULTILINE)
OF_CREATED_PODS = {'code="201"', 'dry_run=""', 'resource="pods"', 'subresource=""', 'verb="POST"'}


def made(metrics: str) -> int:
    """How many pods were created on a cluster, by the metrics of its API server. Requests that failed do not count."""
    return sum(
        int(float(count)) for labels, count in REQUESTS.findall(metrics) if set(labels.split(",")) >= OF_CREATED_PODS
    )
