"""Work on many images: extract features, match them, map them, report on them."""
