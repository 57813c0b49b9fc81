"""Training with Composer: reads MDS exports, writes runs and their results to the lake."""
