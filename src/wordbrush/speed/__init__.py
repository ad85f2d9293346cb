"""Speed: ways to answer an ask with less work or by faster code; the algorithm knows none of them."""
