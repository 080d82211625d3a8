"""The same work without a pipeline, on this machine: it writes values.json, which has what the pipeline's run returns."""

import json
from dataclasses import asdict

import neighbours as nn

table = nn.split(nn.make(120, 7), 0.25)
scores = [nn.score(nn.train(table, neighbours), table) for neighbours in [1, 5, 15]]
winner = nn.best(scores)
accuracy = nn.report(winner)
with open("values.json", "w") as file:
    json.dump({"score": [asdict(one) for one in scores], "winner": asdict(winner), "accuracy": accuracy}, file)
