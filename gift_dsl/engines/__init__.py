"""Seats that are models: in-process transformers, vLLM, and the tiny model that is built from scratch.

Each engine fulfils the TokenPolicy protocol of `gift_dsl.seat`; nothing above this layer knows which one plays.
"""
