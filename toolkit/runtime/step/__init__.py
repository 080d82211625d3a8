"""The supervisor of one attempt of a step: the gate, the records, and the child that it watches."""
