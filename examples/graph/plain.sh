# The functions without a pipeline, in the folder $1: its values.json has what the pipeline's run returns.
set -e
mkdir -p "$1"
cp demand.py plain.py "$1"
cd "$1"
python plain.py
