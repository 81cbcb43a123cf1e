"""The verbs behind the commands, which are also the Python API. It compiles specs; run gets a Plan."""
