"""What takes the night."""


def download():
    raise ConnectionError("there is no such archive here")


def train():
    raise MemoryError("there is no such machine here")


def judge(accuracy):
    return "good" if accuracy > 0.9 else "bad"
