# A distribution of somebody else with the SDK's import name would hide the SDK.
if ls /opt/venv/lib/python3*/site-packages | grep -q '^toolkit-[^-]*\.dist-info$'; then
    echo "toolkit-refused: a dependency needs the distribution toolkit"
    exit 1
fi
