"""Registration and fusion of medical images: numerical cores and the service around them."""
