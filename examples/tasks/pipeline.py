"""A python, a shell and another python step, each in a container of its own."""

import functions

from toolkit import Catalog, Pipeline, PythonTask, ShellTask, metric

# Parameters are variables of the command, and what it exports is what it returns: JSON where it can be.
BEST = """
best=$(awk -F, '{ sum[$1] += $2 } END { for (name in sum) print sum[name], name }' orders.csv | sort -rn | head -n 1 |
    awk '{ printf "{\\"name\\": \\"%s\\", \\"sum\\": %d}", $2, $1 }')
export best
"""

pipeline = Pipeline(
    name="orders",
    steps=[
        PythonTask(
            functions.export_orders,
            returns=["orders", metric("total")],
            bind={"path": {"value": "orders.csv"}},
            catalog=Catalog(put=["orders.csv"]),
        ),
        ShellTask("best customer", BEST, returns=["best"], catalog=Catalog(get=["orders.csv"])),
        PythonTask(functions.report, returns=[metric("mean")]),
    ],
)

if __name__ == "__main__":
    pipeline.execute()
