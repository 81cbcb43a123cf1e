"""One run: the stages in order, each in its own processes, then the evaluation and the records.

Gets a Plan and never sees the YAML it came from. It binds the names of opponents to seats, starts and watches the
processes, and hands train a probe that is built from evaluate.
"""
