"""The configuration and the command of each daemon of the node. Nothing here starts anything.

The node has a network namespace of its own, so its ports and addresses are fixed and can't conflict with the machine's. Two
sockets on the machine's 127.0.0.1 are forwarded to it: the API server's and the registry's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, TypedDict

from .init import NodeSettings
from .places import CONTEXT, HERE, NODE, cache, cgroup, containerd_socket, kubeconfig, logs, state

NODE_IP = "10.244.0.1"  # the bridge's, where every pod reaches it
POD_SUBNET = "10.244.0.0/16"
SERVICE_SUBNET = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
API_PORT = 6443  # inside
ETCD = "http://127.0.0.1:2379"
BRIDGE = "cluster0"

# The kubelet, containerd and its CNI library have paths in these compiled in, so the node sees an empty folder in their place.
# Sockets of shims, network namespaces and locks are in /run, the CNI results and plug-in sockets in /var/lib.
HIDDEN = ["/run", "/var/lib", "/var/log"]

# What the kubelet demands, or else sets. No namespace holds these; they are the whole machine's.
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}

Configuration = dict[str, Any]
"""A configuration file of a daemon, as its program reads it."""

DISABLED_PLUGINS = [
    "io.containerd.internal.v1.opt",  # would make /opt/containerd
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]


@dataclasses.dataclass(frozen=True)
class Tools:
    """Where the programs are: folders of the cache, and what is installed on the machine."""

    kubernetes: Path
    registry: Path
    node: Path
    containerd: str
    runc: str
    cni: str
    proxy_mode: str  # nftables or iptables


def pki() -> Path:
    return state() / "pki"


class CertificateRequest(TypedDict, total=False):
    """A certificate that go/node/pki makes."""

    name: str
    commonName: str
    organization: str
    hosts: list[str]


def certificates() -> list[CertificateRequest]:
    """The requests for the certificates of the daemons and of the admin."""
    local = ["127.0.0.1", "localhost", NODE_IP]
    names = [f"kubernetes{rest}" for rest in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    return [
        {"name": "apiserver", "commonName": "kube-apiserver", "hosts": [*local, API_SERVICE, *names]},
        {"name": "apiserver-kubelet", "commonName": "kube-apiserver-kubelet", "organization": "system:masters"},
        {
            "name": "kubelet",
            "commonName": f"system:node:{NODE}",
            "organization": "system:nodes",
            "hosts": [*local, NODE],
        },
        {"name": "admin", "commonName": "toolkit-admin", "organization": "system:masters"},
        {"name": "controller-manager", "commonName": "system:kube-controller-manager"},
        {"name": "scheduler", "commonName": "system:kube-scheduler"},
        {"name": "proxy", "commonName": "system:kube-proxy"},
    ]


def kubeconfig_of(user_name: str, server: str, inline: bool = False) -> str:
    """A kubeconfig. One that is inline holds the keys themselves, so that it can be copied as one file."""

    def value(key: str, file: str) -> dict[str, str]:
        import base64

        path = pki() / file
        return {f"{key}-data": base64.b64encode(path.read_bytes()).decode()} if inline else {key: str(path)}

    cluster: Configuration = {"server": server, **value("certificate-authority", "ca.crt")}
    if inline:
        # By this, `toolkit build --load` finds the node's containerd.
        address = str(containerd_socket())
        cluster["extensions"] = [{"name": "dev.toolkit.containerd", "extension": {"address": address}}]
    user = {**value("client-certificate", f"{user_name}.crt"), **value("client-key", f"{user_name}.key")}
    name = CONTEXT if inline else user_name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document, indent=2) + "\n"


def containerd_config(tools: Tools, pause: str, snapshotter: str) -> str:
    quote = json.dumps  # a JSON string is a TOML string
    root = state() / "containerd"
    return f"""# Written by k8s/cluster. containerd 1.6 and later read version 2 of the configuration.
version = 2
root = {quote(str(root / "root"))}
state = {quote(str(root / "state"))}
disabled_plugins = {quote(DISABLED_PLUGINS)}

