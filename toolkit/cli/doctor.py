"""``toolkit doctor``: what an environment lacks for a run, and the command that fixes it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from toolkit import errors
from toolkit.backends.argo.preflight import Finding
from toolkit.cli.arguments import pipeline_of, project_at
from toolkit.cli.output import note, print_file, print_json
from toolkit.config.environment import choose_environment
from toolkit.config.located import shown
from toolkit.doctor.cluster import check_cluster
from toolkit.doctor.machine import check_machine
from toolkit.doctor.manifests import manifests
from toolkit.run.reference import PipelineReference


def doctor(options: argparse.Namespace) -> int:
    """Checks the environment; returns 0 when nothing prevents a run."""
    if options.manifests is not None:
        print_file(manifests(options.manifests))
        return errors.SUCCEEDED
    reference: PipelineReference | None = None
    if options.pipeline is not None:
        project, reference = pipeline_of(options)
    else:
        project = project_at(options.config, Path.cwd())
    environment, reason = choose_environment(options.env, project.config)
    note(f"environment: {environment} ({reason})")
    source = shown(project.config.source) if project.config.source else "none, so every setting has its default"
    findings = [Finding("ok", f"configuration: {source}")]
    place: dict[str, str | None] = {"context": None, "namespace": None}
    if environment == "argo":
        findings += check_cluster(project, reference, options.context, options.namespace, place, note)
    else:
        findings += check_machine(project, reference, environment, note)
    errors_found = sum(finding.level == "error" for finding in findings)
    if options.json:
        rows = [{"level": finding.level, "what": finding.what, "remedy": finding.remedy} for finding in findings]
        print_json({"environment": environment, **place, "errors": errors_found, "findings": rows})
    else:
        _print(findings)
    return errors.INFRASTRUCTURE if errors_found else errors.SUCCEEDED


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{finding.level:<8} {finding.what}")
        if finding.remedy:
            print(f"{'':<8} {finding.remedy}")
