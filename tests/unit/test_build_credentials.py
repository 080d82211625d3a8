"""What looks like a key or a credential, and what does not."""

from __future__ import annotations

import json

import pytest

from toolkit.build.credentials import credential_in, may_hold_credential, named_credential


def _key(kind: str = "") -> bytes:
    # Put together, so that no tool takes this file for a key.
    return f"-----BEGIN {kind}PRIVATE KEY-----\nbm90IGEga2V5\n-----END {kind}PRIVATE KEY-----\n".encode()


@pytest.mark.parametrize(
    "name", ["id_rsa", "id_ed25519", ".netrc", ".pypirc", ".git-credentials", "prod.env", "a.p12", "kubeconfig"]
)
def test_a_name_tells_a_credential(name: str) -> None:
    assert named_credential(name)


@pytest.mark.parametrize(
    "name", ["id_rsa.pub", "example.env", "prod.example.env", "env", "keys.py", "config", "model.key"]
)
def test_other_names_tell_none(name: str) -> None:
    assert not named_credential(name)


@pytest.mark.parametrize("name", [".aws", ".ssh", ".kube"])
def test_a_folder_of_credentials_is_told_by_its_name(name: str) -> None:
    assert named_credential(name, is_folder=True)
    assert not named_credential("aws", is_folder=True)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("server.pem", _key(), "a private key"),
        ("server.pem", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n" + _key("RSA "), "a private key"),
        ("deploy", _key("OPENSSH "), "a private key"),
        ("settings.yaml", b"tls: |\n  " + _key("EC "), "a private key"),
        ("signing.asc", _key("PGP ").replace(b"KEY-----", b"KEY BLOCK-----"), "a private key"),
        ("credentials", b"[default]\naws_secret_access_key = abc\n", "AWS credentials"),
        ("sa.json", json.dumps({"type": "service_account", "private_key": "x"}).encode(), "a service account's key"),
        (
            "adc.json",
            json.dumps({"type": "authorized_user", "refresh_token": "x"}).encode(),
            "a user's credentials of Google Cloud",
        ),
        ("client.json", json.dumps({"installed": {"client_secret": "x"}}).encode(), "an OAuth client's secret"),
        ("config.json", json.dumps({"auths": {"h": {"auth": "eDp5"}}}).encode(), "the logins of Docker"),
        ("staging.yaml", b"apiVersion: v1\nkind: Config\nusers:\n- user:\n    token: abc\n", "a kubeconfig"),
        (
            "key.json",
            json.dumps({"AccessKey": {"AccessKeyId": "a", "SecretAccessKey": "b"}}).encode(),
            "AWS credentials",
        ),
        (".npmrc", b"//host/:_authToken=abc\n", "a token of a package registry"),
        ("uv.toml", b'[[index]]\nurl = "https://me:secret@host/simple"\n', "an index address with a password"),
        ("bom.pem", b"\xef\xbb\xbf" + _key().replace(b"\n", b"\r\n"), "a private key"),
        ("old.pem", _key("RSA ").replace(b"bm90", b"Proc-Type: 4,ENCRYPTED\n\nbm90"), "a private key"),
        ("pip.conf", b"[global]\nindex-url = https://me:secret@host/simple\n", "an index address with a password"),
    ],
)
def test_a_content_tells_a_credential(name: str, content: bytes, kind: str) -> None:
    assert may_hold_credential(name, len(content))
    assert credential_in(name, content) == kind


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"),
        ("public.pem", b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"),
        ("data.json", json.dumps({"type": "service_account"}).encode()),
        ("deep.json", b'{"a":' * 5000),
        ("pod.yaml", b"apiVersion: v1\nkind: ConfigMap\ndata:\n  token: abc\n"),
        ("pip.conf", b"[global]\nindex-url = https://${USER}:${TOKEN}@host/simple\n"),
        (".npmrc", b"//host/:_authToken=${NPM_TOKEN}\n"),
        ("params.json", json.dumps({"auths": {}, "kind": "Config"}).encode()),
    ],
)
def test_other_contents_tell_none(name: str, content: bytes) -> None:
    assert credential_in(name, content) == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("server.pem", _key().replace(b"bm90IGEga2V5", b"<your key>")),
        ("notes", _key().replace(b"bm90IGEga2V5", b"...")),
        ("server.example.pem", _key()),
        ("credentials", b"[default]\naws_secret_access_key =\nregion = eu\n"),
        ("credentials", b"aws_secret_access_key = ${SECRET}\naws_secret_access_key = <yours>\n"),
        ("keys.json", json.dumps({"accessKeyId": "", "secretAccessKey": ""}).encode()),
        ("config.yaml", b'kind: Config\nusers:\n- user:\n    token:\n    password: ""\n'),
        (".npmrc", b"_authToken =\nalways-auth=true\n"),
    ],
)
def test_what_has_a_place_for_a_credential_is_none(name: str, content: bytes) -> None:
    assert credential_in(name, content) == ""


@pytest.mark.parametrize("name", ["test_keys.py", "README.md", "notebook.ipynb", "id_rsa.pub", "rows.csv"])
def test_programs_prose_and_data_are_not_judged(name: str) -> None:
    assert not may_hold_credential(name, 1000)
