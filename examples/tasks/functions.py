"""Orders of a shop."""

import csv


def export_orders(path, customers):
    """Writes a file of orders; returns how many there are, and their total."""
    orders = [(f"customer-{number % customers}", 10 + number * 7 % 23) for number in range(20)]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(orders)
    return len(orders), sum(amount for _, amount in orders)


async def report(orders, total, best):
    """What came of it; a coroutine is awaited."""
    print(f"{orders} orders of {total}; the best customer is {best['name']} with {best['sum']}")
    return total / orders
