"""The one exception that a person is meant to read."""


class InputError(Exception):
    """Something a person gave us is wrong; the message is one sentence for them.

    It names the file, line or key, what was found there and what would be right. Stages and the command line
    print it without a traceback and exit with 1.
    """
