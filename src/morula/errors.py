"""The one error that a user can mend: what was found, what was expected, what to do."""


class InputError(ValueError):
    """Bad input from the user: a file, an option, a key of a plan.

    The message says in one or two sentences what was found, what was expected and what to do. The
    command line prints it without a traceback; a stage that works on many files collects them.
    """
