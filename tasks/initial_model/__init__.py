"""What a training starts from: scratch, two towers, or a released checkpoint."""
