"""The command `gift`: options in, results on stdout, diagnostics on stderr, one exit code. Heavy imports wait."""