[grpc]
  address = {quote(str(containerd_socket()))}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {quote(pause)}
  # Lowering oom_score_adj needs CAP_SYS_RESOURCE, which a machine may lack; without this every pod would fail there.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = {quote(tools.cni)}
  conf_dir = {quote(str(state() / "cni"))}

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = {quote(str(state() / "registries"))}

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = {quote(snapshotter)}

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = {quote(tools.runc)}
  SystemdCgroup = false
"""


def cni_config() -> Configuration:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(state() / "addresses"),
        },
    }
    return {"cniVersion": "0.4.0", "name": "toolkit-cluster", "plugins": [bridge]}


def kubelet_config() -> Configuration:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki() / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki() / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki() / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{containerd_socket()}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup()}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # lowering it needs CAP_SYS_RESOURCE
        # Nothing is evicted early and no image is removed: what a full disk does is for the tests to cause.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": False,
        "maxPods": 200,
        "podLogsDir": str(logs() / "pods"),
        "readOnlyPort": 0,
        # Pods have no network beyond the node, so a look-up of a name should fail at once and not after a time-out.
        "resolvConf": str(state() / "resolv.conf"),
        "serializeImagePulls": False,
        "volumePluginDir": str(state() / "volume-plugins"),
    }


def proxy_config(mode: str) -> Configuration:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clientConnection": {"kubeconfig": str(state() / "proxy.kubeconfig")},
        "clusterCIDR": POD_SUBNET,
        "hostnameOverride": NODE,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # The machine's limits, which a network namespace can't set.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    }


def registry_config(port: int) -> Configuration:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(state() / "registry")}, "delete": {"enabled": True}},
        # The same port inside as outside, so that an image has the same name on both sides.
        "http": {"addr": f"127.0.0.1:{port}"},
    }


def network() -> list[list[str]]:
    """The commands that make the node's network. The bridge exists before the first pod, because it has the address NODE_IP."""
    ip = ["ip"]
    return [
        [*ip, "link", "set", "lo", "up"],
        [*ip, "link", "add", BRIDGE, "type", "bridge"],
        [*ip, "address", "add", f"{NODE_IP}/16", "dev", BRIDGE],
        [*ip, "link", "set", BRIDGE, "up"],
        # A route for kube-proxy's rules to act on. What no rule redirects is not delivered.
        [*ip, "route", "add", SERVICE_SUBNET, "dev", BRIDGE],
    ]


_MUCH_MEMORY = 12 << 30
"""In bytes."""


def has_memory() -> bool:
    """Whether the machine has enough memory for the node to trade some of it for time.

    Argo's executor, 110 MB, is copied into a folder of each pod. On a disk, that is most of what a small pod costs. And with little
    memory, the daemons spend a fifth of their time on garbage collection.
    """
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >= _MUCH_MEMORY


def settings(cgroups: list[str]) -> NodeSettings:
    """The settings of process 1."""
    keep = [HERE, cache(), state(), Path(sys.prefix), Path(sys.base_prefix)]
    much_memory = has_memory()
    return {
        "state": str(state()),
        "logs": str(logs()),
        "ended": str(state() / "ended"),
        "cgroups": cgroups,
        "hide": HIDDEN,
        "in_memory": [str(state() / name) for name in ("etcd", "kubelet")] if much_memory else [],
        "environment": {"GOGC": "400"} if much_memory else {},
        "keep": [str(path) for path in keep],
        "sysctls": SYSCTLS,
        "network": network(),
    }


def write_configuration(tools: Tools, pause: str, snapshotter: str, registry_port: int) -> None:
    for folder in ("addresses", "cni", "ended", "etcd", "kubelet", "registry", "volumes", "volume-plugins"):
        (state() / folder).mkdir(exist_ok=True)
    hosts = state() / "registries" / f"127.0.0.1:{registry_port}"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'server = "http://127.0.0.1:{registry_port}"\n')
    files: dict[str, Configuration | str] = {
        "containerd.toml": containerd_config(tools, pause, snapshotter),
        "cni/10-toolkit.conflist": cni_config(),
        "kubelet.json": kubelet_config(),
        "proxy.json": proxy_config(tools.proxy_mode),
        "registry.json": registry_config(registry_port),
        "resolv.conf": "# nothing is reached by name\n",
    }
    for user_name in ("kubelet", "controller-manager", "scheduler", "proxy"):
        files[f"{user_name}.kubeconfig"] = kubeconfig_of(user_name, f"https://127.0.0.1:{API_PORT}")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        (state() / name).write_text(text)


