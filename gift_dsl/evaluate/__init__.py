"""What a policy can do: games with intervals, benchmarks through lm-eval (`harness`), and a judge."""
