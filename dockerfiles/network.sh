# Read by every step of a build that uses the network: what the secrets hold, as pip and uv take it.
export RES_OPTIONS="timeout:3 attempts:5"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_LOG=/tmp/toolkit-pip.log
export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
# The host's key is asked for nowhere else: an unknown one ends the build.
if [ -s /dev/shm/toolkit-known-hosts ]; then
    export GIT_SSH_COMMAND="ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/shm/toolkit-known-hosts"
fi
if [ -s /dev/shm/toolkit-git ] && command -v git >/dev/null; then
    # Git's own store would also write to the file.
    git config --system credential.helper \
        '!f() { if [ "$1" = get ]; then git credential-store --file=/dev/shm/toolkit-git get; fi; }; f'
fi
# pip tells its log alone what it passed over. No layer of BuildKit's cache keeps the log, which has addresses.
trap 'code=$?; if [ $code != 0 ]; then python3 "${why:-/toolkit/why.py}" /tmp/toolkit-pip.log || true; fi; rm -f /tmp/toolkit-pip.log; exit $code' EXIT
export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=0 UV_NO_PROGRESS=1 UV_HTTP_RETRIES=5 UV_PYTHON_DOWNLOADS=never
UV_PYTHON="$(command -v python3)"
export UV_PYTHON
if [ -s /dev/shm/toolkit-ca.pem ]; then export PIP_CERT=/dev/shm/toolkit-ca.pem SSL_CERT_FILE=/dev/shm/toolkit-ca.pem; fi
if [ -s /dev/shm/toolkit-pip.conf ]; then export PIP_CONFIG_FILE=/dev/shm/toolkit-pip.conf; fi
if [ -s /dev/shm/toolkit-netrc ]; then export NETRC=/dev/shm/toolkit-netrc; fi
TOOLKIT_MIRROR=""
if [ -s /dev/shm/toolkit-variables.sh ]; then . /dev/shm/toolkit-variables.sh; fi
# Calls pip or uv for what toolkit locks by hashes: from the index of whoever builds, else from the public one, because an index may
# have packages of its own alone.
fetch() {
    if [ -n "$TOOLKIT_MIRROR" ]; then
        if "$@" --index-url "$TOOLKIT_MIRROR"; then return; fi
    elif [ ! -s /dev/shm/toolkit-pip.conf ]; then
        env -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS -u PIP_NO_INDEX -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS -u UV_NO_INDEX "$@"
        return
    elif "$@"; then return; fi
    rm -f /tmp/toolkit-pip.log
    env -u PIP_INDEX_URL -u PIP_PYPI_URL -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS -u PIP_NO_INDEX -u PIP_CONFIG_FILE \
        -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS -u UV_NO_INDEX "$@"
}