def first_daemons(tools: Tools, registry_port: int) -> dict[str, list[str]]:
    """The daemons that start first, all at once."""
    peer = "http://127.0.0.1:2380"
    own = pki() / "apiserver"
    return {
        "containerd": [tools.containerd, "--config", str(state() / "containerd.toml")],
        "registry": [str(tools.registry / "registry"), "serve", str(state() / "registry.json")],
        "etcd": [
            str(tools.kubernetes / "etcd"),
            *("--name", "node", "--data-dir", str(state() / "etcd"), "--log-level", "warn"),
            *("--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"node={peer}"),
            "--unsafe-no-fsync",  # nothing in it outlives the cluster
        ],
        "kube-apiserver": [
            str(tools.kubernetes / "kube-apiserver"),
            *("--etcd-servers", ETCD, "--secure-port", str(API_PORT), "--advertise-address", NODE_IP),
            *("--service-cluster-ip-range", SERVICE_SUBNET, "--authorization-mode", "Node,RBAC"),
            *("--enable-admission-plugins", "NodeRestriction", "--allow-privileged=true"),
            *("--client-ca-file", str(pki() / "ca.crt")),
            *("--tls-cert-file", f"{own}.crt", "--tls-private-key-file", f"{own}.key"),
            *("--kubelet-client-certificate", str(pki() / "apiserver-kubelet.crt")),
            *("--kubelet-client-key", str(pki() / "apiserver-kubelet.key")),
            *("--kubelet-certificate-authority", str(pki() / "ca.crt")),
            "--kubelet-preferred-address-types=InternalIP",  # the node's name can't be resolved
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", str(pki() / "service-accounts.pub")),
            *("--service-account-signing-key-file", str(pki() / "service-accounts.key")),
            "--profiling=false",
        ],
    }


def forward_command(tools: Tools, api: int, registry: int, port: int) -> list[str]:
    """The command that forwards the machine's two listening sockets, given as descriptors, to the node."""
    targets = [f"{api}=127.0.0.1:{API_PORT}", f"{registry}=127.0.0.1:{port}"]
    return [str(tools.node / "forward"), *targets]


def later_daemons(tools: Tools) -> dict[str, list[str]]:
    """The daemons that need the API server."""
    kubernetes = tools.kubernetes

    def config(name: str) -> str:
        return str(state() / f"{name}.kubeconfig")

    return {
        "kube-controller-manager": [
            str(kubernetes / "kube-controller-manager"),
            *("--kubeconfig", config("controller-manager"), "--leader-elect=false", "--bind-address=127.0.0.1"),
            *("--root-ca-file", str(pki() / "ca.crt"), "--allocate-node-cidrs=false"),
            "--use-service-account-credentials=true",  # its own user has almost no rights
            *("--service-account-private-key-file", str(pki() / "service-accounts.key")),
        ],
        "kube-scheduler": [
            str(kubernetes / "kube-scheduler"),
            *("--kubeconfig", config("scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1"),
        ],
        "kubelet": [
            str(kubernetes / "kubelet"),
            *("--config", str(state() / "kubelet.json"), "--kubeconfig", config("kubelet")),
            *("--root-dir", str(state() / "kubelet"), "--cert-dir", str(state() / "kubelet" / "pki")),
            *("--hostname-override", NODE, "--node-ip", NODE_IP),
        ],
        "kube-proxy": [str(kubernetes / "kube-proxy"), "--config", str(state() / "proxy.json")],
    }


def write_user_kubeconfig(api_port: int) -> None:
    from .processes import write_whole

    write_whole(kubeconfig(), kubeconfig_of("admin", f"https://127.0.0.1:{api_port}", inline=True), mode=0o600)
