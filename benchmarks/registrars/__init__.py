"""Ways to register two images, each behind the same protocol, so that they can be compared.

Images are float32 (height, width), square pixels, both of one scale. What is found is where each fixed pixel lies on
the moving image, float64 (height, width, 2), (x, y) in pixels, centres at integers.
"""
