# The scripts without a pipeline, in the folder $1: what they write there is what the pipeline's run puts, and values.json has
# what it returns.
set -e
mkdir -p "$1"
cp -r src params.yaml "$1"
cd "$1"
python src/prepare.py data
python src/train.py data model.json
python src/evaluate.py data model.json
echo "{\"scores\": $(cat scores.json)}" >values.json
