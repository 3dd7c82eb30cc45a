"""What every room uses: messages, options, threads, memory, results and how they are shown."""
