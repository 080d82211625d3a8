import csv
import sys

with open(sys.argv[1], newline="") as stations:
    print(len(list(csv.DictReader(stations))), "stations")
