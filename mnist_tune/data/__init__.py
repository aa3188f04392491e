"""Images: where they come from, how they are verified, and how they are split."""
