"""The rules: pure states, one family a file, and the adapters to other collections of games.

A family declares its parameters in one frozen dataclass; `families` lists them all. A state reads no file, renders no
prompt and draws no number.
"""
