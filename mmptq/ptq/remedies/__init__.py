"""What can be done about a layer that loses too much, judged by the output loss."""
