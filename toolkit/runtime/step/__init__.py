"""The supervisor of a step's container: the gate, the records, and the child that it watches."""
