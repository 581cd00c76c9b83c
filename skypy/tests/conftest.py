"""Settings of all tests."""

import signal

# A shell ignores SIGINT in what it starts in the background, and so would the programs that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
