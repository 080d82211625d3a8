"""What runs on the node: every daemon's configuration and command. Nothing here starts anything.

The node has a network of its own, so its ports and addresses are fixed and meet nobody's. Two sockets lead to it from
the machine's 127.0.0.1: the API server's and the registry's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from .places import CONTEXT, HERE, NODE, cache, cgroup, containerd_socket, kubeconfig, logs, state

NODE_IP = "10.244.0.1"  # the bridge's, where every pod reaches it
POD_SUBNET = "10.244.0.0/16"
SERVICE_SUBNET = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
API_PORT = 6443  # inside
ETCD = "http://127.0.0.1:2379"
BRIDGE = "cluster0"

# Paths that the kubelet, containerd or its CNI library have compiled in; inside the node an empty folder lies over them.
# Sockets of shims, network namespaces and locks are in /run, the CNI results and plug-in sockets in /var/lib.
HIDDEN = ["/run", "/var/lib", "/var/log"]

# What the kubelet demands or sets; these are not the namespaces' but the whole machine's.
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}

DISABLED_PLUGINS = [
    "io.containerd.internal.v1.opt",  # would make /opt/containerd
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]


@dataclasses.dataclass(frozen=True)
class Tools:
    """Programs: the cache's folders, and what the machine has."""

    kubernetes: Path
    registry: Path
    node: Path
    containerd: str
    runc: str
    cni: str
    proxy_mode: str  # nftables or iptables


def pki() -> Path:
    return state() / "pki"


def certificates() -> list[dict[str, Any]]:
    """The requests for the certificates of all who talk to each other."""
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


def kubeconfig_of(who: str, server: str, inline: bool = False) -> str:
    """A kubeconfig; the user's own holds the keys themselves, so that it can be copied as one file."""

    def value(key: str, file: str) -> dict[str, str]:
        import base64

        path = pki() / file
        return {f"{key}-data": base64.b64encode(path.read_bytes()).decode()} if inline else {key: str(path)}

    cluster: dict[str, Any] = {"server": server, **value("certificate-authority", "ca.crt")}
    if inline:
        # `toolkit build --load` finds the node's containerd by this, without a registry.
        address = str(containerd_socket())
        cluster["extensions"] = [{"name": "dev.toolkit.containerd", "extension": {"address": address}}]
    user = {**value("client-certificate", f"{who}.crt"), **value("client-key", f"{who}.key")}
    name = CONTEXT if inline else who
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
    return f"""# Written by k8s/cluster; containerd's own form of version 2 is what 1.6 and later read.
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


def cni_config() -> dict[str, Any]:
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


def kubelet_config() -> dict[str, Any]:
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
        # A full disk or little memory is the tests' own affair; nothing is evicted early, no image thrown away.
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


def proxy_config(mode: str) -> dict[str, Any]:
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


def registry_config(port: int) -> dict[str, Any]:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(state() / "registry")}, "delete": {"enabled": True}},
        # The same port inside as outside, so that an image has the same name on both sides.
        "http": {"addr": f"127.0.0.1:{port}"},
    }


def network() -> list[list[str]]:
    """The commands that make the node's network; the bridge is there before the first pod, because it bears NODE_IP."""
    ip = ["ip"]
    return [
        [*ip, "link", "set", "lo", "up"],
        [*ip, "link", "add", BRIDGE, "type", "bridge"],
        [*ip, "address", "add", f"{NODE_IP}/16", "dev", BRIDGE],
        [*ip, "link", "set", BRIDGE, "up"],
        # Only a way to send at all: what kube-proxy does not turn round goes nowhere.
        [*ip, "route", "add", SERVICE_SUBNET, "dev", BRIDGE],
    ]


_MUCH_MEMORY = 12 << 30
"""Bytes of the machine's."""


def has_memory() -> bool:
    """Whether the machine has so much memory that the node may trade some for time.

    Argo's executor is 110 MB that are copied into a folder of each pod, which on a disk is most of what a small pod costs it;
    and the daemons are collecting garbage for a fifth of their time when they keep to little memory.
    """
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >= _MUCH_MEMORY


def settings(cgroups: list[str]) -> dict[str, Any]:
    """What process 1 is told; see init.py."""
    keep = [HERE, cache(), state(), Path(sys.prefix), Path(sys.base_prefix)]
    spends_memory = has_memory()
    return {
        "state": str(state()),
        "logs": str(logs()),
        "ended": str(state() / "ended"),
        "cgroups": cgroups,
        "hide": HIDDEN,
        "in_memory": [str(state() / name) for name in ("etcd", "kubelet")] if spends_memory else [],
        "environment": {"GOGC": "400"} if spends_memory else {},
        "keep": [str(path) for path in keep],
        "sysctls": SYSCTLS,
        "network": network(),
    }


def write_configuration(tools: Tools, pause: str, snapshotter: str, registry_port: int) -> None:
    for folder in ("addresses", "cni", "ended", "etcd", "kubelet", "registry", "volumes", "volume-plugins"):
        (state() / folder).mkdir(exist_ok=True)
    # Pods run as any user and must get through to their folder; what is above it is nobody else's business.
    hosts = state() / "registries" / f"127.0.0.1:{registry_port}"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'server = "http://127.0.0.1:{registry_port}"\n')
    files: dict[str, Any] = {
        "containerd.toml": containerd_config(tools, pause, snapshotter),
        "cni/10-toolkit.conflist": cni_config(),
        "kubelet.json": kubelet_config(),
        "proxy.json": proxy_config(tools.proxy_mode),
        "registry.json": registry_config(registry_port),
        "resolv.conf": "# nothing is reached by name\n",
    }
    for who in ("kubelet", "controller-manager", "scheduler", "proxy"):
        files[f"{who}.kubeconfig"] = kubeconfig_of(who, f"https://127.0.0.1:{API_PORT}")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        (state() / name).write_text(text)


def first_daemons(tools: Tools, registry_port: int) -> dict[str, list[str]]:
    """What can start at once."""
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
            "--kubelet-preferred-address-types=InternalIP",  # the node's name is in nobody's /etc/hosts
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", str(pki() / "service-accounts.pub")),
            *("--service-account-signing-key-file", str(pki() / "service-accounts.key")),
            "--profiling=false",
        ],
    }


def forward_command(tools: Tools, api: int, registry: int, port: int) -> list[str]:
    """`api` and `registry` are descriptors of listening sockets of the machine."""
    targets = [f"{api}=127.0.0.1:{API_PORT}", f"{registry}=127.0.0.1:{port}"]
    return [str(tools.node / "forward"), *targets]


def later_daemons(tools: Tools) -> dict[str, list[str]]:
    """What needs the API server."""
    kubernetes = tools.kubernetes

    def config(name: str) -> str:
        return str(state() / f"{name}.kubeconfig")

    return {
        "kube-controller-manager": [
            str(kubernetes / "kube-controller-manager"),
            *("--kubeconfig", config("controller-manager"), "--leader-elect=false", "--bind-address=127.0.0.1"),
            *("--root-ca-file", str(pki() / "ca.crt"), "--allocate-node-cidrs=false"),
            "--use-service-account-credentials=true",  # its own user may do next to nothing
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
