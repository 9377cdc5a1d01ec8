"""AffinityPaste without MMDetection: cut-outs pasted into an image where they belong."""
