"""Whether forecasts come true: a small language model is trained on judgments whose gains were forecast before."""
