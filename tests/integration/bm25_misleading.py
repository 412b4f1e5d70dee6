"""A small corpus of software in which the words of a question mislead: others share more of them.

On its own data (see models/demo/README.md) BM25 is better than the demo model, so that a set drawn
from it would show nothing. `CORPUS` is texts by id, `QUERIES` a query and its one answer by id.
"""

CORPUS = {
    "nethogs": "Shows the network traffic of each process in real time.",
    "radio": (
        "Which program is on the radio? The traffic program at eight, the weather program at nine."
    ),
    "oven": "Which program of the oven should I use? Program it to start at six.",
    "duplicity": "Encrypted backups to a remote server over SSH.",
    "ship": (
        "The server in the restaurant came over to us. How do I make it up to the server,"
        " to whom I owe so much?"
    ),
    "gimp": "An image editor with layers, masks and filters.",
    "editor": (
        "The editor of the newspaper asked: how do I get an interview, and how do I print it?"
    ),
    "ripgrep": "Searches directories recursively for a regular expression.",
    "search": ("How do I go on a search for a lost dog? I search the park, I search the house."),
    "rustc": "A compiler for the Rust programming language.",
    "rust": ("Rust on a bicycle: what is rust, what is it made of, and what is a good oil for it?"),
    "amarok": "A music player with support for playlists.",
    "player": ("Is there a player who can win? Is there a chance for a player with a broken leg?"),
    "chess": "A chess engine that plays at grandmaster strength.",
    "engine": "What is the engine of a train? It is what is at the front of it.",
    "cron": "Runs commands at fixed times of the day, week or month.",
    "times": ("What are the times at which I can call? What are the days, and what are the hours?"),
    "tar": "Collects many files into one archive and compresses it.",
    "archive": (
        "How can I use the archive of the library? I can use it on Monday, and I can use "
        "it for free."
    ),
    "postgres": "An object-relational SQL database server.",
    "base": "Where can I find the base of the mountain? I can find it where the river is.",
    "wireshark": "Captures packets on a network interface and decodes protocols.",
    "packet": "Where can I find the packet? I can find it, where I can find the post office.",
    "ssh": "Secure remote login and file copy between hosts.",
    "login": "How do I get in? How do I get the key, and how do I get home?",
    "spell": "Checks the spelling of words in a text document.",
    "witch": "Which words of the spell does the witch use? Which of the words is the first?",
    "ocr": "Recognizes printed text in scanned images.",
    "scan": ("How do I read to a child? I read the text, and how do I read the images in it?"),
    "disk": "Shows how much disk space directories take.",
    "space": (
        "How much does it take to go to space? How much is a ticket, and how much is the suit?"
    ),
}
QUERIES = {
    "q1": ("which program shows network traffic?", "nethogs"),
    "q2": ("how do I make encrypted backups to a server?", "duplicity"),
    "q3": ("how do I get an image editor?", "gimp"),
    "q4": ("how do I search for a regular expression?", "ripgrep"),
    "q5": ("what is a compiler for rust?", "rustc"),
    "q6": ("is there a music player?", "amarok"),
    "q7": ("what is a chess engine?", "chess"),
    "q8": ("what runs commands at fixed times?", "cron"),
    "q9": ("how can I use one archive for many files?", "tar"),
    "q10": ("where can I find a database server?", "postgres"),
    "q11": ("where can I find what captures packets?", "wireshark"),
    "q12": ("how do I get a secure remote login?", "ssh"),
    "q13": ("which of these checks the spelling of words?", "spell"),
    "q14": ("how do I read text in scanned images?", "ocr"),
    "q15": ("how much disk space do directories take?", "disk"),
}
