"""Why pip found nothing that fits, from its own log: what it passed over and does not tell.

With ``refused`` it looks for an index alone that refused a login, and ends with 1 where there was one: pip goes on with the next
index, which may have another package of that name.

pip says "No matching distribution found" of a name that is not there, a version that is not there, one that is for other
platforms or another Python, and an index that refuses. What is told of that begins with ``toolkit-``. What a command printed that
pip called is told as it is.
"""

import re
import sys

IS_HERE = re.compile(r"(any|linux_\w+|(many|musl)linux\w*)$")


def main(path, only_refused=False):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = [re.sub(r"^\S+ ?", "", line.rstrip("\n")) for line in stream]
    except OSError:
        return 0
    logins = refused_logins(lines)
    for one in logins:
        print(f"toolkit-{one}")
    if logins or only_refused:
        return 1 if logins else 0
    tell(lines)
    return 0


def refused_logins(lines):
    """The indexes that refused the credentials which they were sent, or that ask for some and were sent none.

    One with credentials that did not answer is among them: what it has may not come from elsewhere either.
    """
    sent = [
        match.group(1)
        for line in lines
        for match in [re.search(r"Found credentials in (?:index url|netrc|keyring) for (\S+)", line)]
        if match
    ]
    refused = set()
    for line in lines:
        match = re.search(r"Could not fetch URL (\S+): (?:.*too many )?(\S+) ", line)
        if match:
            login, _, host = re.sub(r"^\w+://", "", match.group(1)).split("/")[0].rpartition("@")
            is_login = bool(login) or host in sent
            # An index that knows no login answers with 403 for what it does not have, as stores of files do.
            if match.group(2) == "401" or (match.group(2) == "403" and is_login):
                refused.add("index: " + match.group(2) + " " + shown(match.group(1)))
            elif is_login and match.group(2) not in ("404", "410"):
                refused.add("unreached: " + shown(match.group(1)))
    return sorted(refused)


def shown(address):
    return re.sub(r"://[^/@]*@", "://***@", address)


def tell(lines):
    """Why a package was not found, or what a command printed that failed."""
    wanted = [
        match.group(1)
        for line in lines
        for match in [re.search(r"No matching distribution found for (\S+)", line)]
        if match
    ]
    if not wanted:
        for line in printed(lines):
            print(line)
        return
    requirement = wanted[-1]
    name = re.match(r"[\w.-]*\w", requirement).group()
    fits = contained_in(requirement[len(name) :])
    refused, pythons, platforms, tags, sources = [], [], [], [], []
    for line in lines:
        match = re.search(r"Could not fetch URL (\S+): (?:.*too many )?(\d{3}) ", line)
        if match and is_of(match.group(1).rstrip("/").rpartition("/")[2], name):
            refused.append(match.group(2) + " " + shown(match.group(1)))
        match = re.search(r"Link requires a different Python \(\S+ not in: '([^']*)'\): (\S+)", line)
        if match and of_version(match.group(2), name, fits):
            pythons.append(match.group(1))
        match = re.search(r"Skipping link: No sources permitted for \S+: (\S+://\S+)", line)
        if match and of_version(match.group(1), name, fits):
            sources.append(match.group(1))
        match = re.search(r"Skipping link: none of the wheel's tags \(([^)]*)\).*?: (\S+://\S+)", line)
        if match and of_version(match.group(2), name, fits):
            tag = match.group(1).split(", ")[-1]
            python, _, platform = tag.partition("-")
            platform = platform.partition("-")[2]
            (tags if IS_HERE.match(platform) else platforms).append(python if IS_HERE.match(platform) else platform)
    if sources:
        print("toolkit-foreign: " + name)
        return
    for kind, found in (("python", pythons), ("tags", tags), ("platforms", platforms)):
        if found:
            print(f"toolkit-{kind}: {requirement} {', '.join(sorted(set(found)))}")
            return
    elsewhere = any(
        f"satisfies the requirement {requirement}" in line and "versions: none" not in line for line in lines
    )
    for one in sorted(set(refused)):
        if not (elsewhere and one.startswith("404")):
            print(f"toolkit-index: {one}")


def printed(lines):
    """What the command printed that failed: with a log, pip shows that nowhere else."""
    failed = [number for number, line in enumerate(lines) if "[present-rich]" in line and " exited with " in line]
    if not failed:
        return []
    begun = [number for number in range(failed[-1]) if lines[number].strip().startswith("Running command ")]
    return lines[begun[-1] + 1 : failed[-1]] if begun else []


def is_of(name, wanted):
    return re.sub(r"[-_.]+", "-", name).lower() == re.sub(r"[-_.]+", "-", wanted).lower()


def of_version(url, name, fits):
    """Whether a file of an index is of a version that was asked for."""
    file = url.partition("#")[0].rpartition("/")[2]
    if file.endswith(".whl"):
        parts = file.split("-")
        return is_of(parts[0], name) and fits(parts[1])
    match = re.match(r"(.+)-([^-]+?)\.(?:tar\.\w+|zip)$", file)
    return bool(match) and is_of(match.group(1), name) and fits(match.group(2))


def contained_in(specifier):
    specifier = re.sub(r"^\[[^\]]*\]", "", specifier)
    try:
        from pip._vendor.packaging.specifiers import SpecifierSet

        accepted = SpecifierSet(specifier, prereleases=True)
    except Exception:
        return lambda version: specifier in ("", "==" + version)

    def fits(version):
        try:
            return version in accepted
        except Exception:
            return False

    return fits


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "refused" in sys.argv[2:]))
