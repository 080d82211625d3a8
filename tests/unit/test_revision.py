"""The commit that a project is of, as Git tells it of real repositories, hostile ones as well."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.builds import write_project
from tests.support.local_project import LocalProject
from toolkit.build import revision
from toolkit.build.revision import Revision, ask_revision, read_revision, without_credentials

ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "GITHUB_", "CI_"))},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
_WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
_WHEN = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05+0200", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+0200"}
TIME = "2026-01-02T01:04:05Z"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**ENVIRON, **_WHO, **_WHEN},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one commit, and a project in its folder ``app``."""
    folder = write_project(tmp_path / "repository", {"app/main.py": "1\n", "other.txt": "1\n", ".gitignore": "*.log\n"})
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder / "app"


def read(root: Path, **environ: str) -> Revision | None:
    return read_revision(root, lambda _: True, {**ENVIRON, **environ})


def test_a_commit_its_time_and_its_repository(root: Path) -> None:
    commit = git(root, "rev-parse", "HEAD")
    assert read(root) == Revision(commit, TIME, False, "")
    git(root, "remote", "add", "fork", "https://me:secret@example.org/me/it.git?token=secret")
    assert read(root) == Revision(commit, TIME, False, "https://example.org/me/it.git")
    git(root, "remote", "add", "origin", "git@example.org:team/it.git")
    assert read(root) == Revision(commit, TIME, False, "ssh://example.org/team/it.git")
    # A hook of Git's, which calls us, says another repository in its variables.
    assert read(root, GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere") == read(root)
    worktree = root.parent.parent / "worktree"
    git(root, "worktree", "add", "-q", str(worktree))
    assert read(worktree / "app") == read(root)


def test_what_is_uncommitted_is_a_file_of_code(root: Path) -> None:
    def uncommitted(is_code: Callable[[str], bool] = lambda _: True) -> bool | None:
        found = read_revision(root, is_code, ENVIRON)
        assert found is not None
        return found.uncommitted

    # What lies elsewhere in the repository, and what Git ignores, are no changes of the project;
    (root.parent / "other.txt").write_text("2\n")
    (root / "a.log").write_text("")
    assert uncommitted() is False
    # neither is what the image leaves out. A new file is one, and a removed one.
    (root / "notes").mkdir()
    (root / "notes" / "a b\n.md").write_text("")
    assert uncommitted(lambda path: path != "notes/a b\n.md") is False
    assert uncommitted() is True
    (root / "notes" / "a b\n.md").unlink()
    assert uncommitted() is False
    (root / "main.py").unlink()
    assert uncommitted() is True
    assert uncommitted(lambda path: path != "main.py") is False
    (root / "main.py").write_text("1\n")
    assert uncommitted() is False  # it is as it was, whatever its time
    git(root, "mv", "main.py", "moved.py")
    assert uncommitted() is True


def test_where_no_commit_says_anything_there_is_no_revision(tmp_path: Path, root: Path) -> None:
    assert read(tmp_path) is None
    # A new project in a repository that does not have it,
    new = write_project(root.parent / "new", {"main.py": ""})
    assert read(new) is None
    # a repository without a commit, a broken one, a bare folder, and no Git at all.
    empty = write_project(tmp_path / "empty", {"main.py": ""})
    git(empty, "init", "-q")
    assert read(empty) is None
    assert read(root, PATH="/nowhere") is None
    (root.parent / ".git" / "HEAD").write_text("nonsense")
    assert read(root) is None


def test_a_repository_starts_nothing(root: Path, tmp_path: Path) -> None:
    # Given a repository whose own configuration names commands wherever Git has a place for one,
    traps = tmp_path / "traps"
    traps.mkdir()
    command = tmp_path / "command"
    command.write_text(f'#!/bin/sh\ntouch "{traps}/$(basename "$0")-$$"\ncat\n')
    command.chmod(0o755)
    write_project(root.parent, {".gitattributes": "*.py filter=evil\n*.txt filter=deep\n*.md filter=tree\n"})
    included = tmp_path / "included"
    included.write_text(f'[filter "deep"]\n\tclean = {command}\n\tprocess = {command}\n\trequired\n')
    git(root, "config", "extensions.worktreeConfig", "true")
    git(root, "config", "--worktree", "filter.tree.clean", str(command))
    write_project(root.parent, {"app/a.md": "1\n", "app/a.txt": "1\n"})
    subprocess.run(
        ["git", "-C", str(root), "add", "-A"], env={**ENVIRON, **_WHO, "PATH": os.environ["PATH"]}, check=True
    )
    git(root, "commit", "-qm", "two")
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "core.pager", "core.sshCommand", "core.editor",
                "diff.external", "gpg.program", "core.alternateRefsCommand", "credential.helper", "alias.status"):  # fmt: skip
        git(root, "config", key, str(command))
    git(root, "config", "log.showSignature", "true")
    git(root, "config", "include.path", str(included))
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout", "pre-commit"):
        hooked = root.parent / ".git" / "hooks" / hook
        hooked.parent.mkdir(exist_ok=True)
        hooked.write_text(command.read_text())
        hooked.chmod(0o755)
    for path in ("main.py", "a.txt", "a.md"):
        (root / path).write_text("2\n")  # of the same size, so that its content is looked at
    for trap in traps.iterdir():
        trap.unlink()
    # when it is read, then none has been started, and what there is to say is said.
    found = read(root)
    assert list(traps.iterdir()) == []
    assert found is not None and found.uncommitted is True
    # A name that Git can't be told of is left, and what it is for is not known.
    git(root, "config", "filter.a=b.clean", str(command))
    found = read(root)
    assert list(traps.iterdir()) == [] and found is not None and found.uncommitted is None
    # They are no blunt traps: an ordinary `git status` steps into them.
    subprocess.run(["git", "-C", str(root), "status"], env=ENVIRON, check=False, capture_output=True)
    assert {trap.name.partition("-")[0] for trap in traps.iterdir()} >= {"command"}


