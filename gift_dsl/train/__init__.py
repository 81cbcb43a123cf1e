"""How the policy learns: selection, advantages, credit, batches, and the three trainers (grpo, sft, glow).

TRL owns the optimisation loop; what is particular to games and groups is decided here and placed into its rows.
"""
