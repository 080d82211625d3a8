"""The same work without a pipeline, on this machine: it writes values.json, which has what the pipeline's run returns."""

import json

import demand

demand.meters()
demand.weather()
demand.check()
demand.lags()
demand.degrees()
slow, quick = demand.neighbours(), demand.share()
winner = demand.compare(slow, quick)
forecast = demand.report(winner)
with open("values.json", "w") as file:
    json.dump({"winner": winner, "forecast": forecast}, file)
