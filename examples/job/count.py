"""One function without a pipeline around it: a job."""

from toolkit import Catalog, PythonJob, metric


def count_words(path):
    """Counts the words of a file of the project, and leaves the most frequent ones."""
    with open(path) as file:
        words = file.read().lower().split()
    often = sorted(set(words), key=lambda word: (-words.count(word), word))[:3]
    with open("often.txt", "w") as file:
        file.write("\n".join(often) + "\n")
    return len(words)


job = PythonJob(count_words, returns=[metric("words")], catalog=Catalog(put=["often.txt"]))

if __name__ == "__main__":
    job.execute()
