"""The one exception that a user can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the file or parameter, says what is wrong with it and what to do.
    The command line prints it without a traceback and ends with status 2.
    """
