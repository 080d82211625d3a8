"""Features of customers, from two sources that know nothing of each other."""

CUSTOMERS = ["ada", "grace", "joan"]


def from_orders():
    """Takes long, and does not wait for the visits."""
    return {name: {"orders": len(name)} for name in CUSTOMERS}


def from_visits():
    return {name: {"visits": 10 * number} for number, name in enumerate(CUSTOMERS, 1)}


def scaled(visits):
    most = max(one["visits"] for one in visits.values())
    return {name: {"visits": one["visits"] / most} for name, one in visits.items()}


def join(orders, visits):
    """Sees what both branches returned."""
    return {name: {**orders[name], **visits[name]} for name in orders}