def test_a_git_that_does_not_answer_is_given_up(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(revision, "TIME_LIMIT", 0.2)
    assert read(root, PATH=f"{slow.parent}:{os.environ['PATH']}") is None


def test_a_checkout_of_ci_without_git_has_the_commit_of_its_variables(tmp_path: Path) -> None:
    root = write_project(tmp_path / "checkout", {"app/main.py": ""})
    commit = "a" * 40
    github = {"GITHUB_SHA": commit, "GITHUB_SERVER_URL": "https://example.org", "GITHUB_REPOSITORY": "team/it"}
    assert read(root, **github, GITHUB_WORKSPACE=str(root)) == Revision(commit, "", None, "https://example.org/team/it")
    assert read(root / "app", CI_COMMIT_SHA=commit, CI_PROJECT_DIR=str(root)) == Revision(commit)
    # Another project than the one that is checked out, and what is no commit, have none.
    assert read(root, **github, GITHUB_WORKSPACE=str(tmp_path / "other")) is None
    assert read(root, CI_COMMIT_SHA="main", CI_PROJECT_DIR=str(root)) is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@example.org:8443/a/b.git", "https://example.org:8443/a/b.git"),
        ("https://token@example.org/a", "https://example.org/a"),
        ("https://example.org/a?private_token=secret#x", "https://example.org/a"),
        ("ssh://git@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("me@example.org:a/b", "ssh://example.org/a/b"),
        ("example.org:/a/b", "ssh://example.org/a/b"),
        ("/home/me/secret", ""),
        ("file:///home/me", ""),
        ("ext::sh -c x", ""),
        ("https://[broken", ""),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


def test_it_is_read_beside_other_work(root: Path) -> None:
    wait = ask_revision(root, lambda _: True)
    found = wait()
    assert found is not None and found.commit == git(root, "rev-parse", "HEAD") and wait() == found


def test_a_run_says_what_commit_it_is_of_and_two_commits_of_the_same_code_are_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("GIT_", "GITHUB_", "CI_"))]:
        monkeypatch.delenv(name)
    project = LocalProject(tmp_path / "project")
    project.write("functions.py", "def step():\n    return 1\n")
    project.write(
        "pipeline.py",
        "from functions import step\nfrom toolkit import Pipeline, PythonTask\n"
        "p = Pipeline(steps=[PythonTask(step, returns=['x'])])\n",
    )
    root = project.root
    # Before there is a commit,
    assert project.run("pipeline.py", "--run-id", "none") == 0, project.err
    assert "revision" not in project.show() and "commit" not in shown(project, "none")
    # with one, and a file that is not in it,
    git(root, "init", "-q")
    git(root, "remote", "add", "origin", "https://me:secret@example.org/team/it.git")
    git(root, "add", "pipeline.py", "functions.py")
    git(root, "commit", "-qm", "one")
    project.write("notes.txt", "")
    assert project.run("pipeline.py", "--run-id", "one") == 0, project.err
    first = git(root, "rev-parse", "HEAD")
    repository = "https://example.org/team/it.git"
    assert project.show()["revision"] == {
        "commit": first, "committed": TIME, "uncommitted": True, "repository": repository
    }  # fmt: skip
    assert f"commit      {first} of {repository} with uncommitted changes\n" in shown(project, "one")
    # and with another one of the same code.
    git(root, "add", "-A")
    git(root, "commit", "-qm", "two")
    assert project.run("pipeline.py", "--run-id", "two") == 0, project.err
    found = project.show()["revision"]
    assert found["commit"] != first and found["uncommitted"] is False
    assert "with uncommitted" not in shown(project, "two")
    assert project.toolkit("diff", "one", "two", "--json") == 0, project.out
    assert json.loads(project.out)["differences"] == []
    assert "revision" in str(json.loads(project.out)["not_compared"])


def shown(project: LocalProject, run: str) -> str:
    assert project.toolkit("show", run) == 0, project.err
    return project.out
