"""What the adapters share: shelter for hosts' attacks, and images as hosts have them."""
