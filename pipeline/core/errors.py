"""The exception for errors that a person caused and can mend."""


class InputError(Exception):
    """A file, parameter or argument that a person gave is wrong; the message is one sentence for that person.

    The sentence names the file, line or key, the value there and what would be right. Stages and the command line
    print it without a traceback and exit with 1.
    """
