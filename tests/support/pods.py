"""How many pods the tests made on their cluster: a pod is what a test on a cluster costs."""

from __future__ import annotations

import re

MADE = re.compile(r"^apiserver_request_total\{(.*)\} ([\d.e+]+)$", re.MULTILINE)
WANTED = {'code="201"', 'dry_run=""', 'resource="pods"', 'subresource=""', 'verb="POST"'}


def made(metrics: str) -> int:
    """Pods that were ever made on a cluster, by the metrics of its API server; what was only tried does not count."""
    return sum(int(float(count)) for labels, count in MADE.findall(metrics) if set(labels.split(",")) >= WANTED)
