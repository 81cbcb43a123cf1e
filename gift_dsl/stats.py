"""Statistics of outcomes: intervals, paired comparisons, ratings and the sample sizes a difference needs."""
